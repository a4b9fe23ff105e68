"""A command that opens somebody else's model, in a copy of its process: should a runtime die of it, somebody tells.

The copy is made by fork(2) while nothing but the command line has been imported, so that it costs about a millisecond
and not another start of Python; the process that the user started then only waits, and passes on signals and the exit
status. On Linux alone: elsewhere the command runs as it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from edgedigits.errors import ModelError
from edgedigits.system import endings
from edgedigits.system.terminal import run_and_exit

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if sys.platform == "linux" else ()


def guarded(work: Callable[[], int], timeout: float | None = None, memory_bytes: int | None = None) -> int:
    """The exit status of ``work``, done in a copy of this process.

    Args:
        timeout: the seconds that it may take; None for as long as it likes.
        memory_bytes: what it may take of memory; None for :func:`edgedigits.system.endings.memory_share`.

    Raises:
        ModelError: it died, or was ended past a limit.
        KeyboardInterrupt: it was interrupted and did not end by itself.
    """
    if sys.platform != "linux":
        return work()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who starts a command may ignore it: the system then waits itself
    copy = os.fork()
    if copy == 0:
        # A terminal sends its Ctrl-C to both; the first process passes it on as the other signal, once.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        run_and_exit(lambda *_, **__: work(), sys.argv[1:])
    return _Watch(copy, timeout, endings.memory_share() if memory_bytes is None else memory_bytes).status()


class _Watch:
    """The process that waits, and looks at its copy every so often."""

    def __init__(self, copy: int, timeout: float | None, memory_bytes: int | None) -> None:
        self._copy, self._timeout, self._memory_bytes = copy, timeout, memory_bytes
        self._began = time.monotonic()
        self._asked_to_end: float | None = None
        self._said: str | None = None  # why it was ended, where that was done here

    def status(self) -> int:
        """Wait for the copy's end; ModelError where it died or was ended, KeyboardInterrupt where that was asked."""
        endings.give_way(self._copy)
        before = {number: signal.getsignal(number) for number in (*_PASSED_ON, signal.SIGALRM)}
        for number in _PASSED_ON:
            if before[number] != signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, self._pass_on)
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, endings.POLL_SECONDS, endings.POLL_SECONDS)
        try:
            _, ended = os.waitpid(self._copy, 0)  # goes on after each signal
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)
        code = os.waitstatus_to_exitcode(ended)
        if self._said is not None:
            raise ModelError(self._said)
        name = endings.killed_by(code)
        if name is None:
            return code
        if self._asked_to_end is not None:
            raise KeyboardInterrupt
        raise ModelError(endings.died_of(name))

    def _pass_on(self, *_: Any) -> None:
        if self._asked_to_end is None:
            self._asked_to_end = time.monotonic()
            self._send(signal.SIGTERM)

    def _look(self, *_: Any) -> None:
        now = time.monotonic()
        taken = endings.memory_taken(self._copy)
        if self._asked_to_end is not None:
            if now - self._asked_to_end > endings.PATIENCE_SECONDS:
                self._send(signal.SIGKILL)
        elif self._timeout is not None and now - self._began > self._timeout:
            self._end(endings.too_slow(self._timeout))
        elif self._memory_bytes is not None and taken is not None and taken > self._memory_bytes:
            self._end(endings.too_large(self._memory_bytes))

    def _end(self, why: str) -> None:
        self._said = why
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(self._copy, number)
