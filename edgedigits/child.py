"""Work in a process of its own: one runtime a process, and a runtime that dies takes only its own row with it.

The request goes in as JSON on standard input and the answer comes back as JSON on what was standard output; anything
that the runtimes themselves print goes to standard error, which the parent keeps for the case of a crash.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from edgedigits.errors import EdgeDigitsError

# What a child can be asked to do: a function of one JSON object that returns one.
TASKS = {
    "logits": "edgedigits.parity:child_logits",
    "latency": "edgedigits.benchmark:child_latency",
}


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
    """Run one of :data:`TASKS` in a fresh Python process, for at most ``timeout`` seconds."""
    command = [sys.executable, "-m", "edgedigits.child", task]
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


def main() -> None:
    """The child's side: keep the answer's pipe apart from what native code prints."""
    answer_pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, function = TASKS[sys.argv[1]].partition(":")
    try:
        answer = getattr(import_module(module), function)(json.load(sys.stdin))
    except EdgeDigitsError as error:
        answer = {"error": str(error)}
    with answer_pipe:
        json.dump(answer, answer_pipe)


if __name__ == "__main__":
    main()
