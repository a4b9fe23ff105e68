"""What the workstation's tests share: one trained model, and one of another shape."""

from __future__ import annotations

import os
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
    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.pictures.normalization import to_rows
    from edgedigits_export.training.data import load_xy
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
