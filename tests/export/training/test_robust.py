"""The robust recipe and the calibration: repeatable, blind to the unseen digits; the bundled models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import INPUTS, READER, REFERENCE, Bundle
from edgedigits.bundle.contract import softmax
from edgedigits.errors import InputError
from edgedigits.parity.check import check_parity
from edgedigits.parity.metrics import errors
from edgedigits_export import packaged
from edgedigits_export.converting.bundle import export_bundle
from edgedigits_export.training import calibration, robust
from edgedigits_export.training.calibration import expected_calibration_error
from edgedigits_export.training.data import HeldOut, load_xy
from edgedigits_export.training.model import build, logits_of

Digits = tuple[Any, Any, Any]


@pytest.fixture(scope="module")
def some(data: Path) -> Digits:
    """Every fifth digit: X (1000, 400), y (1000,) and the 28x28 images that X was made from."""
    x, y = load_xy(data)
    return x[::5], y[::5], robust.sources(data, x, y)[::5]


@pytest.fixture(scope="module")
def brief(some: Digits) -> Any:
    """A training of a few epochs."""
    return robust.train_robust(*some, seed=7, epochs=6)


def test_it_learns(brief: Any, some: Digits) -> None:
    history = brief.history
    assert len(history["loss"]) == 6
    assert history["loss"][-1] == history["final_loss"] < 0.8 * history["loss"][0]
    assert history["errors"] == errors(brief.logits, some[1]) < 500
    assert brief.model.count_params() == 10_575
    assert (history["recipe"], history["seed"], history["epochs"]) == ("robust", 7, 6)
    assert history["augmentation"]["degrees"] == 15.0
    assert history["unseen_accuracy"] is None
    assert history["held_back_images"] == 1000
    assert 0.3 < history["held_back_accuracy"] < 1.0


def test_it_repeats_exactly_from_its_seed(some: Digits) -> None:
    one, again, other = (robust.train_robust(*some, seed=seed, epochs=2) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.logits, again.logits)
    assert {**one.history, "seconds": 0} == {**again.history, "seconds": 0}
    assert one.history["loss"] != other.history["loss"]


def test_held_back_digits_are_not_learned(some: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """One digit's label is changed: only the network that holds this digit back is trained as before."""
    kept: list[Any] = []

    def keep(features: int) -> Any:
        kept.append(build(features))
        return kept[-1]

    monkeypatch.setattr(robust, "build", keep)
    x, y, images = some
    changed = y.copy()
    changed[0] = 5
    fold = calibration.folds(y)
    monkeypatch.setattr(robust, "folds", lambda labels: fold)
    for labels in (y, changed):
        robust.train_robust(x, labels, images, seed=7, epochs=1)
    same = [
        all(np.array_equal(a, b) for a, b in zip(kept[k].get_weights(), kept[6 + k].get_weights(), strict=True))
        for k in range(6)
    ]
    assert same == [k == 1 + fold[0] for k in range(6)]


def test_the_export_reads_the_unseen_digits_last(brief: Any, some: Digits, tmp_path: Path) -> None:
    """It converts, then fits the temperature, and only then reads the unseen digits."""
    calls: list[str] = []

    def called(name: str, result: Any) -> Any:
        calls.append(name)
        return result

    export_bundle(
        brief.model,
        *some[:2],
        tmp_path / "bundle",
        name="brief",
        training={},
        plain_int8=True,
        temperature=lambda: called("temperature", 2.0),
        held_out=lambda: called("held_out", HeldOut(some[0][:300], some[1][:300], some[2][:300])),
        on_step=calls.append,
    )
    assert calls.index("float32.onnx") < calls.index("temperature") < calls.index("held_out")
    manifest = Bundle(tmp_path / "bundle").manifest
    logits = logits_of(brief.model, some[0][:300])
    assert manifest.temperature == 2.0
    expected = expected_calibration_error(softmax(logits / np.float32(2)), some[1][:300])
    assert manifest.calibration["ece_unseen"] == pytest.approx(expected, abs=1e-5)


