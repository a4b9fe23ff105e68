"""A process that has NumPy and edgedigits imported, but no runtime, and does each task in a copy of itself (Linux).

A copy is as apart as a process started anew: a runtime that dies, hangs or takes too much takes only its own copy
along, and none sees what another imported. What it saves is the start of Python and the import of NumPy, which on a
small board can take longer than 5000 images. The fork is here, where there is one thread and no native library but
NumPy's, and never in the process that asks, which may be anybody's.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from importlib import import_module
from typing import Any, NoReturn

from edgedigits import endings
from edgedigits.worker import TASKS, perform


def serve(task: str) -> None:
    """Do what each line of standard input asks for, until that ends; what ``task`` imports is imported now.

    A line is a JSON object of ``task``, ``request``, ``timeout`` and ``memory_bytes`` as in
    :func:`edgedigits.child.run_in_child`. The answer is a line on what was standard output:
    ``{"limit": "timeout" | "memory"}`` for a copy that was ended past one, else ``status`` as
    :attr:`subprocess.Popen.returncode`, and what it ``printed`` (its answer) and ``said`` (its standard error).
    """
    for module in ("edgedigits.classifier", TASKS[task].partition(":")[0]):  # for the copies, and NumPy with them
        import_module(module)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by the way of finally, which ends the copy
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends its Ctrl-C to the copy as well
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        json.dump(_in_a_copy(interrupted, **json.loads(line)), answers)
        print(file=answers, flush=True)


def _in_a_copy(
    interrupted: Any, task: str, request: dict[str, Any], timeout: float, memory_bytes: int | None
) -> dict[str, Any]:
    printed, said = os.memfd_create("printed"), os.memfd_create("said")
    alive, held = os.pipe()  # whose other end closes as the copy ends, however it does
    copy = os.fork()
    if copy == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, interrupted)
        _be_the_copy(task, request, printed, said)
    try:
        os.close(held)
        limit = _wait(copy, alive, timeout, memory_bytes)
    finally:
        os.kill(copy, signal.SIGKILL)  # nothing if it has ended, since it has not been waited for
        _, ended = os.waitpid(copy, 0)
        os.close(alive)
        texts = _read(printed), _read(said)
    if limit is not None:
        return {"limit": limit}
    return {"status": os.waitstatus_to_exitcode(ended), "printed": texts[0], "said": texts[1]}


def _be_the_copy(task: str, request: dict[str, Any], printed: int, said: int) -> NoReturn:
    """Never return to the server's code, whatever happens."""
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        with os.fdopen(printed, "w", encoding="utf-8") as answer:
            json.dump(perform(task, request), answer)
        status = 0
    except BaseException:  # noqa: BLE001 # KeyboardInterrupt too: the server's loop is no place for it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(copy: int, alive: int, timeout: float, memory_bytes: int | None) -> str | None:
    """Until it ends, or past the limit that is returned; nobody waits for a copy whose asker is gone."""
    endings.give_way(copy)
    asker, until = os.getppid(), time.monotonic() + timeout
    while True:
        taken = endings.memory_taken(copy)
        if memory_bytes is not None and taken is not None and taken > memory_bytes:
            return "memory"
        left = until - time.monotonic()
        if select.select([alive], [], [], max(0.0, min(left, endings.POLL_SECONDS)))[0]:
            return None
        if left <= 0:
            return "timeout"
        if os.getppid() != asker:
            sys.exit(1)


def _read(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", errors="replace")


if __name__ == "__main__":
    serve(sys.argv[1])
