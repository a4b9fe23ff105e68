"""The page's modules in Node, against the Python code that they are a port of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_models import random_model
from PIL import Image
from strokes import drawing

from edgedigits.bundle.bundle import Bundle
from edgedigits.parity import metrics
from edgedigits.pictures.normalization import normalize, to_input
from edgedigits.pictures.plausibility import implausibilities, measure_shape
from edgedigits.pictures.segmentation import segment
from edgedigits.runtimes.oracle.arithmetic import open_model
from edgedigits.system.files import sha256
from edgedigits_export.targets.web.site import STATIC

NODE = shutil.which("node") or shutil.which("nodejs")
REQUIRED = os.environ.get("EDGEDIGITS_BROWSER") == "required"
pytestmark = pytest.mark.skipif(
    NODE is None and not REQUIRED, reason="no Node; Debian: apt-get install --no-install-recommends nodejs"
)
KERNELS = ("exact", "ruy", "reference", "xnnpack")  # the order of tflite.js


def node(task: str, *arguments: Path) -> str:
    assert NODE is not None, "EDGEDIGITS_BROWSER=required, but there is no node"
    command = [NODE, str(Path(__file__).with_name("node_side.mjs")), str(STATIC), task, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def run_models(models: list[tuple[bytes, Any]], folder: Path) -> list[Any]:
    """The outputs of models on their inputs, (m, n) in the file's own dtype, on each kernel set: (4, m, outputs)."""
    plan = []
    for number, (model, x) in enumerate(models):
        names = {key: str(folder / f"{number}.{key}") for key in ("model", "inputs", "outputs")}
        Path(names["model"]).write_bytes(model)
        np.ascontiguousarray(x).tofile(names["inputs"])
        plan.append(names)
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    node("models", folder / "plan.json")
    shapes = [open_model(model, "tflite", 1, "exact").outputs for model, _ in models]
    return [
        np.fromfile(names["outputs"], spec.dtype).reshape(len(KERNELS), len(x), -1)
        for names, (_, x), spec in zip(plan, models, shapes, strict=True)
    ]


def count_random_models(seeds: range, folder: Path) -> int:
    """Compare the kernel sets on random models; returns how many were compared."""
    models, expected = [], []
    for seed in seeds:
        model, x = random_model(seed)
        try:
            expected.append(np.stack([open_model(model, "tflite", 1, kernels).run(x) for kernels in KERNELS]))
        except ValueError:  # a sum can overflow
            continue
        models.append((model, x))
    for found, outputs in zip(run_models(models, folder), expected, strict=True):
        np.testing.assert_array_equal(found, outputs)
    return len(models)


def test_random_int8_models_bit_for_bit(tmp_path: Path) -> None:
    assert count_random_models(range(60), tmp_path) >= 50


@pytest.mark.slow
def test_300_random_int8_models_bit_for_bit(tmp_path: Path, counted: Callable[[str], None]) -> None:
    models = count_random_models(range(60, 400), tmp_path)
    assert models >= 300
    counted(f"{models} random int8 models on {len(KERNELS)} kernel sets: 0 outputs differ from the numpy runtime's")


