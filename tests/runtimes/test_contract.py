"""Every runtime passes suite.py, each in a process of its own, since two TFLite runtimes cannot share one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgedigits.runtimes.table import RUNTIMES

SUITE = Path(__file__).with_name("suite.py")

OPEN_BOTH = """
import sys
from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import RuntimeUnavailableError
from edgedigits.runtimes.session import Session

model = Bundle().read("float32.tflite")
with Session(model, "tflite", sys.argv[1]):
    try:
        Session(model, "tflite", sys.argv[2])
    except RuntimeUnavailableError as error:
        print(error)
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    # Not the user's own options: the summary line is read.
    root, variables = SUITE.parents[2], {**os.environ, "PYTEST_ADDOPTS": "", **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=root, env=variables)


def require(runtime: str) -> None:
    """Skip if a runtime is not installed, but fail in CI, which has all of them."""
    info = RUNTIMES[runtime]
    if not info.installed:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{runtime} is not installed; {info.install}")


SLOW = pytest.param("tensorflow", marks=pytest.mark.slow)


@pytest.mark.parametrize("runtime", [*(name for name in RUNTIMES if name != "tensorflow"), SLOW])
def test_contract(runtime: str) -> None:
    require(runtime)
    options = ("-q", "--tb=short", "--color=no", "-p", "no:cacheprovider")
    done = python("-m", "pytest", str(SUITE), *options, CONTRACT_RUNTIME=runtime)
    summary = (done.stdout.strip().splitlines() or [""])[-1]
    assert done.returncode == 0, f"{runtime} breaks the contract\n{done.stdout}\n{done.stderr}"
    assert re.fullmatch(r"[1-9]\d* passed in .*", summary), f"not every test ran and passed: {summary}\n{done.stdout}"


@pytest.mark.parametrize(
    ("first", "second"),
    [("litert", "tflite-runtime"), ("tflite-runtime", "litert"), ("tflite-runtime", "tensorflow")],
)
def test_the_second_tflite_runtime_in_a_process_is_refused(first: str, second: str) -> None:
    require(first)
    require(second)
    done = python("-c", OPEN_BOTH, first, second)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"and {second} cannot join it; use a process of its own for each")


def test_onnxruntime_sends_no_telemetry(tmp_path: Path) -> None:
    """Its telemetry writes a device number and a database to the user's home on import."""
    require("onnxruntime")
    code = "from edgedigits import Classifier; c = Classifier(runtime='onnxruntime'); c.predict(c.bundle.input_row(0))"
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(SUITE.parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == []
