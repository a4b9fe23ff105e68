"""Run tasks in processes of their own, so that a runtime that crashes or hangs takes only its own task with it.

A child is a fork of this process where that is safe: on Linux, while this process has one thread and no runtime. A fork
has NumPy imported already, which on a small board takes longer than 5000 images. Elsewhere, and where a cold start is
timed, a child is a new Python. Every child is stopped at its time or memory limit, and ends with this process.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgedigits.errors import ModelError
from edgedigits.system import resources
from edgedigits.system.terminal import run_and_exit
from edgedigits.system.worker import end_with_parent, perform

if TYPE_CHECKING:
    import subprocess

_RUNTIMES = {"ai_edge_litert", "tflite_runtime", "onnxruntime", "tensorflow"}  # no two of them fit into one process
_LONGEST_TICK = 0.05  # seconds between two looks at a child
_PATIENCE = 1.0  # seconds for a child to end by itself after Ctrl-C; native code in a loop does not notice it


@dataclass(frozen=True)
class Outcome:
    """How a task ended, and after how many ``seconds``.

    ``status`` is ``"ok"`` (``answer`` holds the result), ``"error"`` (the task refused its request), ``"crashed"``
    (``signal`` names the signal, or is None if the process ended by itself), or ``"timeout"`` or ``"memory"`` (it was
    stopped at that limit); ``message`` is one line that says what to do.
    """

    status: str
    answer: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    signal: str | None = None
    seconds: float = 0.0


def run(
    task: str,
    request: dict[str, Any],
    timeout: float,
    memory_bytes: int | None = None,
    fork: bool = True,
    on_tick: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run one task; see :func:`run_all`."""
    return next(run_all([(task, request)], timeout, memory_bytes, fork=fork, on_tick=on_tick))[1]


def run_all(
    tasks: Sequence[tuple[str, dict[str, Any]]],
    timeout: float,
    memory_bytes: int | None = None,
    workers: int = 1,
    fork: bool = True,
    on_tick: Callable[[], None] = lambda: None,
) -> Generator[tuple[int, Outcome], None, None]:
    """Run tasks, ``workers`` at a time, and yield the index and the outcome of each as it ends.

    An exception such as Ctrl-C, or closing the iterator, stops everything that runs. The limits hold for each task and
    are checked while the next outcome is waited for; the default is an equal share of three quarters of the memory.

    Args:
        tasks: of each the function, ``"module:function"``, and its request, which must fit into JSON.
        fork: whether children may be forks; otherwise each is a new Python.
        on_tick: called some 20 times a second while a child runs.
    """
    import tempfile  # it imports every compressor that Python has

    limit = resources.memory_share(workers) if memory_bytes is None else memory_bytes
    waiting, running = list(enumerate(tasks))[::-1], dict[int, _Watched]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number, (task, request) = waiting.pop()
                answer = tempfile.TemporaryFile()  # noqa: SIM115 # a child that dies cannot block on a file
                start = _fork_task if fork and may_fork() else _start_python
                running[number] = _Watched(start(task, request, answer), timeout, limit, answer)
            for number in [number for number, process in running.items() if process.ended()]:
                yield number, running.pop(number).outcome()
            if running:
                time.sleep(min(process.tick() for process in running.values()))
                on_tick()
    finally:
        for process in running.values():
            process.stop()


def may_fork() -> bool:
    """Whether a fork of this process is safe: POSIX lets a fork of a process with several threads do almost nothing."""
    if sys.platform != "linux" or _RUNTIMES & sys.modules.keys() or signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        return False  # where SIGCHLD is ignored the system forgets how a child ended
    return len(list(Path("/proc/self/task").iterdir())) == 1  # threads of native code count too


def run_guarded(
    work: Callable[[], int], timeout: float | None = None, memory_bytes: int | None = None, debug: bool = False
) -> int:
    """Run a command that opens an untrusted model in a fork of this process, and return its exit status.

    Where a fork is not possible the command runs in this process. Raises ModelError if it crashed or was stopped at a
    limit, KeyboardInterrupt if it was interrupted and did not end by itself.
    """
    if not may_fork():
        return work()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)  # inherited by the fork, which ends as after Ctrl-C
    limit = resources.memory_share() if memory_bytes is None else memory_bytes
    child = _Fork(lambda: run_and_exit(work, debug))
    watched = _Watched(child, math.inf if timeout is None else timeout, limit)
    try:
        while not watched.ended():
            time.sleep(watched.tick())
    except KeyboardInterrupt:
        watched.ask_to_end()
        if watched.process.returncode < 0:
            raise
    if watched.past_limit is not None:
        raise ModelError(watched.past_limit.message)
    status: int = watched.process.returncode
    name = resources.crash_signal(status)
    if name is not None:
        raise ModelError(resources.crash_message(name))
    return status


