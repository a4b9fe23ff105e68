"""Train the notebook's network by the notebook's recipe, repeatably; save and read the result of any recipe."""

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
from edgedigits_export.training.model import build, logits_of

if TYPE_CHECKING:
    import keras

BATCH, LEARNING_RATE, EPOCHS, SEED = 32, 0.001, 40, 1234
MODEL, HISTORY = "model.keras", "history.json"


@dataclass(frozen=True)
class Training:
    """A trained model, its logits on the training inputs (m, 10), and the content of history.json."""

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

    An epoch is one ``steps_per_execution``: the same steps in the same order as a plain ``fit``, without returning to
    Python after each. On one machine the same seed gives the same model.

    Args:
        x, y: (m, 400) float32 and (m,) labels.
        unseen: inputs and labels of digits on which the accuracy is measured after the training.
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
    return finish(model, x, y, unseen, losses, {**facts, "seconds": round(seconds, 3)})


def finish(
    model: keras.Model,
    x: FloatArray,
    y: Labels,
    unseen: tuple[FloatArray, Labels] | None,
    losses: Sequence[float],
    facts: dict[str, Any],
) -> Training:
    """Evaluate a trained model; ``facts`` are the recipe's own entries of the history."""
    logits = logits_of(model, x)
    history = {
        "loss": [float(loss) for loss in losses],
        "final_loss": float(losses[-1]),
        "errors": errors(logits, y),
        "images": len(x),
        "unseen_accuracy": None,
        "unseen_images": 0,
    }
    if unseen is not None:
        history["unseen_accuracy"] = 1.0 - errors(logits_of(model, unseen[0]), unseen[1]) / len(unseen[1])
        history["unseen_images"] = len(unseen[1])
    return Training(model, logits, {**history, **facts})


def save(training: Training, folder: Path) -> None:
    """Write ``model.keras`` and ``history.json``; the history names the SHA-256 of its model."""
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
    weights = [(layer.name, [np.shape(w) for w in layer.get_weights()]) for layer in model.layers]
    return [(name, found[0], found[1]) for name, found in weights if len(found) == 2]
