"""The child's side of :mod:`edgedigits.system.isolation`, as light as can be, since cold starts are timed through it.

``python -m edgedigits.system.worker TASK`` reads one JSON object from standard input and answers with one on what was
standard output; anything that the runtimes themselves print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import Any

from edgedigits.errors import EdgeDigitsError

# What can be asked for: a function of one JSON object that returns one.
TASKS = {
    "layers": "edgedigits.parity.layers:child_layers",
    "logits": "edgedigits.parity.worker:child_logits",
    "window": "edgedigits.benchmark.timing:child_window",
    "start": "edgedigits.benchmark.timing:child_start",
    "sustained": "edgedigits.benchmark.timing:child_sustained",
    "runtime": "edgedigits.doctor.examination:child_runtime",
    "import": "edgedigits.doctor.examination:child_import",
}


def perform(task: str, request: dict[str, Any]) -> dict[str, Any]:
    """The task's answer, or ``{"error": ...}`` where it was refused."""
    module, _, function = TASKS[task].partition(":")
    try:
        answer: dict[str, Any] = getattr(import_module(module), function)(request)
    except EdgeDigitsError as error:
        answer = {"error": str(error)}
    return answer


def main() -> None:
    """Run one task, its answer's pipe kept apart from what native code prints."""
    started = {"child_started_ns": time.perf_counter_ns()}
    answer_pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answer = perform(sys.argv[1], json.load(sys.stdin) | started)
    with answer_pipe:
        json.dump(answer, answer_pipe)


if __name__ == "__main__":
    main()
