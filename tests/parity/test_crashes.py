"""A model that kills, stalls or fills the process that runs it is one row or one line; whatever else was asked goes on.

Nothing is simulated: the models are small real ones (hostile_models.py), in a bundle whose checksums fit.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark.measure import measure
from edgedigits.benchmark.text import benchmark_text
from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import ModelError
from edgedigits.parity.check import check_parity
from edgedigits.parity.layers import inspect_layers
from edgedigits.parity.text import parity_text

Run = Callable[..., subprocess.CompletedProcess[str]]
Replace = Callable[[str, bytes], Path]
MAKE = Path(__file__).parents[1] / "runtimes" / "hostile_models.py"
HOSTILE = {"recursive": "crashed", "endless": "timeout", "large": "memory"}
SAID = {
    "recursive": "the runtime crashed (SIGSEGV): the model is damaged, malicious or not for this runtime; use ",
    "endless": "stopped after 5 s without a result; raise the limit with --timeout",
    "large": "stopped for using more than 300 MB of memory; if you trust the model, raise --memory-limit",
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


class TestPredict:
    """In one process for the package's own bundles; in a copy of it for all others."""

    LIMITED = ("--timeout", "1", "--memory-limit", "300")

    def test_one_line(self, name: str, bundle: Path, edgedigits: Run) -> None:
        limits = self.LIMITED if name == "endless" else self.LIMITED[2:]
        done = edgedigits("predict", "--index", "3", "--bundle", bundle, *limits)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"edgedigits: {SAID[name].replace('5 s', '1 s')}")

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: str(sent.name))
    def test_a_loop_is_interrupted(self, sent: int, models: Path, replace_in_bundle: Replace) -> None:
        """Native code does not hear of it, and is ended all the same, with its copy."""
        folder = replace_in_bundle("float32.tflite", (models / "endless.tflite").read_bytes())
        command = [sys.executable, "-m", "edgedigits", "predict", "--index", "3", "--bundle", str(folder)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            copy = copy_of(process.pid)
            try:
                process.send_signal(sent)
                _, said = process.communicate(timeout=30)
                gone = not Path(f"/proc/{copy}").exists()
            finally:
                process.kill()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(copy, signal.SIGKILL)
        assert (process.returncode, said.strip()) == (130, "edgedigits: interrupted; nothing was left half-written")
        assert gone

    def test_the_answer_the_status_and_the_error_are_those_of_one_process(
        self, bundle_copy: Path, edgedigits: Run, tmp_path: Path
    ) -> None:
        wanted = ("--index", "3", "--index", "1015", "--strict")
        copied, packaged = (
            edgedigits("predict", *wanted, "--bundle", bundle_copy),
            edgedigits("predict", *wanted, "--bundle", "notebook"),
        )
        assert (copied.returncode, copied.stdout) == (packaged.returncode, packaged.stdout)
        assert copied.stdout.count("\n") == 2
        missing = edgedigits("predict", tmp_path / "none.png", "--bundle", bundle_copy)
        assert (missing.returncode, missing.stdout) == (2, "")
        assert missing.stderr == f"edgedigits: {tmp_path}/none.png: no such file; give the path of a picture\n"
        wrong = edgedigits("predict", "--index", "9999", "--bundle", bundle_copy)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)

    @pytest.mark.parametrize("options", [[], ["--bundle", "robust"]], ids=["none", "named"])
    def test_the_packaged_bundles_take_no_copy(self, options: list[str]) -> None:
        command = [sys.executable, "-X", "importtime", "-m", "edgedigits", "predict", "--index", "3", *options]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0
        assert "edgedigits.system.isolation" not in done.stderr


def copy_of(pid: int) -> int:
    """The process that another has started, once it has opened a runtime."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if "/ai_edge_litert/" in Path(f"/proc/{child}/maps").read_text():
                time.sleep(0.2)
                return int(child)
        time.sleep(0.02)
    raise AssertionError("no copy was made")
