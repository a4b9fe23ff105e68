"""Training: the notebook's figures, repeatable, with a history that belongs to its model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.system.files import sha256
from edgedigits_export.training.data import load_xy
from edgedigits_export.training.notebook import history_of, shapes, train


def test_it_reaches_the_notebooks_loss_and_errors(trained: tuple[Any, Path]) -> None:
    history, model = trained[0].history, trained[0].model
    assert model.count_params() == 10_575
    assert shapes(model) == [("L1", (400, 25), (25,)), ("L2", (25, 15), (15,)), ("L3", (15, 10), (10,))]
    assert len(history["loss"]) == 40
    assert history["final_loss"] == history["loss"][-1] <= 0.0330
    assert history["errors"] <= 19
    assert 0.90 < history["unseen_accuracy"] < 0.95
    assert trained[0].logits[1015].argmax() == 2


def test_the_history_belongs_to_its_model(trained: tuple[Any, Path], tmp_path: Path) -> None:
    folder = trained[1]
    written = json.loads((folder / "history.json").read_text())
    assert written["model_sha256"] == sha256((folder / "model.keras").read_bytes())
    assert history_of(folder / "model.keras") == written
    assert sorted(p.name for p in folder.iterdir()) == ["history.json", "model.keras"]
    (tmp_path / "model.keras").write_bytes(b"another model")
    (tmp_path / "history.json").write_bytes((folder / "history.json").read_bytes())
    assert history_of(tmp_path / "model.keras") == {}


def test_a_run_repeats_exactly_from_its_seed(data: Path) -> None:
    x, y = load_xy(data)
    first, again, other = (train(x[::5], y[::5], seed=seed, epochs=2) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.logits, again.logits)
    assert first.history["loss"] == again.history["loss"] != other.history["loss"]


@pytest.mark.parametrize(
    ("recipe", "missing"), [("notebook", "X.npy"), ("notebook", "y.npy"), ("robust", "source.npz")]
)
def test_missing_data_is_one_line(
    recipe: str, missing: str, data: Path, tmp_path: Path, edgedigits: Callable[..., Any]
) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    for name in {"X.npy", "y.npy"} - {missing}:
        (given / name).symlink_to(data / name)
    done = edgedigits("train", "--recipe", recipe, "--data", given, "--out", out)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert missing in done.stderr
    assert not out.exists()
