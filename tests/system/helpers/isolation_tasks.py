"""Tasks that end in every way in which a runtime can."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from edgedigits.errors import InputError

kept: list[bytes] = []


def double(request: dict[str, Any]) -> dict[str, Any]:
    os.write(1, b"printed by a runtime")
    return {"doubled": 2 * request["number"], "pid": os.getpid()}


def refuse(request: dict[str, Any]) -> dict[str, Any]:
    raise InputError("wrong; expected right; turn around")


def fail(request: dict[str, Any]) -> dict[str, Any]:
    return {"value": request["missing"]}


def leave(request: dict[str, Any]) -> NoReturn:
    sys.exit("a runtime calls exit")


def crash(request: dict[str, Any]) -> NoReturn:
    os.kill(os.getpid(), signal.Signals[request["signal"]])
    raise AssertionError("unreachable")


def hang(request: dict[str, Any]) -> NoReturn:
    """Write the process's pid, then stop for good as native code in a loop would; a signal's handler never runs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    temporary = Path(f"{request['pid_file']}.new")
    temporary.write_text(str(os.getpid()))
    temporary.rename(request["pid_file"])
    while True:
        time.sleep(600)


def wait_for_pid_file(request: dict[str, Any]) -> dict[str, Any]:
    while not Path(request["pid_file"]).exists():
        time.sleep(0.01)
    return {}


def allocate(request: dict[str, Any]) -> NoReturn:
    while True:
        kept.append(bytes(range(256)) * 4096)