def test_folds_are_a_fifth_of_each_class_in_one_run() -> None:
    fold = calibration.folds(np.repeat(np.arange(10), 500))
    assert np.bincount(fold).tolist() == [1000] * 5
    assert (np.diff(fold.reshape(10, 500), axis=1) >= 0).all()
    assert calibration.folds(np.array([3, 7, 7, 7, 7, 7, 7, 9])).tolist() == [0, 0, 0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize("expected", [0.5, 1.7])
def test_the_temperature_is_found_where_it_is_known(expected: float) -> None:
    rng = np.random.default_rng(3)
    exact = rng.normal(0, 3, (200_000, 10))
    y = (exact + rng.gumbel(size=exact.shape)).argmax(axis=1)  # labels drawn from softmax(exact)
    found = calibration.fit_temperature((exact * expected).astype(np.float32), y)
    assert found == pytest.approx(expected, rel=0.02)


def test_the_temperature_has_bounds_and_may_be_unknown(some: Digits) -> None:
    y = np.arange(10).repeat(20)
    logits = np.eye(10, dtype=np.float32)[y] * 3
    assert calibration.fit_temperature(logits, y) == pytest.approx(calibration.COLDEST, rel=1e-3)
    assert calibration.fit_temperature(logits, (y + 1) % 10) == pytest.approx(calibration.HOTTEST, rel=1e-3)
    assert calibration.temperature_for({}, *some[:2]) is None
    notebook = {"recipe": "notebook", "seed": 1, "epochs": 1}
    assert calibration.temperature_for(notebook, some[0][:90], some[1][:90]) is None


def test_sources_of_other_digits_are_refused(data: Path, tmp_path: Path) -> None:
    x, y = load_xy(data)
    shutil.copyfile(data / "unseen.npz", tmp_path / "source.npz")
    with pytest.raises(InputError, match=r"source\.npz: not the images that X\.npy was made from"):
        robust.sources(tmp_path, x, y)


def test_the_command_trains(data: Path, tmp_path: Path, edgedigits: Callable[..., Any]) -> None:
    done = edgedigits("train", "--recipe", "robust", "--epochs", "2", "--data", data, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2  loss " in done.stdout
    assert "accuracy on 5000 unseen digits: " in done.stdout
    assert json.loads((tmp_path / "out" / "history.json").read_text())["recipe"] == "robust"


@pytest.mark.parametrize("name", [REFERENCE, READER])
def test_a_bundled_model_keeps_its_promises(name: str, data: Path) -> None:
    bundle = Bundle(name)
    manifest, labels = bundle.manifest, bundle.unseen(data)[1]
    assert manifest.training["recipe"] == manifest.name == name
    logits = bundle.golden(unseen=True)
    accuracy = 1 - errors(logits, labels) / len(labels)
    assert accuracy == pytest.approx(manifest.training["unseen_accuracy"], abs=1e-9)
    assert accuracy >= (0.955 if name == READER else 0.91)
    error = expected_calibration_error(softmax(logits / np.float32(manifest.temperature)), labels)
    assert error == pytest.approx(manifest.calibration["ece_unseen"], abs=1e-4)
    assert error <= 0.02
    report = check_parity(bundle, runtimes=["litert", "tflite-runtime", "onnxruntime"], workers=2)
    rows = [row for row in report.rows if row.status == "ok"]
    assert [row.mismatches for row in rows] == [0] * len(rows)
    assert min(row.min_lead_quanta for row in rows if row.min_lead_quanta is not None) >= 3


def test_a_packaged_bundle_leaves_out_what_the_reference_holds(tmp_path: Path) -> None:
    whole, models = tmp_path / "whole", tmp_path / "models"
    shutil.copytree(Bundle(READER).path, whole)
    (whole / INPUTS).write_bytes(Bundle(REFERENCE).read(INPUTS))
    packaged.put(whole, models / READER, Bundle(REFERENCE).path)
    assert {p.name for p in (models / READER).iterdir()} == {p.name for p in whole.iterdir()} - {INPUTS}
    packaged.put(Bundle(REFERENCE).path, models / REFERENCE, models / REFERENCE)
    assert {p.name for p in (models / REFERENCE).iterdir()} == {p.name for p in Bundle(REFERENCE).path.iterdir()}
