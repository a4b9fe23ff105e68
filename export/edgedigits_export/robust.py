"""Train the notebook's network so that it reads hands and pictures it never met: the recipe ``robust``.

Every epoch shows each digit once, warped afresh at 28x28 (see augment.py), on a learning rate that rises over the first
epochs and falls to zero along a half cosine (I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm
restarts", 2017). A second network of the same form goes through the same epochs without the digits that are held back,
so that the temperature can be fitted on digits that it did not learn; it is then thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.dataset import Labels, load_28x28
from edgedigits.errors import InputError
from edgedigits.images import to_rows
from edgedigits.metrics import errors
from edgedigits.tensors import AnyArray, FloatArray
from edgedigits_export.augment import ROBUST, copies
from edgedigits_export.calibration import LEAST_HELD_BACK, fit_temperature, held_back
from edgedigits_export.golden import logits_of
from edgedigits_export.model import build
from edgedigits_export.train import SEED, Training, finished

if TYPE_CHECKING:
    import keras

BATCH, LEARNING_RATE, EPOCHS, WARM_UP = 250, 0.02, 200, 5  # the last two in epochs


def sources(folder: Path, x: FloatArray, y: Labels) -> AnyArray:
    """The 28x28 images (m, 28, 28) uint8 that X was made from; InputError if they are missing or are others."""
    path = folder / "source.npz"
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; the recipe robust warps the 28x28 images that X.npy was made from "
            "(see data/README.md), and the recipe notebook does without"
        )
    images, labels = load_28x28(path)
    if len(images) != len(x) or (labels != y).any() or np.abs(to_rows(images) - x).max() > 1e-4:
        raise InputError(f"{path}: not the images that X.npy was made from; give the source.npz that belongs to it")
    return images


def train_robust(
    x: FloatArray,
    y: Labels,
    images: AnyArray,
    *,
    unseen: tuple[FloatArray, Labels] | None = None,
    seed: int = SEED,
    epochs: int = EPOCHS,
    on_start: Callable[[keras.Model], None] = lambda model: None,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Training:
    """Adam on sparse categorical cross-entropy from logits, batches of 250, fresh copies of the digits each epoch.

    On one machine the run repeats exactly from its seed. The arguments are those of
    :func:`edgedigits_export.train.train`, and ``images``, (m, 28, 28) uint8: what X was made from.
    """
    import keras

    keras.utils.set_random_seed(seed)
    learned = ~held_back(y)
    rehearsed = len(y) - int(learned.sum()) >= LEAST_HELD_BACK
    model = _compiled(len(x), epochs)
    on_start(model)
    rehearsal = _compiled(int(learned.sum()), epochs) if rehearsed else None
    order = np.random.default_rng(seed)
    losses = []
    started = time.perf_counter()
    for epoch, rows in enumerate(copies(images, epochs, seed, ROBUST), start=1):
        shuffled = order.permutation(len(x))
        losses.append(_step(model, rows, y, shuffled))
        if rehearsal is not None:
            _step(rehearsal, rows, y, shuffled[learned[shuffled]])
        on_epoch(epoch, losses[-1])
    facts: dict[str, Any] = {
        "recipe": "robust",
        "seed": seed,
        "epochs": epochs,
        "batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "schedule": "cosine",
        "augmentation": ROBUST.__dict__,
        "seconds": round(time.perf_counter() - started, 3),
    }
    if rehearsal is not None:
        answers, wanted = logits_of(rehearsal, x[~learned]), y[~learned]
        facts["held_back_images"] = len(wanted)
        facts["held_back_accuracy"] = 1.0 - errors(answers, wanted) / len(wanted)
        facts["temperature"] = fit_temperature(answers, wanted)
    return finished(model, x, y, unseen, losses, facts)


def _compiled(images: int, epochs: int) -> keras.Model:
    """The network, its optimizer and schedule for that many images an epoch."""
    import keras

    steps = -(-images // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, (epochs - WARM_UP) * steps), warmup_target=LEARNING_RATE, warmup_steps=min(WARM_UP, epochs) * steps
    )
    model = build()
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=steps,
        jit_compile=False,
    )
    return model


def _step(model: keras.Model, rows: FloatArray, y: Labels, order: AnyArray) -> float:
    """One epoch over the given rows in the given order; its mean loss."""
    history = model.fit(rows[order], y[order], batch_size=BATCH, shuffle=False, verbose=0).history
    return float(history["loss"][0])
