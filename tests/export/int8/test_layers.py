"""`inspect --int8` on a convolutional bundle, as a user runs it, with each set of runtimes installed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

keras = pytest.importorskip("keras")

from edgedigits.bundle.bundle import Bundle  # noqa: E402
from edgedigits.parity.layers import HEALTHY  # noqa: E402
from edgedigits_export.converting.bundle import export_bundle  # noqa: E402

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
RUNTIMES = ("ai_edge_litert", "tflite_runtime")


@pytest.fixture(scope="module")
def bundle(x: Any, y: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional model of 500 digits, exported with the converter's own int8."""
    keras.utils.set_random_seed(5)
    layers = keras.layers
    start = keras.Input((400,))
    kept = layers.Conv2D(8, 3, strides=2, activation="relu")(layers.Reshape((20, 20, 1))(start))
    h = layers.DepthwiseConv2D(3, padding="same", activation="relu")(kept)
    h = layers.MaxPooling2D(2)(layers.Add()([h, kept]))
    model = keras.Model(start, layers.Dense(10)(layers.Flatten()(h)))
    out = tmp_path_factory.mktemp("cnn") / "bundle"
    export_bundle(model, x[::10], y[::10], out, name="cnn", training={}, plain_int8=True)
    return out


@pytest.fixture
def inspect(edgedigits: Run, hidden: Callable[..., dict[str, str]]) -> Run:
    """Run `inspect --int8` where these packages are not installed."""
    return lambda *arguments, without=(): edgedigits("inspect", "--int8", *arguments, env=hidden(*without))


def facts_in(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    _, full = json.loads(done.stdout)
    return full


def test_a_convolutional_bundle(bundle: Path, inspect: Run) -> None:
    artifacts = Bundle(bundle).manifest.artifacts
    assert all("numpy" not in artifact.runtimes for artifact in artifacts)  # it has no convolution
    assert artifacts[2].facts["quantization"]["method"] == "plain"
    found = facts_in(inspect(bundle, "--json", "-"))
    assert (found["artifact"], found["runtime"], found["not_measured"]) == ("int8_full.tflite", "litert", [])
    operators = [layer["operator"] for layer in found["layers"]]
    assert operators == ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "FULLY_CONNECTED"]
    for layer in found["layers"]:
        # Zeros on the digits' background need no rounding, so the error may be smaller.
        assert HEALTHY / 2 < layer["in_range_rmse_over_scale"] < 1.1 * HEALTHY
    assert [line.split()[2] for line in inspect(bundle).stdout.splitlines()[7:11]] == operators
    if find_spec("tflite_runtime") is not None:
        other = facts_in(inspect(bundle, "--json", "-", without=RUNTIMES[:1]))
        assert other["runtime"] == "tflite-runtime"
        for a, b in zip(found["layers"], other["layers"], strict=True):
            assert a["in_range_rmse_over_scale"] == pytest.approx(b["in_range_rmse_over_scale"], abs=0.02)


def test_without_a_runtime_or_in_too_short_a_time(bundle: Path, inspect: Run) -> None:
    done = inspect(bundle, without=RUNTIMES)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("edgedigits: int8.tflite: ")
    assert "pip install ai-edge-litert" in done.stderr
    bare = inspect(Bundle().path, without=RUNTIMES)
    assert (bare.returncode, bare.stdout) == (0, inspect(Bundle().path).stdout)
    done = inspect(Bundle().path, "--timeout", "0.01")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--timeout" in done.stderr