class _Fork:
    """A fork of this process that runs ``work`` and exits with its status; used like a subprocess.Popen."""

    def __init__(self, work: Callable[[], int]) -> None:
        parent = os.getpid()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                end_with_parent(parent)
                status = work()
            finally:  # whatever happens, never return
                os._exit(status)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _fork_task(task: str, request: dict[str, Any], answer: IO[bytes]) -> _Fork:
    def work() -> int:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):  # what native code prints is dropped
            os.dup2(null, descriptor)
        return perform(task, request, answer)

    return _Fork(work)


def _start_python(task: str, request: dict[str, Any], answer: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a Python with this one's import path; ``-m`` would put the current folder first, with any json.py in it."""
    import subprocess
    import tempfile

    code = f"import sys; sys.path[:] = {sys.path!r}; from edgedigits.system.worker import main; main()"
    command = [sys.executable, *(["-I"] if sys.flags.isolated else []), "-c", code, task, str(os.getpid())]
    with tempfile.TemporaryFile() as asked:
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        return subprocess.Popen(command, stdin=asked, stdout=answer, stderr=subprocess.DEVNULL)


class _Watched:
    """A child, its limits and the file of its answer."""

    def __init__(self, process: Any, timeout: float, limit: int | None, answer: IO[bytes] | None = None) -> None:
        self.process, self._timeout, self._limit, self._answer = process, timeout, limit, answer
        self._began, self._seconds = time.monotonic(), 0.0
        self.past_limit: Outcome | None = None
        # A fork starts with this process's memory, most of it shared.
        self._inherited = resources.memory_in_use(os.getpid()) if isinstance(process, _Fork) else 0
        resources.prefer_as_oom_victim(process.pid)

    def ended(self) -> bool:
        """Whether the child has ended; kills it when it is past a limit."""
        self._seconds = time.monotonic() - self._began
        if self.process.poll() is not None or self.past_limit is not None:
            return self.process.returncode is not None
        if self._limit is not None and resources.memory_in_use(self.process.pid) - self._inherited > self._limit:
            used = f"more than {self._limit / 1e6:,.0f} MB of memory"
            message = f"stopped for using {used}; if you trust the model, raise --memory-limit"
            self.past_limit = Outcome("memory", message=message)
        elif self._seconds > self._timeout:
            message = f"stopped after {self._timeout:g} s without a result; raise the limit with --timeout"
            self.past_limit = Outcome("timeout", message=message)
        else:
            return False
        self.process.kill()
        return False  # yet

    def tick(self) -> float:
        """Seconds until the next look: an end is seen late by at most 2 % of what the child took."""
        return min(_LONGEST_TICK, max(0.001, self._seconds / 50))

    def ask_to_end(self) -> None:
        """Send SIGTERM, and kill the child if it does not end soon."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        until = time.monotonic() + _PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        self.stop()

    def stop(self) -> None:
        """Kill the child, if it still runs, and wait for its end."""
        self.process.kill()
        while self.process.poll() is None:
            time.sleep(0.001)
        if self._answer is not None:
            self._answer.close()

    def outcome(self) -> Outcome:
        """The outcome of a child that has ended."""
        assert self._answer is not None
        with self._answer as file:
            file.seek(0)
            written = file.read() or b'{"raised": "it wrote no answer"}'
        return replace(self.past_limit or _interpret(self.process.returncode, written), seconds=self._seconds)


def _interpret(returncode: int, written: bytes) -> Outcome:
    name = resources.crash_signal(returncode)
    if name is not None:
        return Outcome("crashed", message=resources.crash_message(name), signal=name)
    answer = json.loads(written)
    if "raised" in answer:
        return Outcome("crashed", message=f"ended with status {returncode}: {answer['raised']}")
    return Outcome("error", message=answer["error"]) if "error" in answer else Outcome("ok", answer)
