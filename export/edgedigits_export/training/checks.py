"""Keras's accuracy on the labels and, where it is low, the likely cause: each is tried, and named if it explains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgedigits.bundle.dataset import Labels
from edgedigits.runtimes.tensors import FloatArray

SUSPICIOUS = 0.9  # an accuracy below this is looked into
ROWS = 400  # on which other inputs are tried, spread over all
SHOWN = 20  # classes, in a message
FACTORS = {
    1 / 255: "X / 255", 255.0: "X * 255", 1 / 16: "X / 16", 16.0: "X * 16",
}  # fmt: skip

Predict = Callable[[FloatArray], Labels]


def accuracy_lines(
    predict: Predict, predicted: Labels, x: FloatArray, y: Labels, classes: int, names: Sequence[str] = ()
) -> Iterator[str]:
    """A line with the accuracy, then a warning for each likely cause of a low one.

    ``predict`` gives the model's classes (n,) for inputs (n, ...); ``predicted`` are those for all of x (m, ...).
    A cause is named only if fixing it halves the errors at least and beats chance.
    """
    right = predicted == y
    accuracy, floor = float(right.mean()), _above_chance(y)
    yield f"Keras predicts {right.sum()} of {len(y)} labels ({accuracy:.2%})"
    if accuracy >= max(SUSPICIOUS, floor):
        return
    causes = [*_of_labels(predicted, y, classes, names), *_of_inputs(predict, x, y, right)]
    yield from (f"warning: {cause}" for cause in causes)
    if not causes and accuracy <= floor:
        most = np.bincount(y).max() / len(y)
        yield (
            f"warning: that is chance level (always the most frequent class: {most:.2%}); "
            "check that X and y are the model's own, prepared as for its training"
        )


def _above_chance(y: Labels) -> float:
    """The accuracy that a guess hardly reaches: the most frequent class's share and three standard deviations."""
    most = float(np.bincount(y).max() / len(y))
    return most + 3 * float(np.sqrt(most * (1 - most) / len(y)))


def _explains(other: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_], y: Labels) -> bool:
    return bool(1 - other.mean() <= (1 - right.mean()) / 2 and other.mean() > _above_chance(y))


def _of_labels(predicted: Labels, y: Labels, classes: int, names: Sequence[str]) -> Iterator[str]:
    """Labels that are shifted, or sorted otherwise than the model's outputs."""
    right, moved = predicted == y, (predicted - y) % classes
    shift = int(np.bincount(moved, minlength=classes).argmax())
    if shift and _explains(moved == shift, right, y):
        sign, by = ("+", shift) if shift <= classes // 2 else ("-", classes - shift)
        yield (
            f"the labels look shifted: with (label {sign} {by}) % {classes} for each, {(moved == shift).mean():.2%} "
            "are right; see --labels-from"
        )
        return
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (y, predicted), 1)
    present = np.flatnonzero(table.sum(axis=1))
    usual = table.argmax(axis=1)
    if len(set(usual[present].tolist())) == len(present) and _explains(usual[y] == predicted, right, y):
        of_output = {int(usual[label]): names[label] if names else str(label) for label in present}
        order = [of_output.get(output, "?") for output in range(classes)]
        listed = ", ".join(order[:SHOWN]) + (f" and {classes - SHOWN} more" if classes > SHOWN else "")
        yield (
            f"the classes look sorted otherwise than the model's outputs: in the order {listed} "
            f"{(usual[y] == predicted).mean():.2%} are right; name them in that order with --labels"
        )


def _of_inputs(predict: Predict, x: FloatArray, y: Labels, right: npt.NDArray[np.bool_]) -> Iterator[str]:
    """Values in another range than the model was trained on, and pictures by columns instead of by rows."""
    rows = np.unique(np.linspace(0, len(x) - 1, ROWS).astype(np.int64))
    some, labels = x[rows], y[rows]
    found = []
    for factor, name in FACTORS.items():
        other = predict(some * np.float32(factor)) == labels
        if _explains(other, right[rows], labels):
            found.append((float(other.mean()), name))
    if found:
        share, name = max(found)
        yield (
            f"X looks {name[-3:].strip(' /*')} times too {'large' if '/' in name else 'small'}: with {name}, "
            f"{share:.2%} of {len(rows)} rows are right"
        )
    turned = _transposed(some)
    if turned is not None:
        other = predict(turned) == labels
        if _explains(other, right[rows], labels):
            yield (
                f"rows and columns of the pictures in X look exchanged: transposed, {other.mean():.2%} of {len(rows)} "
                "rows are right"
            )


def _transposed(x: FloatArray) -> FloatArray | None:
    """Square pictures (m, n * n), (m, n, n) or (m, n, n, channels) transposed; None for other inputs."""
    side = int(np.sqrt(x.shape[1]))
    if x.ndim == 2 and side > 1 and side * side == x.shape[1]:
        return x.reshape(-1, side, side).swapaxes(1, 2).reshape(x.shape)
    if x.ndim in (3, 4) and x.shape[1] == x.shape[2]:
        return np.ascontiguousarray(x.swapaxes(1, 2))
    return None
