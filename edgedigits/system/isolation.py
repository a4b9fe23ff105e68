"""Work in a process of its own: one runtime a process, and a runtime that dies takes only its own row with it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from edgedigits.system import endings

OF_THE_DOCTOR = ("runtime", "import")
# What a fork server may take to import NumPy, from a slow card; and to answer beyond a task's own time.
START_SECONDS, GRACE_SECONDS = 120.0, 30.0


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    ``status`` is ``"ok"`` (``answer`` holds), ``"error"`` (it said why), ``"crashed"`` (``signal`` names what killed
    it, or is None where it ended unexpectedly by itself), ``"timeout"`` or ``"memory"`` (it was ended for taking more
    of either than allowed); ``message`` is one line that says what to do. ``seconds`` is what it took, of a process
    that was started anew from its start, of a copy from its fork.
    """

    status: str
    answer: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    signal: str | None = None
    seconds: float = 0.0


def run_in_child(task: str, request: dict[str, Any], timeout: float, memory_bytes: int | None = None) -> Outcome:
    """Run one of :data:`edgedigits.system.worker.TASKS` in a fresh Python process.

    Args:
        timeout: the seconds that it may take.
        memory_bytes: what it may take of memory, counted as ``memory_taken`` does; None for
            :func:`edgedigits.system.endings.memory_share`.
    """
    limit = endings.memory_share() if memory_bytes is None else memory_bytes
    began = time.perf_counter()
    outcome = _run_anew(task, request, timeout, limit)
    return replace(outcome, seconds=time.perf_counter() - began)


def _run_anew(task: str, request: dict[str, Any], timeout: float, limit: int | None) -> Outcome:
    command, pipe = _python("edgedigits.system.worker", task), subprocess.PIPE
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


def _python(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module's ``main`` where imports find what they find here, and nothing else.

    With ``-m`` the current folder would come first, and a json.py that lies there would be run.
    """
    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = f"import sys; sys.path[:] = {path!r}; from {module} import main; main()"
    return [sys.executable, *(["-I"] if sys.flags.isolated else []), "-c", code, *arguments]


class Children:
    """Does what :func:`run_in_child` does, many times, in copies of a process that has all ready but a runtime (Linux).

    See ``forkserver``; elsewhere each is a process of its own. Use as a context manager; threads may
    share it, and get a server each. Its end ends what other threads still wait for, so let it end before they do.

    Args:
        task: the one whose modules are imported beforehand.
    """

    def __init__(self, task: str) -> None:
        self._ready_for = task
        self._possible = sys.platform == "linux" and hasattr(os, "memfd_create")  # some builds of Python lack it
        self._closed = False
        self._lock = threading.Lock()  # of the two below
        self._idle: list[subprocess.Popen[str]] = []
        self._busy: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            for server in self._busy:
                server.kill()  # its copy ends with it, and the thread that waits for them hears of it
        for server in self._idle:
            _end(server)

    def run(self, task: str, request: dict[str, Any], timeout: float, memory_bytes: int | None = None) -> Outcome:
        """As :func:`run_in_child`, but for the start of Python, which counts towards no limit."""
        limit = endings.memory_share() if memory_bytes is None else memory_bytes
        line = json.dumps({"task": task, "request": request, "timeout": timeout, "memory_bytes": limit})
        told = self._ask(line, timeout + GRACE_SECONDS) if self._possible else None
        if self._closed:
            return Outcome("crashed", message="interrupted")
        if told is None:  # there is no server, or the system has ended it: a process started anew says why
            return run_in_child(task, request, timeout, limit)
        seconds = told.pop("seconds")
        outcome = _past(told["limit"], timeout, limit) if "limit" in told else _ended(task, **told)
        return replace(outcome, seconds=seconds)

    def _ask(self, line: str, timeout: float) -> dict[str, Any] | None:
        """A server's answer; None where there is none."""
        with self._lock:
            if self._closed:
                return None
            new = not self._idle
            server = _serve(self._ready_for) if new else self._idle.pop()
            self._busy.append(server)
        told = None
        try:
            if new and _answer(server, START_SECONDS) is None:
                self._possible = False  # NumPy does not import, or hangs, and would again
            else:
                told = _answer(server, timeout, line)
        finally:
            with self._lock:
                self._busy.remove(server)
                keep = told is not None and not self._closed
                if keep:
                    self._idle.append(server)
            if not keep:
                _end(server)
        return told


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
    """Start one, in a session of its own: a terminal's Ctrl-C is for this process, which then ends the servers."""
    command, pipe = _python("edgedigits.system.forkserver", task, str(os.getpid())), subprocess.PIPE
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a process that forks should have no other
    return subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        text=True,
        env=one_thread,
        start_new_session=True,
    )


def _answer(server: subprocess.Popen[str], timeout: float, line: str | None = None) -> dict[str, Any] | None:
    """What it says next, to the line; None where it has ended, or says nothing in time."""
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        if line is not None:
            print(line, file=server.stdin, flush=True)
    except BrokenPipeError:
        return None
    said = select.poll()
    said.register(server.stdout, select.POLLIN)
    if not said.poll(1000 * min(timeout, 1e6)):
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
