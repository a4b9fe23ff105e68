"""Probabilities that mean what they say: one temperature, fitted on training digits that a rehearsal did not learn.

Source: C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On calibration of modern neural networks" (2017). A network is
surer of the digits that it learned than of any other, so its own training digits cannot tell how sure it should be.
Networks made alike from four fifths of them are asked about the fifth that they did not learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgedigits.bundle.dataset import Labels
from edgedigits.classifier import softmax
from edgedigits.parity.metrics import BINS, expected_calibration_error
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.training.golden import logits_of

FOLDS = 5
LEAST_HELD_BACK = 100  # fewer say little of how often a sure answer is wrong
COLDEST, HOTTEST = 0.05, 20.0


def folds(y: Labels) -> Labels:
    """Each digit's fifth, 0 to 4, (m,): runs of each class, since neighbors in MNIST's file are often of one hand."""
    fold = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        of_class = np.flatnonzero(y == label)
        fold[of_class] = np.arange(len(of_class)) * FOLDS // len(of_class)
    return fold


def fit_temperature(logits: FloatArray, y: Labels) -> float:
    """The T for which softmax(logits / T) gives the labels the greatest likelihood; logits (m, classes), y (m,).

    The mean cross-entropy is convex in 1 / T, and its slope there is the mean of the expected logit less the label's:
    the root is found by halving. The answer stays within 0.05 to 20, where a set without errors would have it at 0.
    """
    exact = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    own = exact[np.arange(len(y)), y]
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(60):
        beta = (low + high) / 2
        weights = np.exp(beta * exact)
        expected = (weights * exact).sum(axis=1) / weights.sum(axis=1)
        low, high = (beta, high) if float((expected - own).mean()) < 0 else (low, beta)
    return 2 / (low + high)


def temperature_for(training: dict[str, Any], x: FloatArray, y: Labels) -> float | None:
    """The temperature of a model with this training history, or None if it cannot be known.

    The robust recipe fits it on its way. For the notebook's, the recipe is repeated on all but the digits held back,
    which takes as long as four fifths of the training; an unknown recipe cannot be repeated.
    """
    if "temperature" in training:
        return float(training["temperature"])
    kept_out = folds(y) == FOLDS - 1
    if training.get("recipe") != "notebook" or kept_out.sum() < LEAST_HELD_BACK:
        return None
    from edgedigits_export.training.notebook import train

    rehearsal = train(x[~kept_out], y[~kept_out], seed=training["seed"], epochs=training["epochs"])
    return fit_temperature(logits_of(rehearsal.model, x[kept_out]), y[kept_out])


def facts(temperature: float, unseen: tuple[FloatArray, Labels] | None) -> dict[str, Any]:
    """What a manifest says of it; ``unseen``: logits and labels of digits that no network saw, for the report."""
    found: dict[str, Any] = {"temperature": round(temperature, 4), "method": "temperature scaling", "bins": BINS}
    if unseen is not None:
        logits, y = unseen
        for name, divisor in (("ece_unseen", found["temperature"]), ("ece_unseen_without", 1.0)):
            found[name] = round(expected_calibration_error(softmax(logits / np.float32(divisor)), y), 5)
    return found
