"""A model that crashes, stalls or exhausts its process is one row or one line; everything else goes on.

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
MESSAGES = {
    "recursive": "the runtime crashed (SIGSEGV): the model is damaged, malicious or not for this runtime; use ",
    "endless": "stopped after 5 s without a result; raise the limit with --timeout",
    "large": "stopped for using more than 300 MB of memory; if you trust the model, raise --memory-limit",
}
# Long enough for an honest row beside it, also on a busy machine.
LIMITS: dict[str, Any] = {"timeout": 5.0, "memory_bytes": 300_000_000}
ROWS: dict[str, Any] = {"artifacts": ["float32.tflite", "float32.onnx"], "runtimes": ["litert", "onnxruntime"]}
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
    limits = LIMITS if name == "endless" else {**LIMITS, "timeout": 60.0}
    found = check_parity(Bundle(bundle), **ROWS, kernels=["no-delegates", "unoptimized"], workers=2, **limits)
    hostile, other = found.rows
    assert (hostile.status, other.status, other.mismatches) == (HOSTILE[name], "ok", 0)
    assert not found.passed
    assert f"float32.tflite in litert (no-delegates): {HOSTILE[name]}: {MESSAGES[name]}" in parity_text(found)
    assert "PARITY FAILS" in parity_text(found)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["recursive"])
def test_benchmark_has_a_row_of_it_and_goes_on(name: str, bundle: Path) -> None:
    found = measure(Bundle(bundle), **ROWS, windows=1, min_seconds=0.05, starts=0)
    hostile, other = found.rows
    assert (hostile.status, other.status) == (HOSTILE[name], "ok")
    assert not found.passed
    assert MESSAGES[name] in benchmark_text(found)


def test_inspect_says_it_in_one_line(models: Path, replace_in_bundle: Replace) -> None:
    bundle = Bundle(replace_in_bundle("int8.tflite", (models / "recursive.tflite").read_bytes()))
    with pytest.raises(ModelError) as caught:
        inspect_layers(bundle, bundle.artifact("int8.tflite"), timeout=60.0)
    assert "\n" not in str(caught.value)
    assert f"litert: {MESSAGES['recursive']}" in str(caught.value)


class TestPredict:
    """In one process for the package's own bundles; in a copy of it for all others."""

    LIMITED = ("--timeout", "1", "--memory-limit", "300")

    def test_one_line(self, name: str, bundle: Path, edgedigits: Run) -> None:
        limits = self.LIMITED if name == "endless" else self.LIMITED[2:]
        done = edgedigits("predict", "--index", "3", "--bundle", bundle, *limits)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"edgedigits: {MESSAGES[name].replace('5 s', '1 s')}")

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: str(sent.name))
    def test_a_loop_is_interrupted(self, sent: int, models: Path, replace_in_bundle: Replace) -> None:
        """Native code does not hear of it, and is ended all the same, with its copy."""
        folder = replace_in_bundle("float32.tflite", (models / "endless.tflite").read_bytes())
        command = [sys.executable, "-m", "edgedigits", "predict", "--index", "3", "--bundle", str(folder)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            copy = copy_of(process.pid)
            try:
                process.send_signal(sent)
                _, errors = process.communicate(timeout=30)
                gone = not Path(f"/proc/{copy}").exists()
            finally:
                process.kill()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(copy, signal.SIGKILL)
        assert (process.returncode, errors.strip()) == (130, "edgedigits: interrupted; nothing was left half-written")
        assert gone

    @pytest.mark.parametrize("wanted", [("--index", "3", "--index", "1015"), ("none.png",)], ids=["digits", "missing"])
    def test_the_output_is_that_of_one_process(
        self, wanted: tuple[str, ...], bundle_copy: Path, edgedigits: Run
    ) -> None:
        copied, packaged = (edgedigits("predict", *wanted, "--bundle", name) for name in (bundle_copy, "notebook"))
        assert (copied.returncode, copied.stdout, copied.stderr) == (
            packaged.returncode,
            packaged.stdout,
            packaged.stderr,
        )

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
