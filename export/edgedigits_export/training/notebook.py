"""Train the notebook's network by the notebook's recipe, repeatably; what every recipe gives and how it is saved."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.bundle.dataset import Labels
from edgedigits.parity.metrics import errors
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.files import atomic_files, sha256
from edgedigits.system.limits import read_json
from edgedigits_export.interrupts import interrupts_deferred
from edgedigits_export.training.golden import logits_of
from edgedigits_export.training.model import build

if TYPE_CHECKING:
    import keras

BATCH, LEARNING_RATE, EPOCHS, SEED = 32, 0.001, 40, 1234
MODEL, HISTORY = "model.keras", "history.json"


@dataclass(frozen=True)
class Training:
    """A trained model, its logits on the training inputs (m, 10), and what is written to history.json."""

    model: keras.Model
    logits: FloatArray
    history: dict[str, Any]


def train(
    x: FloatArray,
    y: Labels,
    *,
    unseen: tuple[FloatArray, Labels] | None = None,
    seed: int = SEED,
    epochs: int = EPOCHS,
    on_start: Callable[[keras.Model], None] = lambda model: None,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Training:
    """Adam 0.001 on sparse categorical cross-entropy from logits, batches of 32.

    A whole epoch is one ``steps_per_execution``: the same steps in the same order as a plain ``fit``, without going
    back to Python after each. On one machine the run repeats exactly from its seed.

    Args:
        x, y: (m, 400) float32 and (m,) labels.
        unseen: digits to measure the accuracy on; they are looked at once, after the training.
        on_start: called with the built model.
        on_epoch: called with the epoch's number, from 1, and its mean loss.
    """
    import keras

    keras.utils.set_random_seed(seed)
    model = build(x.shape[1])
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=-(-len(x) // BATCH),
        jit_compile=False,  # XLA compiles for longer than this network trains
    )
    on_start(model)
    report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: on_epoch(epoch + 1, float(logs["loss"])))
    started = time.perf_counter()
    losses = model.fit(x, y, epochs=epochs, batch_size=BATCH, verbose=0, callbacks=[report]).history["loss"]
    seconds = time.perf_counter() - started
    facts = {"recipe": "notebook", "seed": seed, "epochs": epochs, "batch_size": BATCH, "learning_rate": LEARNING_RATE}
    return finished(model, x, y, unseen, losses, {**facts, "seconds": round(seconds, 3)})


def finished(
    model: keras.Model,
    x: FloatArray,
    y: Labels,
    unseen: tuple[FloatArray, Labels] | None,
    losses: Sequence[float],
    facts: dict[str, Any],
) -> Training:
    """A trained model with its history: the figures that every recipe is judged by, then the recipe's own facts.

    The one place where the unseen digits are looked at: the model is as it will be.
    """
    logits = logits_of(model, x)
    history = {
        "loss": [float(loss) for loss in losses],
        "final_loss": float(losses[-1]),
        "errors": errors(logits, y),
        "images": len(x),
        "unseen_accuracy": None if unseen is None else _accuracy(model, *unseen),
        "unseen_images": 0 if unseen is None else len(unseen[0]),
    }
    return Training(model, logits, {**history, **facts})


def _accuracy(model: keras.Model, x: FloatArray, y: Labels) -> float:
    return 1.0 - errors(logits_of(model, x), y) / len(x)


def save(training: Training, folder: Path) -> None:
    """Write ``model.keras`` and ``history.json``, whole or not at all.

    The history names its model's SHA-256, so that an export never takes another model's history for its own.
    """
    with TemporaryDirectory() as scratch:  # Keras may write other files beside the model
        training.model.save(Path(scratch) / MODEL)
        content = (Path(scratch) / MODEL).read_bytes()
    history = {**training.history, "model_sha256": sha256(content)}
    with interrupts_deferred(), atomic_files(folder / MODEL, folder / HISTORY) as (model_file, history_file):
        model_file.write_bytes(content)
        history_file.write_text(json.dumps(history, indent=2) + "\n", encoding="utf-8")


def history_of(model_path: Path) -> dict[str, Any]:
    """Return the content of the history.json beside a model; empty if it is missing or another model's."""
    try:
        history: dict[str, Any] = read_json(model_path.parent / HISTORY)
        return history if history.get("model_sha256") == sha256(model_path.read_bytes()) else {}
    except (OSError, ValueError, AttributeError):
        return {}


def shapes(model: keras.Model) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Each layer's name and the shapes of its weights and biases."""
    found = []
    for layer in model.layers:
        weights = [np.shape(w) for w in layer.get_weights()]
        if len(weights) == 2:
            found.append((layer.name, weights[0], weights[1]))
    return found
