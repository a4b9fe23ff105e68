"""Calibration of probabilities by temperature scaling, fitted to training digits that a network was not trained on.

Source: C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On calibration of modern neural networks" (2017). A network is
overconfident on its training digits, so the logits come from networks trained the same way on four fifths of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgedigits.bundle.contract import softmax
from edgedigits.bundle.dataset import Labels
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.training.model import logits_of

FOLDS = 5
MIN_HELD_BACK = 100  # fewer hold too few errors to fit to
COLDEST, HOTTEST = 0.05, 20.0
BINS = 15  # as in Guo et al. (2017)


def folds(y: Labels) -> Labels:
    """Each digit's fold, 0 to 4, (m,): runs of each class, since neighbors in MNIST are often by the same writer."""
    fold = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        of_class = np.flatnonzero(y == label)
        fold[of_class] = np.arange(len(of_class)) * FOLDS // len(of_class)
    return fold


def fit_temperature(logits: FloatArray, y: Labels) -> float:
    """The T that maximizes the likelihood of the labels under softmax(logits / T); logits (m, classes), y (m,).

    The mean cross-entropy is convex in 1 / T; its slope is the mean of the expected logit minus the label's, whose
    root is found by bisection. T stays within 0.05 to 20; without errors it would be 0.
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
    """The temperature of a model with this training history; None if its recipe is unknown.

    The robust recipe records it. For the notebook's, a network is trained without a fifth of the digits.
    """
    if "temperature" in training:
        return float(training["temperature"])
    held_back = folds(y) == FOLDS - 1
    if training.get("recipe") != "notebook" or held_back.sum() < MIN_HELD_BACK:
        return None
    from edgedigits_export.training.notebook import train

    other = train(x[~held_back], y[~held_back], seed=training["seed"], epochs=training["epochs"])
    return fit_temperature(logits_of(other.model, x[held_back]), y[held_back])


def expected_calibration_error(probabilities: FloatArray, labels: Labels) -> float:
    """The mean difference, 0 to 1, between the probability of a prediction and the accuracy of such predictions.

    The predictions are sorted by probability into 15 bins of equal width. The error is the mean over the bins, weighted
    by their sizes, of |mean probability - accuracy|. probabilities (images, classes), labels (images,).
    """
    confidence, correct = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # bin k holds k / 15 < p <= (k + 1) / 15
    gaps = np.bincount(bins, weights=confidence - correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def facts(temperature: float, unseen: tuple[FloatArray, Labels] | None) -> dict[str, Any]:
    """The manifest's entries; ``unseen``: logits and labels of digits that no network was trained on."""
    found: dict[str, Any] = {"temperature": round(temperature, 4), "method": "temperature scaling", "bins": BINS}
    if unseen is not None:
        logits, y = unseen
        for name, divisor in (("ece_unseen", found["temperature"]), ("ece_unseen_without", 1.0)):
            found[name] = round(expected_calibration_error(softmax(logits / np.float32(divisor)), y), 5)
    return found
