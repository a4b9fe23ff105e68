"""No process is left behind, whenever a command is interrupted, terminated or killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="it looks for processes in /proc"),
]
MOMENTS = int(os.environ.get("EDGEDIGITS_MOMENTS", "4"))  # of each command and signal; 17 are 204 in all
COMMANDS = {
    "parity": ["parity", "--runtime", "litert", "--runtime", "numpy"],
    "benchmark": ["benchmark", "--runtime", "litert", "--windows", "2", "--min-seconds", "0.2", "--starts", "2"],
    "predict": ["predict", "--index", "1015", "--timeout", "600"],
    "doctor": ["doctor"],
}


def processes_of(session: int) -> list[int]:
    """The pids of a session's processes that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sent: str(sent.name))
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_left(name: str, sent: signal.Signals, tmp_path: Path, counted: Callable[[str], None]) -> None:
    """Ctrl-C goes to the whole group, as from a terminal; the other signals to the command only."""
    command = [sys.executable, "-m", "edgedigits", *COMMANDS[name]]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # what a killed command leaves there is removed with the test
    began = time.monotonic()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    duration = time.monotonic() - began
    moments = random.Random(f"{name} {sent.name}")
    longest, left = 0.0, []
    for _ in range(MOMENTS):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(moments.uniform(0.0, duration))
        if process.poll() is None:
            (os.killpg if sent is signal.SIGINT else os.kill)(process.pid, sent)
        began = time.monotonic()
        process.wait(timeout=60)
        while processes_of(process.pid) and time.monotonic() - began < 60:
            time.sleep(0.005)
        longest = max(longest, time.monotonic() - began)
        left += processes_of(process.pid)
    counted(f"{name} and {sent.name}: {len(left)} processes left after {MOMENTS} moments, longest end {longest:.2f} s")
    assert left == []
