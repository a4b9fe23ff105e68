"""Work in a process of its own: one runtime a process, and a runtime that dies takes only its own row with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

# A Windows process that dies ends with an NTSTATUS; these are the commonest (ntstatus.h).
_NTSTATUS = {
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC000001D: "STATUS_ILLEGAL_INSTRUCTION",
    0xC00000FD: "STATUS_STACK_OVERFLOW",
    0xC0000409: "STATUS_STACK_BUFFER_OVERRUN",
}


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    ``status`` is ``"ok"`` (``answer`` holds), ``"error"`` (it said why), ``"crashed"`` (``signal`` names what killed
    it, or is None where it ended unexpectedly by itself) or ``"timeout"``; ``message`` is one line.
    """

    status: str
    answer: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    signal: str | None = None


def run_in_child(task: str, request: dict[str, Any], timeout: float) -> Outcome:
    """Run one of :data:`edgedigits.worker.TASKS` in a fresh Python process, for at most ``timeout`` seconds."""
    command = [sys.executable, "-m", "edgedigits.worker", task]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, errors="replace", timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return Outcome("timeout", message=f"no answer within {timeout:g} s and ended; allow more with --timeout")
    name = killed_by(done.returncode)
    if name is not None:
        return Outcome("crashed", message=f"the runtime died of {name}", signal=name)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        return Outcome("crashed", message=f"ended with status {done.returncode}: {last[:300]}")
    if "error" in answer:
        return Outcome("error", message=answer["error"])
    return Outcome("ok", answer)


def killed_by(status: int) -> str | None:
    """The signal, or on Windows the exception, behind a process's exit status; None if it ended by itself."""
    if -128 < status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:  # a real-time signal, which has no name
            return f"signal {-status}"
    code = status & 0xFFFFFFFF
    return _NTSTATUS.get(code, f"status 0x{code:08X}") if code >= 0xC0000000 else None
