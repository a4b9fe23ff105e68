"""What the workstation's tests share: one training and one export for them all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def data() -> Path:
    """The project's data folder."""
    return Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The notebook's model at seed 1234, trained once: its Training, and the folder with model.keras."""
    from edgedigits.bundle.dataset import load_28x28, load_xy
    from edgedigits.pictures.normalization import to_rows
    from edgedigits_export.training.notebook import save, train

    images, labels = load_28x28(data / "unseen.npz")
    training = train(*load_xy(data), unseen=(to_rows(images), labels))
    folder = tmp_path_factory.mktemp("trained")
    save(training, folder)
    return training, folder


@pytest.fixture(scope="session")
def small() -> tuple[Any, Any, Any]:
    """A model of another shape than ours, with its own data: 7 inputs, 3 classes, 200 rows."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(3)])
    x = np.random.default_rng(5).normal(size=(200, 7)).astype(np.float32)
    return model, x, np.asarray(model(x)).argmax(axis=1)


@pytest.fixture(scope="session")
def shorten_tuning() -> Callable[[pytest.MonkeyPatch], None]:
    """Give the int8 tuning a thirtieth of its work, for tests that do not need its target to be met."""

    def shorten(patch: pytest.MonkeyPatch) -> None:
        from edgedigits_export.int8 import fit

        for name, value in (("FLOAT_STEPS", 50), ("GRID_STEPS", 50), ("BLENDS", 2000)):
            patch.setattr(fit, name, value)

    return shorten


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch, shorten_tuning: Callable[[pytest.MonkeyPatch], None]) -> None:
    """Shorten the tuning for one test."""
    shorten_tuning(monkeypatch)


@pytest.fixture
def opened_files() -> Any:
    """Every file that Python opens while it is asked to watch."""
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)
    yield opened
    watching = False
