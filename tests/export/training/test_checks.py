"""A low accuracy is shown, with the cause that explains it; an ordinary one gets no warning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.runtimes.session import Session
from edgedigits_export.training.checks import accuracy_lines

PERMUTED = np.array([3, 0, 1, 2, 9, 8, 7, 4, 5, 6])
ORDER = ", ".join(map(str, PERMUTED))  # of the labels of the outputs 0 to 9


@pytest.fixture(scope="module")
def predict() -> Any:
    with Session(Bundle("robust").read("float32.tflite"), "tflite", "numpy") as session:
        yield lambda x: session.run(np.asarray(x, np.float32)).argmax(axis=1)


def turned(x: Any) -> Any:
    return x.reshape(-1, 20, 20).swapaxes(1, 2).reshape(len(x), 400)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda x, y: (x, y), None),
        (lambda x, y: (x, (y + 1) % 10), "the labels look shifted: with (label - 1) % 10 for each, 99"),
        (lambda x, y: (x, (y - 1) % 10), "the labels look shifted: with (label + 1) % 10 for each, 99"),
        (
            lambda x, y: (x, PERMUTED[y]),
            f"the classes look sorted otherwise than the model's outputs: in the order {ORDER} 99",
        ),
        (lambda x, y: (x / 255, y), "X looks 255 times too small: with X * 255, "),
        (lambda x, y: (turned(x), y), "rows and columns of the pictures in X look exchanged: transposed, "),
        (lambda x, y: (x[::-1].copy() * 0, y), "that is chance level (always the most frequent class: 10.00%)"),
    ],
)
def test_the_cause_of_a_low_accuracy_is_named(predict: Any, x: Any, y: Any, change: Any, warning: str | None) -> None:
    inputs, labels = change(x, y)
    first, *rest = accuracy_lines(predict, predict(inputs), inputs, labels, 10)
    assert first.startswith("Keras predicts ")
    assert [line.startswith(f"warning: {warning}") for line in rest] == ([] if warning is None else [True])


@pytest.mark.parametrize("factor", [255, 16])
def test_values_that_are_too_large(factor: int) -> None:
    """A model that leaves its range with values this large."""
    x = np.random.default_rng(1).random((1000, 4), np.float32)
    first = x.sum(axis=1) > 2
    lines = list(
        accuracy_lines(lambda x: (x.sum(axis=1) > 2).astype(int), np.ones(1000, int), x * factor, first.astype(int), 2)
    )
    assert lines[1].startswith(f"warning: X looks {factor} times too large: with X / {factor}, 100.00% of 400 rows")
