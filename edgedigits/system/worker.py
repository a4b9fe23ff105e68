"""The child's side of :mod:`edgedigits.system.isolation`; cold starts are timed through it, so it imports little."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from importlib import import_module
from typing import IO, Any

from edgedigits.errors import EdgeDigitsError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def perform(task: str, request: dict[str, Any], answer: IO[bytes]) -> int:
    """Run ``task``, a function named ``"module:function"``, write its answer as JSON, and return the exit status.

    The answer is the function's dictionary, or ``{"error": message}`` if it raised an EdgeDigitsError, or
    ``{"raised": message}`` for any other exception.
    """
    module, _, function = task.partition(":")
    status = 0
    try:
        found: dict[str, Any] = getattr(import_module(module), function)(request)
    except EdgeDigitsError as error:
        found = {"error": str(error)}
    except BaseException as error:  # noqa: BLE001 # reported, SystemExit too: a runtime must not end the caller's loop
        found, status = {"raised": " ".join(f"{type(error).__name__}: {error}".split())[:300]}, 1
    answer.write(json.dumps(found).encode())
    answer.flush()
    return status


def end_with_parent(parent: int) -> None:
    """Leave Ctrl-C to the parent, and on Linux have the kernel kill this process when the parent ends, however it ends.

    The kernel watches the thread that started this process. ``parent`` is read before this process starts: a parent
    that ended in between is noticed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, AttributeError, OSError):  # some builds of Python have no ctypes
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    """Run the task of ``sys.argv``: its name and the parent's pid; the request is JSON on standard input.

    Standard output is the answer's file, so whatever else is printed there goes to standard error.
    """
    started = {"child_started_ns": time.perf_counter_ns()}
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    end_with_parent(int(sys.argv[2]))
    os._exit(perform(sys.argv[1], json.load(sys.stdin) | started, answer))
