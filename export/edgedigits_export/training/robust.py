"""The recipe ``robust``: train the notebook's network for other handwriting and for pictures.

Each epoch uses every digit once, augmented anew at 28x28. The learning rate rises over the first epochs and falls to
zero along a half cosine (I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017).
Five more networks are trained beside the model, each without another fifth of the digits. The temperature is fitted to
the logits of every digit from the network that was trained without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.bundle.dataset import Labels, load_28x28
from edgedigits.errors import InputError
from edgedigits.parity.metrics import errors
from edgedigits.pictures.normalization import to_rows
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits_export.training.augmentation import ROBUST, copies
from edgedigits_export.training.calibration import FOLDS, MIN_HELD_BACK, fit_temperature, folds
from edgedigits_export.training.model import build, logits_of
from edgedigits_export.training.notebook import SEED, Training, finish

if TYPE_CHECKING:
    import keras

BATCH, LEARNING_RATE, EPOCHS, WARM_UP = 250, 0.02, 300, 5  # the last two in epochs


def sources(folder: Path, x: FloatArray, y: Labels) -> AnyArray:
    """The 28x28 images (m, 28, 28) uint8 that X was made from; InputError if they are missing or do not match."""
    path = folder / "source.npz"
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; the recipe robust needs the 28x28 images that X.npy was made from, the recipe "
            "notebook does not"
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
    """Adam on sparse categorical cross-entropy from logits, batches of 250, new copies of the digits in each epoch.

    On one machine the same seed gives the same model. ``images``, (m, 28, 28) uint8, is what X was made from; the
    other arguments are those of :func:`edgedigits_export.training.notebook.train`.
    """
    import keras

    keras.utils.set_random_seed(seed)
    fold = folds(y)
    calibrated = len(y) >= MIN_HELD_BACK
    models = [build(x.shape[1]) for _ in range(1 + (FOLDS if calibrated else 0))]
    on_start(models[0])
    trained_on = np.stack([np.ones(len(y), bool), *(fold != k for k in range(len(models) - 1))])
    started = time.perf_counter()
    losses = []
    for loss in _side_by_side(models, copies(images, epochs, seed, ROBUST), y, trained_on, seed, epochs):
        losses.append(loss)
        on_epoch(len(losses), loss)
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
    if calibrated:
        held_back = np.zeros((len(y), models[0].output_shape[1]), np.float32)
        for k, model in enumerate(models[1:]):
            held_back[fold == k] = logits_of(model, x[fold == k])
        facts["held_back_images"] = len(y)
        facts["held_back_accuracy"] = 1.0 - errors(held_back, y) / len(y)
        facts["temperature"] = fit_temperature(held_back, y)
    return finish(models[0], x, y, unseen, losses, facts)


def _side_by_side(
    models: Sequence[keras.Model], epochs: Iterable[FloatArray], y: Labels, trained_on: AnyArray, seed: int, count: int
) -> Iterator[float]:
    """Train networks of one architecture in the same batches, each on its digits; yield model 0's mean loss.

    The weights are stacked, so that one multiplication serves all. epochs: ``count`` times rows (m, n) float32; y:
    (m,); trained_on: (models, m) bool. The models get their weights after the last epoch.
    """
    import keras
    import tensorflow as tf

    layers = [layer.activation for layer in models[0].layers]
    stacks = [tf.Variable(np.stack(parts)) for parts in zip(*(model.get_weights() for model in models), strict=True)]
    batches = -(-len(y) // BATCH)
    warm_up = min(WARM_UP, count) * batches
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, count * batches - warm_up), warmup_target=LEARNING_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(stacks)

    @tf.function  # type: ignore[untyped-decorator]
    def epoch(rows: Any, labels: Any, counts: Any) -> Any:
        total = tf.zeros(len(models))
        for first in tf.range(0, len(y), BATCH):
            chosen = slice(first, first + BATCH)
            weight = counts[:, chosen]
            with tf.GradientTape() as tape:
                value = rows[None, chosen]
                for kernel, bias, activation in zip(stacks[::2], stacks[1::2], layers, strict=True):
                    value = activation(value @ kernel + bias[:, None])
                wanted = tf.repeat(labels[None, chosen], len(models), axis=0)
                each = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, value) * weight
                losses = tf.reduce_sum(each, 1) / tf.maximum(tf.reduce_sum(weight, 1), 1.0)
                loss = tf.reduce_sum(losses)
            optimizer.apply_gradients(zip(tape.gradient(loss, stacks), stacks, strict=True))
            total += tf.reduce_sum(each, 1)
        return total[0] / len(y)

    order = np.random.default_rng(seed)
    for rows in epochs:
        shuffled = order.permutation(len(y))
        arrays = (rows[shuffled], y[shuffled], trained_on[:, shuffled].astype(np.float32))
        yield float(epoch(*(tf.constant(array) for array in arrays)))
    for k, model in enumerate(models):
        model.set_weights([np.asarray(stack[k]) for stack in stacks])
