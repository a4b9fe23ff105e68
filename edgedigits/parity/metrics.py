"""Metrics of logits, (images, classes) float32, and exact binomial statistics: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedigits.runtimes.tensors import FloatArray

Indices = npt.NDArray[np.int64]


def mismatched(logits: FloatArray, golden: FloatArray) -> Indices:
    """The images whose argmax differs from the golden one, or whose logits are not all finite; ascending."""
    differs = logits.argmax(axis=1) != golden.argmax(axis=1)
    found: Indices = np.flatnonzero(differs | ~np.isfinite(logits).all(axis=1))
    return found


def ties(logits: FloatArray) -> int:
    """The number of images with more than one largest logit, where argmax takes the first class."""
    return int(((logits == logits.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())


def leads(logits: FloatArray, classes: Indices) -> FloatArray:
    """The logit of each image's given class minus the largest other one, (images,); negative if it is smaller."""
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, classes] = -np.inf
    lead: FloatArray = logits[rows, classes] - others.max(axis=1)
    return lead


def lead_quanta(logits: FloatArray, golden: FloatArray, scale: float) -> Indices:
    """The lead of the golden class in the artifact, (images,) int64, in output quanta of size ``scale``."""
    quanta: Indices = np.rint(leads(logits, golden.argmax(axis=1)).astype(np.float64) / scale).astype(np.int64)
    return quanta


def widest_gap(arrays: Sequence[npt.NDArray[Any]]) -> float:
    """The largest difference of two of the arrays, which have one shape, at one place."""
    return float((np.maximum.reduce(arrays) - np.minimum.reduce(arrays)).max())


def errors(logits: FloatArray, labels: Indices) -> int:
    """The number of images whose argmax is not their label."""
    return int((logits.argmax(axis=1) != labels).sum())


def mcnemar(first_correct: npt.NDArray[np.bool_], second_correct: npt.NDArray[np.bool_]) -> float:
    """The p of McNemar's exact two-sided test that two classifiers have the same accuracy on the same images.

    It depends only on the images that one classifier predicts correctly and the other does not. Source: Q. McNemar,
    "Note on the sampling error of the difference between correlated proportions or percentages" (1947), with the
    binomial distribution instead of chi squared.
    """
    lost, won = int((first_correct & ~second_correct).sum()), int((second_correct & ~first_correct).sum())
    return min(1.0, 2.0 * binomial_cdf(min(lost, won), lost + won, 0.5))


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) of a binomial variable with n trials of probability p, summed term by term in logarithms."""
    if p <= 0.0 or k >= n:
        return 1.0
    if p >= 1.0 or k < 0:
        return 0.0
    log_p, log_q, log_n = math.log(p), math.log1p(-p), math.lgamma(n + 1)
    terms = (log_n - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_p + (n - i) * log_q for i in range(k + 1))
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def rate_upper_bound(events: int, trials: int, confidence: float = 0.95) -> float:
    """The exact one-sided upper confidence bound of a rate of which ``events`` were seen in ``trials``.

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial" (1934). The trials must be a fair sample: images that a model was tuned on are not.
    """
    low, high = events / trials, 1.0
    for _ in range(60):  # halves the interval each time, so this ends at the precision of a float
        middle = (low + high) / 2
        if binomial_cdf(events, trials, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high
