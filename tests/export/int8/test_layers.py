"""`inspect --int8` on bundles with convolutional models, as a user runs it, with each set of runtimes installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgedigits.bundle.bundle import Bundle  # noqa: E402
from edgedigits.parity.layers import HEALTHY  # noqa: E402
from edgedigits_export.converting.bundle import export_bundle  # noqa: E402

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional model of 500 digits, exported with the converter's own int8."""
    keras.utils.set_random_seed(5)
    layers = keras.layers
    start = keras.Input((400,))
    kept = layers.Conv2D(8, 3, strides=2, activation="relu")(layers.Reshape((20, 20, 1))(start))
    h = layers.DepthwiseConv2D(3, padding="same", activation="relu")(kept)
    h = layers.MaxPooling2D(2)(layers.Add()([h, kept]))
    model = keras.Model(start, layers.Dense(10)(layers.Flatten()(h)))
    x = np.load(data / "X.npy")[::10]
    out = tmp_path_factory.mktemp("cnn") / "bundle"
    y = np.load(data / "y.npy").ravel()[::10].astype(np.int64) % 10
    export_bundle(model, x, y, out, name="cnn", training={}, plain_int8=True)
    return out


@pytest.fixture
def inspect(hidden: Callable[..., dict[str, str]]) -> Run:
    """Run `inspect --int8` where these packages are not installed."""

    def run(*arguments: str | Path, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgedigits", "inspect", "--int8", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=hidden(*without))

    return run


def measured(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    (artifact,) = json.loads(done.stdout)
    facts: dict[str, Any] = artifact
    return facts


def test_a_convolutional_bundle(bundle: Path, inspect: Run) -> None:
    found = measured(inspect(bundle, "--json", "-"))
    assert (found["artifact"], found["runtime"], found["not_measured"]) == ("int8.tflite", "litert", [])
    operators = [layer["operator"] for layer in found["layers"]]
    assert operators == ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "FULLY_CONNECTED"]
    for layer in found["layers"]:
        # Less than healthy is no fault: what is 0 on the digits' plain ground needs no rounding.
        assert HEALTHY / 2 < layer["in_range_rmse_over_scale"] < 1.1 * HEALTHY
    done = inspect(bundle)
    assert [line.split()[2] for line in done.stdout.splitlines()[2:6]] == operators


def test_the_other_runtime_tells_the_same(bundle: Path, inspect: Run) -> None:
    if find_spec("tflite_runtime") is None:
        pytest.skip("tflite-runtime is not installed")
    one = measured(inspect(bundle, "--json", "-"))
    other = measured(inspect(bundle, "--json", "-", without=("ai_edge_litert",)))
    assert other["runtime"] == "tflite-runtime"
    for a, b in zip(one["layers"], other["layers"], strict=True):
        assert a["in_range_rmse_over_scale"] == pytest.approx(b["in_range_rmse_over_scale"], abs=0.02)


def test_without_a_runtime_for_it_one_line_says_what_to_install(bundle: Path, inspect: Run) -> None:
    done = inspect(bundle, without=("ai_edge_litert", "tflite_runtime"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "int8.tflite: none of litert, tflite-runtime" in done.stderr
    assert "pip install 'edgedigits[litert]'" in done.stderr


def test_a_dense_bundle_needs_no_runtime(inspect: Run) -> None:
    bare = inspect(Bundle().path, without=("ai_edge_litert", "tflite_runtime"))
    assert bare.returncode == 0
    assert bare.stdout == inspect(Bundle().path).stdout


def test_a_time_too_short_is_told(inspect: Run) -> None:
    done = inspect(Bundle().path, "--timeout", "0.01")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "allow more with --timeout" in done.stderr
