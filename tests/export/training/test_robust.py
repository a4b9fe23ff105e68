"""The robust recipe and the calibration: repeatable, blind to the unseen digits, and good where they are shipped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import INPUTS, READER, REFERENCE, Bundle
from edgedigits.bundle.dataset import Labels, load_xy
from edgedigits.classifier import Classifier, softmax
from edgedigits.errors import InputError
from edgedigits.parity.check import check_parity
from edgedigits.parity.metrics import errors, expected_calibration_error
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export import packaged
from edgedigits_export.converting.bundle import export_bundle
from edgedigits_export.training import calibration, robust
from edgedigits_export.training.golden import logits_of
from edgedigits_export.training.model import build
from edgedigits_export.training.notebook import save

DIGITS = tuple[Any, Any, Any]


@pytest.fixture(scope="module")
def some(data: Path) -> DIGITS:
    """Every fifth digit: X (1000, 400), y (1000,) and the 28x28 images that X was made from."""
    x, y = load_xy(data)
    return x[::5], y[::5], robust.sources(data, x, y)[::5]


@pytest.fixture(scope="module")
def brief(some: DIGITS) -> Any:
    """A training of a few epochs."""
    return robust.train_robust(*some, seed=7, epochs=6)


def test_it_learns(brief: Any, some: DIGITS) -> None:
    losses = brief.history["loss"]
    assert len(losses) == 6
    assert losses[-1] == brief.history["final_loss"] < 0.8 * losses[0]
    assert brief.history["errors"] == errors(brief.logits, some[1]) < 500
    assert [layer.name for layer in brief.model.layers] == ["L1", "L2", "L3"]
    assert brief.model.count_params() == 10_575


def test_it_repeats_exactly_from_its_seed(brief: Any, some: DIGITS) -> None:
    again, other = (robust.train_robust(*some, seed=seed, epochs=6) for seed in (7, 8))
    np.testing.assert_array_equal(brief.logits, again.logits)
    assert {**brief.history, "seconds": 0} == {**again.history, "seconds": 0}
    assert brief.history["loss"] != other.history["loss"]


def test_the_history_names_the_recipe(brief: Any, tmp_path: Path) -> None:
    save(brief, tmp_path)
    written = json.loads((tmp_path / "history.json").read_text())
    assert (written["recipe"], written["seed"], written["epochs"]) == ("robust", 7, 6)
    assert written["augmentation"]["degrees"] == 15.0
    assert written["unseen_accuracy"] is None
    assert written["held_back_images"] == 1000
    assert 0.3 < written["held_back_accuracy"] < 1.0


def test_those_that_are_asked_did_not_learn_the_digit(some: DIGITS, monkeypatch: pytest.MonkeyPatch) -> None:
    """One digit's label is changed: the network that is asked about it is the only rehearsal that stays as it was."""
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


def test_neither_training_nor_calibration_opens_the_unseen_digits(some: DIGITS, opened_files: list[str]) -> None:
    trained = robust.train_robust(*some, seed=7, epochs=1)
    assert calibration.temperature_for(trained.history, *some[:2]) is not None
    facts = {"recipe": "notebook", "seed": 7, "epochs": 1}
    assert calibration.temperature_for(facts, *some[:2]) is not None
    assert not [path for path in opened_files if "unseen" in path or path.endswith((".npz", ".npy"))]


def test_the_unseen_digits_are_asked_for_last(brief: Any, some: DIGITS, tmp_path: Path) -> None:
    """The export fits the artifacts, then the temperature, and only then looks at what was never seen."""
    calls: list[str] = []

    def called(name: str, answer: Any) -> Any:
        calls.append(name)
        return answer

    export_bundle(
        brief.model,
        *some[:2],
        tmp_path / "bundle",
        name="brief",
        training={},
        plain_int8=True,
        temperature=lambda: called("temperature", 2.0),
        unseen=lambda: called("unseen", tuple(array[:300] for array in (some[2], *some[:2]))),
        on_step=calls.append,
    )
    assert calls.index("float32.onnx") < calls.index("temperature") < calls.index("unseen")
    manifest = Bundle(tmp_path / "bundle").manifest
    logits = logits_of(brief.model, some[0][:300])
    assert manifest.temperature == 2.0
    expected = expected_calibration_error(softmax(logits / np.float32(2)), some[1][:300])
    assert manifest.calibration["ece_unseen"] == pytest.approx(expected, abs=1e-5)


class TestFolds:
    def test_a_fifth_of_each_class_in_one_run(self) -> None:
        y = np.repeat(np.arange(10), 500)
        fold = calibration.folds(y)
        assert np.bincount(fold).tolist() == [1000] * 5
        assert (np.diff(fold.reshape(10, 500), axis=1) >= 0).all()

    def test_classes_of_any_size(self) -> None:
        y = np.array([3, 3, 3, 7, 7, 7, 7, 7, 7, 9])
        fold = calibration.folds(y)
        assert fold.min() >= 0
        assert fold.max() < 5
        assert fold[3:9].tolist() == [0, 0, 1, 2, 3, 4]


