"""A model that kills, stalls or fills the process that runs it is one row or one line; whatever else was asked goes on.

Nothing is simulated: the models are small real ones (hostile_models.py), in a bundle whose checksums fit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark import measure
from edgedigits.bundle import Bundle
from edgedigits.errors import ModelError
from edgedigits.layers import inspect_layers
from edgedigits.parity import check_parity
from edgedigits.report import benchmark_text, parity_text

Run = Callable[..., subprocess.CompletedProcess[str]]
Replace = Callable[[str, bytes], Path]
MAKE = Path(__file__).with_name("hostile_models.py")
HOSTILE = {"recursive": "crashed", "endless": "timeout", "large": "memory"}
SAID = {
    "recursive": "the runtime died of SIGSEGV; the model is damaged, hostile, or not for this runtime: use one that",
    "endless": "no answer within 5 s and ended; allow more with --timeout",
    "large": "took over 300 MB of memory and was ended; allow more with --memory-limit, if you trust the model",
}
# Long enough for an honest row beside it, also on a busy machine.
LIMITS: dict[str, Any] = {"timeout": 5.0, "memory_bytes": 300_000_000}
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals and /proc are Linux's")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the hostile models."""
    folder = tmp_path_factory.mktemp("hostile")
    subprocess.run([sys.executable, str(MAKE), str(folder)], check=True)
    return folder


@pytest.fixture(params=HOSTILE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bundle(name: str, models: Path, replace_in_bundle: Replace) -> Path:
    """The packaged bundle with the hostile model as its float32.tflite."""
    return replace_in_bundle("float32.tflite", (models / f"{name}.tflite").read_bytes())


def test_parity_has_a_row_of_it_and_goes_on(name: str, bundle: Path) -> None:
    found = check_parity(
        Bundle(bundle),
        artifacts=["float32.tflite", "float32.onnx"],
        runtimes=["litert", "onnxruntime"],
        kernels=["no-delegates", "default", "unoptimized"] if name == "recursive" else ["no-delegates", "unoptimized"],
        workers=2,
        **(LIMITS if name == "endless" else {**LIMITS, "timeout": 60.0}),
    )
    hostile = [row for row in found.rows if row.artifact == "float32.tflite"]
    others = [row for row in found.rows if row.artifact == "float32.onnx"]
    assert [row.status for row in hostile] == [HOSTILE[name]] * len(hostile)
    assert [(row.status, row.mismatches) for row in others] == [("ok", 0)] * len(others)
    assert hostile
    assert others
    assert not found.passed
    assert parity_text(found).count(SAID[name]) == len(hostile)
    assert "PARITY FAILS" in parity_text(found)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["recursive", "large"])
def test_benchmark_has_a_row_of_it_and_goes_on(name: str, bundle: Path) -> None:
    found = measure(
        Bundle(bundle),
        artifacts=["float32.tflite", "float32.onnx"],
        runtimes=["litert", "onnxruntime"],
        windows=1,
        min_seconds=0.05,
        starts=0,
        timeout=60.0,
        memory_bytes=LIMITS["memory_bytes"],
    )
    hostile, other = found.rows
    assert (hostile.status, other.status) == (HOSTILE[name], "ok")
    assert not found.passed
    assert SAID[name] in benchmark_text(found)


def test_inspect_says_it_in_one_line(name: str, models: Path, replace_in_bundle: Replace) -> None:
    folder = replace_in_bundle("int8.tflite", (models / f"{name}.tflite").read_bytes())
    opened, timeout = Bundle(folder), 1.0 if name == "endless" else 60.0
    with pytest.raises(ModelError) as caught:
        inspect_layers(opened, opened.artifact("int8.tflite"), timeout, LIMITS["memory_bytes"])
    assert "\n" not in str(caught.value)
    assert f"litert: {SAID[name].replace('5 s', '1 s')}" in str(caught.value)


def test_the_command_ends_with_a_verdict(models: Path, replace_in_bundle: Replace, edgedigits: Run) -> None:
    folder = replace_in_bundle("float32.tflite", (models / "recursive.tflite").read_bytes())
    wanted = ("--runtime", "litert", "--kernels", "reference", "--memory-limit", "2000")
    done = edgedigits("parity", folder, *wanted)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"float32.tflite in litert (reference): crashed: {SAID['recursive']}" in done.stdout
    assert "PARITY FAILS: 1 of 2 rows pass" in done.stdout


def test_int8_whose_arithmetic_cannot_be_recomputed(models: Path, replace_in_bundle: Replace) -> None:
    """The oracle of the numpy runtime opens the same bytes, and not in the process that reports."""
    folder = replace_in_bundle("int8.tflite", (models / "endless.tflite").read_bytes())
    started = time.monotonic()
    found = check_parity(
        Bundle(folder), artifacts=["int8.tflite"], runtimes=["litert"], kernels=["reference"], timeout=1.0
    )
    assert [row.status for row in found.rows] == ["timeout"]
    assert time.monotonic() - started < 20