@pytest.mark.parametrize("images", [500, pytest.param(5000, marks=pytest.mark.slow)])
def test_the_packaged_models(tmp_path: Path, images: int) -> None:
    """On images and probes, int8 bit for bit. A float sum depends on the order of its terms, NumPy's choice."""
    models, specs = [], []
    for bundle in (Bundle("notebook"), Bundle("robust")):
        probes = bundle.probes()
        assert probes
        x = np.concatenate([bundle.inputs()[0][:: 5000 // images], probes.x])
        for artifact in (artifact for artifact in bundle.manifest.artifacts if artifact.format == "tflite"):
            models.append((bundle.read(artifact.file), artifact.input.quantize(x)))
            specs.append(artifact)
    for found, (model, x), artifact in zip(run_models(models, tmp_path), models, specs, strict=True):
        for outputs, kernels in zip(found, KERNELS, strict=True):
            expected = open_model(model, "tflite", 1, kernels).run(x)
            if "int8" in artifact.file:
                np.testing.assert_array_equal(outputs, expected)
            else:
                np.testing.assert_allclose(outputs, expected, rtol=0, atol=5e-5)


def compare_drawings(count: int, seed: int, folder: Path) -> tuple[int, float]:
    """Compare geometry and reasons; returns how many drawings were compared, and the largest difference of an input."""
    rng = np.random.default_rng(seed)
    drawings = []
    for number in range(count):
        points = [(8 + 112 * np.array(stroke)).tolist() for stroke in drawing(rng)]
        drawings.append({"strokes": points, "radius": float(rng.uniform(2, 7)) if number % 2 else 5.0})
    names = [folder / name for name in ("strokes.json", "pages", "inputs", "reasons.json")]
    names[0].write_text(json.dumps(drawings), encoding="utf-8")
    node("drawings", *names)
    pages = np.fromfile(names[1], np.uint8).reshape(-1, 128, 128)
    inputs = np.fromfile(names[2], np.float32).reshape(-1, 400)
    compared, largest = 0, 0.0
    for page, row, reasons in zip(pages, inputs, json.loads(names[3].read_text(encoding="utf-8")), strict=True):
        _, part, digit = segment(Image.fromarray(page))
        if part != (
            0,
            0,
            128,
            128,
        ):  # one in a thousand is so filled that Python takes it for a sheet of paper and zooms
            continue
        mnist = normalize(digit)
        assert mnist is not None
        assert tuple(reasons) == implausibilities(measure_shape(mnist, digit))
        largest = max(largest, float(np.abs(to_input(mnist) - row).max()))
        compared += 1
    return compared, largest


def test_drawings_give_the_same_input_and_reasons(tmp_path: Path) -> None:
    compared, largest = compare_drawings(150, 1, tmp_path)
    assert compared >= 130
    assert largest < 1e-5


@pytest.mark.slow
def test_2000_drawings_give_the_same_input_and_reasons(tmp_path: Path, counted: Callable[[str], None]) -> None:
    compared, largest = compare_drawings(2200, 2, tmp_path)
    assert compared >= 2000
    assert largest < 1e-5
    counted(f"{compared} drawings: model inputs differ by at most {largest:.1e}, reasons to doubt by none")


def test_sha256_without_the_browsers_own(tmp_path: Path) -> None:
    """As on a page that came over http from another machine. Around a block of 64 bytes, and more than one."""
    contents = [bytes(range(256))[:length] for length in (0, 1, 55, 56, 63, 64, 65, 200)]
    (tmp_path / "plan.json").write_text(json.dumps([content.hex() for content in contents]), encoding="utf-8")
    assert node("checksums", tmp_path / "plan.json").split() == [sha256(content) for content in contents]


def test_metrics(tmp_path: Path) -> None:
    """Counts, leads and the ledger as the Python code has them, on outputs of a few quanta with many ties."""
    rng, quantum = np.random.default_rng(3), np.float32(0.25)
    outputs = (rng.integers(-3, 3, (300, 4)) * quantum).astype(np.float32)
    golden = (outputs + rng.normal(0, 0.2, outputs.shape)).astype(np.float32)
    labels = rng.integers(0, 4, 300)
    for name, array in (("outputs", outputs), ("golden", golden), ("labels", labels.astype(np.float32))):
        array.tofile(tmp_path / name)
    found = json.loads(node("metrics", *(tmp_path / name for name in ("outputs", "golden", "labels"))))
    wrong = metrics.mismatched(outputs, golden)
    assert found["mismatched"] == wrong.tolist()
    assert found["ties"] == metrics.ties(outputs)
    assert found["errors"] == metrics.errors(outputs, labels)
    assert found["min_lead_quanta"] == metrics.lead_quanta(outputs, golden, 0.25).min()
    assert found["max_abs_diff"] == pytest.approx(float(np.abs(outputs - golden).max()))
    leads = metrics.lead_quanta(outputs, outputs, 0.25)
    assert [flip["image"] for flip in found["ledger"]] == sorted(
        {*wrong.tolist(), *np.flatnonzero(leads <= 1).tolist()}
    )
    assert {flip["kind"] for flip in found["ledger"]} == {"tie", "near-tie", "real"}
    trained = metrics.leads(golden, golden.argmax(axis=1)) / 0.25
    assert [flip["lead_quanta"] for flip in found["ledger"]] == [trained[flip["image"]] for flip in found["ledger"]]