class TestTemperature:
    @pytest.mark.parametrize("wanted", [0.5, 1.0, 1.7, 4.0])
    def test_it_is_found_where_it_is_known(self, wanted: float) -> None:
        rng = np.random.default_rng(3)
        exact = rng.normal(0, 3, (200_000, 10))
        y = (exact + rng.gumbel(size=exact.shape)).argmax(axis=1)  # labels drawn from softmax(exact)
        assert calibration.fit_temperature((exact * wanted).astype(np.float32), y) == pytest.approx(wanted, rel=0.02)

    def test_a_set_without_errors_ends_at_the_bound(self) -> None:
        y = np.arange(10).repeat(20)
        sure = np.eye(10, dtype=np.float32)[y] * 3
        assert calibration.fit_temperature(sure, y) == pytest.approx(calibration.COLDEST, rel=1e-3)
        assert calibration.fit_temperature(sure, (y + 1) % 10) == pytest.approx(calibration.HOTTEST, rel=1e-3)

    def test_an_unknown_recipe_has_none(self, some: DIGITS) -> None:
        assert calibration.temperature_for({}, *some[:2]) is None
        assert (
            calibration.temperature_for({"recipe": "notebook", "seed": 1, "epochs": 1}, some[0][:90], some[1][:90])
            is None
        )


class TestSources:
    def test_missing(self, tmp_path: Path, some: DIGITS) -> None:
        with pytest.raises(InputError, match=r"source\.npz: no such file; the recipe robust .* notebook does without"):
            robust.sources(tmp_path, *some[:2])

    def test_of_other_digits(self, data: Path, tmp_path: Path) -> None:
        x, y = load_xy(data)
        shutil.copyfile(data / "unseen.npz", tmp_path / "source.npz")
        with pytest.raises(InputError, match=r"source\.npz: not the images that X\.npy was made from"):
            robust.sources(tmp_path, x, y)
        with pytest.raises(InputError, match="not the images"):
            robust.sources(data, x[:10], y[:10])

    def test_the_command_says_so_in_one_line(self, data: Path, tmp_path: Path) -> None:
        for name in ("X.npy", "y.npy"):
            (tmp_path / name).symlink_to(data / name)
        command = [sys.executable, "-m", "edgedigits", "train", "--recipe", "robust", "--data", str(tmp_path)]
        done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "source.npz" in done.stderr
        assert not (tmp_path / "out").exists()


def test_the_command_trains(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgedigits", "train", "--recipe", "robust", "--epochs", "2"]
    done = subprocess.run(
        [*command, "--data", str(data), "--out", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "epoch 2/2  loss " in done.stdout
    assert "accuracy on 5000 digits never seen: " in done.stdout
    assert json.loads((tmp_path / "history.json").read_text())["recipe"] == "robust"


class TestShipped:
    """What the bundles inside the package promise, on the very digits that nothing saw."""

    @pytest.fixture(scope="class", params=[REFERENCE, READER])
    def shipped(self, request: pytest.FixtureRequest) -> Bundle:
        bundle = Bundle(request.param)
        bundle.verify()
        return bundle

    @pytest.fixture(scope="class")
    def labels(self, shipped: Bundle, data: Path) -> Labels:
        return shipped.unseen(data)[1]

    def test_the_recipe_is_told(self, shipped: Bundle) -> None:
        assert shipped.manifest.training["recipe"] == shipped.manifest.name == shipped.path.name

    def test_accuracy_on_unseen_digits(self, shipped: Bundle, labels: Labels) -> None:
        accuracy = 1 - errors(shipped.golden(unseen=True), labels) / len(labels)
        assert accuracy == pytest.approx(shipped.manifest.training["unseen_accuracy"], abs=1e-9)
        assert accuracy >= (0.955 if shipped.manifest.name == READER else 0.91)

    def test_calibration_error_on_unseen_digits(self, shipped: Bundle, labels: Labels) -> None:
        found = shipped.manifest.calibration
        logits: FloatArray = shipped.golden(unseen=True)
        error = expected_calibration_error(softmax(logits / np.float32(shipped.manifest.temperature)), labels)
        assert error == pytest.approx(found["ece_unseen"], abs=1e-4)
        assert error <= 0.02

    def test_parity_int8_included(self, shipped: Bundle) -> None:
        report = check_parity(shipped, runtimes=["litert", "tflite-runtime", "onnxruntime"], workers=2)
        rows = [row for row in report.rows if row.status == "ok"]
        assert [row.mismatches for row in rows] == [0] * len(rows)
        leads = [row.min_lead_quanta for row in rows if row.min_lead_quanta is not None]
        assert leads
        assert min(leads) >= 3

    @pytest.mark.parametrize("artifact", ["float32.tflite", "int8.tflite"])
    def test_calibration_changes_no_answer(self, shipped: Bundle, artifact: str, x: FloatArray) -> None:
        with Classifier(shipped, artifact) as classifier:
            logits, probabilities = classifier.logits(x), classifier.probabilities(x)
        np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


def test_a_packaged_bundle_leaves_out_what_the_reference_holds(tmp_path: Path) -> None:
    whole, models = tmp_path / "whole", tmp_path / "models"
    shutil.copytree(Bundle(READER).path, whole)
    (whole / INPUTS).write_bytes(Bundle(REFERENCE).read(INPUTS))
    packaged.put(whole, models / READER, Bundle(REFERENCE).path)
    assert {p.name for p in (models / READER).iterdir()} == {p.name for p in whole.iterdir()} - {INPUTS}
    packaged.put(Bundle(REFERENCE).path, models / REFERENCE, models / REFERENCE)
    assert {p.name for p in (models / REFERENCE).iterdir()} == {p.name for p in Bundle(REFERENCE).path.iterdir()}
