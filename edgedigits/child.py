"""Work in a process of its own: one runtime a process, and a runtime that dies takes only its own row with it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from edgedigits import endings

OF_THE_DOCTOR = ("runtime", "import")
# What a fork server may take to import NumPy, from a slow card, on top of its first task's time.
START_SECONDS = 120.0


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    ``status`` is ``"ok"`` (``answer`` holds), ``"error"`` (it said why), ``"crashed"`` (``signal`` names what killed
    it, or is None where it ended unexpectedly by itself), ``"timeout"`` or ``"memory"`` (it was ended for taking more
    of either than allowed); ``message`` is one line that says what to do.
    """

    status: str
    answer: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    signal: str | None = None


def run_in_child(task: str, request: dict[str, Any], timeout: float, memory_bytes: int | None = None) -> Outcome:
    """Run one of :data:`edgedigits.worker.TASKS` in a fresh Python process.

    Args:
        timeout: the seconds that it may take.
        memory_bytes: what it may take of memory, counted as :func:`edgedigits.endings.memory_taken` does; None for
            :func:`edgedigits.endings.memory_share`.
    """
    limit = endings.memory_share() if memory_bytes is None else memory_bytes
    command, pipe = [sys.executable, "-m", "edgedigits.worker", task], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace") as process:
        try:
            printed, said = _watched(process, json.dumps(request), timeout, limit)
        except _TooLargeError:
            return _past("memory", timeout, limit)
        except subprocess.TimeoutExpired:
            return _past("timeout", timeout, limit)
        finally:
            process.kill()  # nothing if it has ended
    return _ended(task, process.returncode, printed, said)


class Children:
    """Does what :func:`run_in_child` does, many times, in copies of a process that has all ready but a runtime (Linux).

    See :mod:`edgedigits.forkserver`; elsewhere each is a process of its own. Use as a context manager; threads may
    share it, and get a server each.

    Args:
        task: the one whose modules are imported beforehand.
    """

    def __init__(self, task: str) -> None:
        self._ready_for = task
        self._idle: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            _end(self._idle.pop())

    def run(self, task: str, request: dict[str, Any], timeout: float, memory_bytes: int | None = None) -> Outcome:
        """As :func:`run_in_child`, but for the start of Python, which counts towards no limit."""
        if sys.platform != "linux":
            return run_in_child(task, request, timeout, memory_bytes)
        limit = endings.memory_share() if memory_bytes is None else memory_bytes
        line = json.dumps({"task": task, "request": request, "timeout": timeout, "memory_bytes": limit})
        try:
            server = self._idle.pop()
        except IndexError:
            server = _serve(self._ready_for)
        try:
            told = _ask(server, line, timeout + START_SECONDS)
        except BaseException:
            _end(server)
            raise
        if told is None:  # NumPy does not import, or the system ended the server: a process of its own says why
            _end(server)
            return run_in_child(task, request, timeout, limit)
        self._idle.append(server)
        return _past(told["limit"], timeout, limit) if "limit" in told else _ended(task, **told)


def _ended(task: str, status: int, printed: str, said: str) -> Outcome:
    """Of a child that ended by itself, or was killed by who knows whom."""
    name = endings.killed_by(status)
    if name is not None:
        return Outcome("crashed", message=endings.died_of(name), signal=name)
    try:
        answer = json.loads(printed)
    except ValueError:
        last = (said.strip().splitlines() or ["nothing was printed"])[-1]
        what = "" if task in OF_THE_DOCTOR else "; `edgedigits doctor` says what works here"
        return Outcome("crashed", message=f"ended with status {status}: {last[:300]}{what}")
    if "error" in answer:
        return Outcome("error", message=answer["error"])
    return Outcome("ok", answer)


def _past(limit: str, timeout: float, memory_bytes: int | None) -> Outcome:
    """Of a child that was ended past its ``"timeout"`` or ``"memory"``."""
    return Outcome(
        limit, message=endings.too_slow(timeout) if limit == "timeout" else endings.too_large(memory_bytes or 0)
    )


class _TooLargeError(Exception):
    """A child takes more memory than it may."""


def _watched(process: subprocess.Popen[str], request: str | None, timeout: float, limit: int | None) -> tuple[str, str]:
    """What it wrote to standard output and standard error; TimeoutExpired or _TooLargeError past a limit."""
    endings.give_way(process.pid)
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        try:
            return process.communicate(request, timeout=max(0.0, min(left, endings.POLL_SECONDS)))
        except subprocess.TimeoutExpired:
            request = None  # the pipe has taken what it could, and takes the rest of it by itself
            if left <= endings.POLL_SECONDS:
                raise
        taken = endings.memory_taken(process.pid)
        if limit is not None and taken is not None and taken > limit:
            raise _TooLargeError


def _serve(task: str) -> subprocess.Popen[str]:
    command, pipe = [sys.executable, "-m", "edgedigits.forkserver", task], subprocess.PIPE
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a process that forks should have no other
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=one_thread)


def _ask(server: subprocess.Popen[str], line: str, timeout: float) -> dict[str, Any] | None:
    """What it answers; None where it has ended, or does not answer in time."""
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        print(line, file=server.stdin, flush=True)
    except BrokenPipeError:
        return None
    if not select.select([server.stdout], [], [], timeout)[0]:
        return None
    try:
        answer: dict[str, Any] = json.loads(server.stdout.readline())
    except ValueError:
        return None
    return answer


def _end(server: subprocess.Popen[str]) -> None:
    """And with it the copy that may be at work."""
    server.terminate()
    try:
        server.wait(endings.PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
    with contextlib.suppress(BrokenPipeError), server:  # closes the pipes
        pass
