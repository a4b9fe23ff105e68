"""Work in a process of its own: one runtime a process, and a runtime that dies takes only its own row with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    ``status`` is ``"ok"`` (``answer`` holds), ``"error"`` (it said why), ``"crashed"`` (a signal, or an unexpected end)
    or ``"timeout"``; ``message`` is one line.
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
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return Outcome("crashed", message=f"the runtime died of {name}", signal=name)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        return Outcome("crashed", message=f"ended with status {done.returncode}: {last[:300]}")
    if "error" in answer:
        return Outcome("error", message=answer["error"])
    return Outcome("ok", answer)
