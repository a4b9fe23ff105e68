"""A process that has NumPy and edgedigits imported, but no runtime, and does each task in a copy of itself (Linux).

A copy is as apart as a process started anew: a runtime that dies, hangs or takes too much takes only its own copy
along, and none sees what another imported. What it saves is the start of Python and the import of NumPy, which on a
small board can take longer than 5000 images. The fork is here, where there is one thread and no native library but
NumPy's, and never in the process that asks, which may be anybody's. Like a command, a copy ends by os._exit.

Nobody is left behind: a copy ends with its server, and the server with who asked, even where that is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import time
import traceback
from importlib import import_module
from typing import Any, NoReturn

from edgedigits.system import endings
from edgedigits.system.worker import TASKS, perform

_MOST_SAID = 4096  # bytes of standard error that are passed on; its last line is what is told


def main() -> None:
    """Serve the process of that number; what the task imports is ready.

    A line ``{}`` on what was standard output says so. Then each line of standard input is a JSON object of ``task``,
    ``request``, ``timeout`` and ``memory_bytes`` as in ``run_in_child``, and is answered with one
    that has the ``seconds`` of the copy, and: ``limit`` (``"timeout"`` or ``"memory"``) for one that was ended past it;
    else ``status`` as :attr:`subprocess.Popen.returncode`, what it ``printed`` (its answer) and the end of what it
    ``said`` (its standard error).
    """
    task, asker = sys.argv[1], int(sys.argv[2])
    for module in ("edgedigits.classifier", TASKS[task].partition(":")[0]):  # NumPy with the first
        import_module(module)
    _Server(asker).serve()


class _Server:
    def __init__(self, asker: int) -> None:
        self._asker = asker
        # Set before anybody is told that this is ready, and by the way of finally, which ends the copy.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who starts this may ignore it, and the system then waits itself
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._life, self._held = os.pipe()  # no copy has the other end, which closes as this process ends

    def serve(self) -> None:
        print("{}", file=self._answers, flush=True)
        for line in sys.stdin:
            self._end_unless_wanted()
            began = time.perf_counter()
            answer = self._in_a_copy(**json.loads(line))
            json.dump({**answer, "seconds": time.perf_counter() - began}, self._answers)
            print(file=self._answers, flush=True)

    def _end_unless_wanted(self) -> None:
        if os.getppid() != self._asker:
            sys.exit(1)

    def _in_a_copy(
        self, task: str, request: dict[str, Any], timeout: float, memory_bytes: int | None
    ) -> dict[str, Any]:
        printed, said = os.memfd_create("printed"), os.memfd_create("said")
        alive, held = os.pipe()  # whose other end closes as the copy ends, however it does
        copy = os.fork()
        if copy == 0:
            self._be_the_copy(task, request, printed, said)
        try:
            os.close(held)
            limit = self._wait(copy, alive, said, time.monotonic() + timeout, memory_bytes)
        finally:
            os.kill(copy, signal.SIGKILL)  # nothing if it has ended, since it has not been waited for
            _, ended = os.waitpid(copy, 0)
            os.close(alive)
            texts = _read(printed), _read(said, _MOST_SAID)
        if limit is not None:
            return {"limit": limit}
        return {"status": os.waitstatus_to_exitcode(ended), "printed": texts[0], "said": texts[1]}

    def _wait(self, copy: int, alive: int, said: int, until: float, memory_bytes: int | None) -> str | None:
        """Until it ends, or past the limit that is returned; nobody waits for a copy whose asker is gone."""
        endings.give_way(copy)
        ends = select.poll()
        ends.register(alive)
        while True:
            taken = endings.memory_taken(copy)
            if memory_bytes is not None and taken is not None and taken + os.fstat(said).st_size > memory_bytes:
                return "memory"
            left = until - time.monotonic()
            if ends.poll(1000 * max(0.0, min(left, endings.POLL_SECONDS))):
                return None
            if left <= 0:
                return "timeout"
            self._end_unless_wanted()

    def _be_the_copy(self, task: str, request: dict[str, Any], printed: int, said: int) -> NoReturn:
        """Never return to the server's code, whatever happens."""
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._end_with_the_server()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(said, 1)
            os.dup2(said, 2)
            with os.fdopen(printed, "w", encoding="utf-8") as answer:
                json.dump(perform(task, request), answer)
            status = 0
        except BaseException:  # noqa: BLE001 # SystemExit too: the server's loop is no place for it
            traceback.print_exc()
        finally:
            try:
                sys.stderr.flush()
            finally:
                os._exit(status)

    def _end_with_the_server(self) -> None:
        """Have the system send SIGIO, which ends a process that does not heed it, as the server's end closes its pipe.

        So also where it is killed and this copy is in native code that hangs.
        """
        os.close(self._held)
        os.close(self._answers.fileno())
        server = os.getppid()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._life, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(self._life, fcntl.F_SETFL, os.O_ASYNC)
        if os.getppid() != server:
            sys.exit(1)


def _read(descriptor: int, most: int | None = None) -> str:
    """What was written there, or the end of it."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0 if most is None else max(0, os.fstat(descriptor).st_size - most))
        return file.read().decode("utf-8", errors="replace")


if __name__ == "__main__":
    main()
