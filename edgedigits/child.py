"""Work in a process of its own: one runtime a process, and a runtime that dies takes only its own row with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from edgedigits import endings

OF_THE_DOCTOR = ("runtime", "import")


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
    command = [sys.executable, "-m", "edgedigits.worker", task]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace") as process:
        try:
            printed, said = _watched(process, json.dumps(request), timeout, limit)
        except _TooLargeError:
            return Outcome("memory", message=endings.too_large(limit or 0))
        except subprocess.TimeoutExpired:
            return Outcome("timeout", message=endings.too_slow(timeout))
        finally:
            process.kill()  # nothing if it has ended
    name = endings.killed_by(process.returncode)
    if name is not None:
        return Outcome("crashed", message=endings.died_of(name), signal=name)
    try:
        answer = json.loads(printed)
    except ValueError:
        last = (said.strip().splitlines() or ["nothing was printed"])[-1]
        what = "" if task in OF_THE_DOCTOR else "; `edgedigits doctor` says what works here"
        return Outcome("crashed", message=f"ended with status {process.returncode}: {last[:300]}{what}")
    if "error" in answer:
        return Outcome("error", message=answer["error"])
    return Outcome("ok", answer)


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
