"""Work in a process of its own: one runtime a process, and a runtime that dies takes only its own row with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A Windows process that dies ends with an NTSTATUS; these are the commonest (ntstatus.h).
_NTSTATUS = {
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC000001D: "STATUS_ILLEGAL_INSTRUCTION",
    0xC00000FD: "STATUS_STACK_OVERFLOW",
    0xC0000409: "STATUS_STACK_BUFFER_OVERRUN",
}


ILLEGAL = ("SIGILL", "STATUS_ILLEGAL_INSTRUCTION")
_POLL_SECONDS = 0.05  # how often a child's memory is looked at: 20 readings a second of some 30 microseconds
_LEAST_BYTES = 256_000_000


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
        memory_bytes: what it may take of memory, counted as :func:`memory_taken` does; None for :func:`memory_share`.
    """
    limit = memory_share() if memory_bytes is None else memory_bytes
    command = [sys.executable, "-m", "edgedigits.worker", task]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace") as process:
        try:
            printed, said = _watched(process, json.dumps(request), timeout, limit)
        except _TooLargeError:
            much = f"took over {(limit or 0) / 1e6:,.0f} MB of memory and was ended"
            return Outcome("memory", message=f"{much}; allow more with --memory-limit, if you trust the model")
        except subprocess.TimeoutExpired:
            return Outcome("timeout", message=f"no answer within {timeout:g} s and ended; allow more with --timeout")
        finally:
            process.kill()  # nothing if it has ended
    name = killed_by(process.returncode)
    if name is not None:
        return Outcome("crashed", message=f"the runtime died of {name}; {remedy(name)}", signal=name)
    try:
        answer = json.loads(printed)
    except ValueError:
        last = (said.strip().splitlines() or ["nothing was printed"])[-1]
        return Outcome(
            "crashed",
            message=f"ended with status {process.returncode}: {last[:300]}; `edgedigits doctor` says what works here",
        )
    if "error" in answer:
        return Outcome("error", message=answer["error"])
    return Outcome("ok", answer)


class _TooLargeError(Exception):
    """A child takes more memory than it may."""


def _watched(process: subprocess.Popen[str], request: str | None, timeout: float, limit: int | None) -> tuple[str, str]:
    """What it wrote to standard output and standard error; TimeoutExpired or _TooLargeError past a limit."""
    with contextlib.suppress(OSError):  # should memory run out before anybody looks, then it goes and not its parent
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000", encoding="ascii")
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        try:
            return process.communicate(request, timeout=max(0.0, min(left, _POLL_SECONDS)))
        except subprocess.TimeoutExpired:
            request = None  # the pipe has taken what it could, and takes the rest of it by itself
            if left <= _POLL_SECONDS:
                raise
        taken = memory_taken(process.pid)
        if limit is not None and taken is not None and taken > limit:
            raise _TooLargeError


def memory_taken(pid: int) -> int | None:
    """The bytes of a process that are nobody else's and no file's, in memory or swapped out; None off Linux.

    What it has reserved but not touched does not count: 64-bit runtimes reserve much.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    lines = (line.split() for line in status.splitlines() if line.startswith(("RssAnon:", "VmSwap:")))
    return sum(int(line[1]) * 1024 for line in lines)


def memory_share(processes: int = 1) -> int | None:
    """What each of so many processes at once may take: three quarters of the memory there is, shared out.

    None where the system does not tell. Never under 256 MB, which any runtime but TensorFlow starts in.
    """
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return max(_LEAST_BYTES, there * 3 // 4 // processes)


def remedy(name: str) -> str:
    """What to do about a process that such a signal ended."""
    if name in ILLEGAL:
        return "this processor lacks an instruction that it was built with: `edgedigits doctor` says what works here"
    if name == "SIGKILL":
        return "so the system ends what takes most when memory runs out: end what else runs, or use a smaller model"
    return "the model is damaged, hostile, or not for this runtime: use one that you trust, or another --runtime"


def killed_by(status: int) -> str | None:
    """The signal, or on Windows the exception, behind a process's exit status; None if it ended by itself."""
    if -128 < status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:  # a real-time signal, which has no name
            return f"signal {-status}"
    code = status & 0xFFFFFFFF
    return _NTSTATUS.get(code, f"status 0x{code:08X}") if code >= 0xC0000000 else None
