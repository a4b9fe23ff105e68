"""Runs commands in forks of one process that has imported TensorFlow, and interrupts them: ``python victims.py``.

Each line of standard input is a request and each line of standard output its result, in JSON. A request has the
``arguments`` of a command and a folder to ``watch``; and, to interrupt it, ``how`` and either ``event`` (before the
n-th time that something in that folder is opened for writing, made, renamed or removed) or ``seconds``.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import json
import mmap
import os
import pkgutil
import resource
import select
import signal
import sys
import time
from typing import Any, NoReturn

SLOW_IMPORTS = (
    "keras", "matplotlib.backends.backend_agg", "onnx", "tensorflow.lite.tools.flatbuffer_utils", "tf2onnx.convert",
)  # fmt: skip
SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
F_SETPIPE_SZ = 1031  # from linux/fcntl.h; Python names it since 3.10.1


def main() -> None:
    import edgedigits_export
    from edgedigits_export import figures

    for module in pkgutil.walk_packages(edgedigits_export.__path__, "edgedigits_export."):
        importlib.import_module(module.name)
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    figures.loss([1.0, 0.5]).savefig(io.BytesIO())  # loads the fonts
    gc.collect()
    gc.freeze()  # a fork that looks through all that is loaded would copy it
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)  # noqa: T201


def run(
    arguments: list[str],
    watch: str,
    how: str = "",
    event: int | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Run a command to its end: its exit status, standard error, how many events there were, and how long it took."""
    events = Events(watch, how, event)
    ours, its = os.pipe()
    fcntl.fcntl(its, F_SETPIPE_SZ, 1 << 20)  # it is read at the end
    process = os.fork()
    if process == 0:
        be_victim(arguments, its, events)
    os.close(its)
    while not events.count[1]:
        time.sleep(0.001)
    began = time.perf_counter()
    if seconds is not None and not select.select([os.pidfd_open(process)], [], [], seconds)[0]:
        strike(process, how)
    _, status = os.waitpid(process, 0)
    result = {"status": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - began}
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # what a killed command had started
    with os.fdopen(ours, "rb") as stream:
        return result | {"printed": stream.read().decode(), "events": events.count[0]}


def be_victim(arguments: list[str], errors: int, events: Events) -> NoReturn:
    from edgedigits.cli import main as command

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDWR)
    for given, standard in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(given, standard)
    os.close(errors)
    if arguments[0] == "train":
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)  # tracing takes longer than all the rest of a short training
    sys.addaudithook(events.hook)
    events.count[1] = 1
    try:
        command(arguments)  # it ends the process
    finally:
        os._exit(99)


def strike(process: int, how: str) -> None:
    """Send a signal, Ctrl-C to the whole group as a terminal does; or let no file grow any more, as on a full disk."""
    if how == "full":
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, 0))
    else:
        (os.killpg if how == "interrupt" else os.kill)(process, SIGNALS[how])


class Events:
    """Counts what happens in a folder, and strikes its process before one of the events."""

    def __init__(self, watch: str, how: str, event: int | None) -> None:
        self._watch, self._how, self._event = f"{watch}/", how, event
        self.count = memoryview(mmap.mmap(-1, 8)).cast("i")  # shared with a fork: the events, and whether it runs

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or not (set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event in CHANGES:
            path = arguments[0]
        else:
            return
        if os.fsdecode(path).startswith(self._watch):
            self.count[0] += 1
            if self.count[0] - 1 == self._event:
                strike(os.getpid(), self._how)


if __name__ == "__main__":
    main()
