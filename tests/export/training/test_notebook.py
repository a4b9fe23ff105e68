"""Training: the notebook's figures, repeatable, and nothing half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.dataset import load_xy
from edgedigits.system.files import sha256
from edgedigits_export.training import model as models
from edgedigits_export.training.notebook import history_of, shapes, train


def test_the_network_is_the_notebooks() -> None:
    built = models.build()
    assert built.count_params() == 10_575
    assert shapes(built) == [("L1", (400, 25), (25,)), ("L2", (25, 15), (15,)), ("L3", (15, 10), (10,))]


def test_it_reaches_the_notebooks_loss_and_errors(trained: tuple[Any, Path]) -> None:
    history = trained[0].history
    assert len(history["loss"]) == 40
    assert history["final_loss"] == history["loss"][-1] <= 0.0330
    assert history["errors"] <= 19
    assert 0.90 < history["unseen_accuracy"] < 0.95
    assert trained[0].logits[1015].argmax() == 2


def test_the_history_belongs_to_its_model(trained: tuple[Any, Path]) -> None:
    folder = trained[1]
    written = json.loads((folder / "history.json").read_text())
    assert written["model_sha256"] == sha256((folder / "model.keras").read_bytes())
    assert history_of(folder / "model.keras") == written
    assert sorted(p.name for p in folder.iterdir()) == ["history.json", "model.keras"]


def test_another_models_history_is_not_taken(trained: tuple[Any, Path], tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"another model")
    (tmp_path / "history.json").write_bytes((trained[1] / "history.json").read_bytes())
    assert history_of(tmp_path / "model.keras") == {}


def test_a_run_repeats_exactly_from_its_seed(data: Path) -> None:
    x, y = load_xy(data)
    first, again, other = (train(x[::5], y[::5], seed=seed, epochs=2) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.logits, again.logits)
    assert first.history["loss"] == again.history["loss"] != other.history["loss"]


def test_an_interrupt_keeps_the_older_model_and_leaves_no_half(data: Path, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"older")
    # A shell's background job is started with SIGINT ignored, and so is all below it; a user's terminal does not.
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from edgedigits.cli import main\nmain(sys.argv[1:])"
    )
    train = ["train", "--data", str(data), "--out", str(tmp_path), "--epochs", "100000"]
    command, pipe = [sys.executable, "-c", code, *train], subprocess.PIPE
    with subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe) as child:
        try:
            assert child.stdout is not None
            for line in child.stdout:  # the summary is printed right before the first epoch
                if line.startswith("L3:"):
                    break
            time.sleep(1.0)
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 130
    assert "edgedigits: interrupted" in errors
    assert "Traceback" not in errors
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"model.keras": b"older"}


@pytest.mark.parametrize("missing", ["X.npy", "y.npy"])
def test_missing_data_is_one_line(missing: str, data: Path, tmp_path: Path) -> None:
    for name in {"X.npy", "y.npy"} - {missing}:
        (tmp_path / name).symlink_to(data / name)
    command = [sys.executable, "-m", "edgedigits", "train", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert missing in done.stderr
    assert not (tmp_path / "out").exists()
