"""A process that has imported TensorFlow and forks victims, each of which runs one command: ``python victims.py PIPE``.

Each line of standard input is a JSON list of requests, which run at once. A request has ``arguments``, the command's;
``watch``, a folder; ``eager``, whether TensorFlow runs without tracing, which takes longer than all the rest of a short
training. What happens is written to the file descriptor PIPE, a JSON list a line:

    ["start", number, process]
    ["event", number, name, path]         a file in the watched folder is opened for writing, renamed or removed
    ["stray", number, path]               another file is opened for writing
    ["end", number, status, what it printed to standard error]
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import io
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

LOADED = (
    *(
        "edgedigits.cli",
        "edgedigits.parity.check",
        "edgedigits_export.commands",
        "edgedigits_export.converting.bundle",
        "onnx",
    ),
    *(
        "edgedigits_export.figures",
        "edgedigits_export.training.robust",
        "edgedigits_export.training.notebook",
        "keras",
        "tensorflow.lite",
    ),
    *(
        "edgedigits_export.int8.fit",
        "edgedigits_export.int8.graph",
        "edgedigits_export.int8.rounding",
        "tf2onnx.convert",
    ),
    *("tensorflow.lite.tools.flatbuffer_utils", "matplotlib.figure", "matplotlib.backends.backend_agg"),
)
F_SETPIPE_SZ, MOST_PRINTED = 1031, 1 << 20  # the first from linux/fcntl.h; Python names it since 3.10.1
CHANGES = {"os.rename": 0, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0}  # the event, and which argument is the path


def main(pipe: int) -> None:
    for module in LOADED:
        importlib.import_module(module)
    from edgedigits_export import figures

    figures.loss([1.0, 0.5]).savefig(io.BytesIO())  # loads the fonts
    gc.collect()
    gc.freeze()  # a victim that looks through all that is loaded would copy it
    tell(pipe, "ready")
    for line in sys.stdin:
        victims = {}
        for number, request in enumerate(json.loads(line)):
            ours, its = os.pipe()
            fcntl.fcntl(its, F_SETPIPE_SZ, MOST_PRINTED)  # it is read when the victim has ended
            process = os.fork()
            if process == 0:
                os.close(ours)
                be_victim(pipe, number, its, **request)
            os.close(its)
            victims[process] = number, ours
        while victims:
            process, status = os.wait()
            number, ours = victims.pop(process)
            with os.fdopen(ours, "rb") as stream:
                printed = stream.read().decode(errors="replace")
            tell(pipe, "end", number, os.waitstatus_to_exitcode(status), printed)


def be_victim(pipe: int, number: int, errors: int, arguments: list[str], watch: str, eager: bool) -> NoReturn:
    from edgedigits.cli import main as command

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for given, standard in ((nowhere, 0), (nowhere, 1), (errors, 2)):
        os.dup2(given, standard)
    os.close(errors)
    if eager:
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
    status = 99
    sys.addaudithook(Watcher(pipe, number, watch))
    tell(pipe, "start", number, os.getpid())
    try:
        command(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(status)


class Watcher:
    """Tells of every file that Python opens for writing, and of what else happens to names in a folder."""

    def __init__(self, pipe: int, number: int, watch: str) -> None:
        self.pipe, self.number, self.watch = pipe, number, watch + "/"
        self.scratch = f"{tempfile.gettempdir()}/edgedigits-"

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or not (set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event in CHANGES:
            path = arguments[CHANGES[event]]
        else:
            return
        path = str(Path(os.fsdecode(path)).absolute())
        if path.startswith(self.watch):
            if event != "open" or arguments[1] is not None:  # not os.open, by which a claim makes its empty temporary
                tell(self.pipe, "event", self.number, event, path)
        elif event == "open" and not path.startswith((self.scratch, "/dev/", "/proc/")) and "__pycache__" not in path:
            tell(self.pipe, "stray", self.number, path)


def tell(pipe: int, *what: Any) -> None:
    os.write(pipe, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
