"""Small pure functions: arrays in, a number or indices out. Logits are (images, classes) float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.statistics import binomial_cdf

Indices = npt.NDArray[np.int64]
BINS = 15  # as Guo et al. 2017 have it


def mismatched(logits: FloatArray, golden: FloatArray) -> Indices:
    """The images whose argmax differs from the golden one's, or whose logits are not all finite; ascending."""
    differs = logits.argmax(axis=1) != golden.argmax(axis=1)
    found: Indices = np.flatnonzero(differs | ~np.isfinite(logits).all(axis=1))
    return found


def ties(logits: FloatArray) -> int:
    """How many images have more than one largest logit, so that only the order of the classes decides."""
    return int(((logits == logits.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())


def leads(logits: FloatArray, classes: Indices) -> FloatArray:
    """By how much each image's given class leads the best other one; negative where it is behind. (images,)."""
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, classes] = -np.inf
    lead: FloatArray = logits[rows, classes] - others.max(axis=1)
    return lead


def lead_quanta(logits: FloatArray, golden: FloatArray, scale: float) -> Indices:
    """The golden class's lead in the artifact, in whole output quanta of ``scale``. (images,) int64."""
    quanta: Indices = np.rint(leads(logits, golden.argmax(axis=1)).astype(np.float64) / scale).astype(np.int64)
    return quanta


def errors(logits: FloatArray, labels: Indices) -> int:
    """How many images' argmax is not their label."""
    return int((logits.argmax(axis=1) != labels).sum())


def expected_calibration_error(probabilities: FloatArray, labels: Indices) -> float:
    """How far the probability of an answer is from how often such answers are right, 0 to 1, on average over images.

    The images are sorted by the probability of their answer into 15 bins of equal width; each bin's gap between its
    mean probability and its share of right answers counts by the images in it. probabilities (images, classes),
    labels (images,). Source: C. Guo et al., "On calibration of modern neural networks" (2017).
    """
    sure, right = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels
    inside = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)  # bin k holds k / 15 < p <= (k + 1) / 15
    gaps = np.bincount(inside, weights=sure - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def mcnemar(one_right: npt.NDArray[np.bool_], other_right: npt.NDArray[np.bool_]) -> float:
    """The p-value of McNemar's exact two-sided test that two classifiers have one accuracy on the same images.

    Only images that one of them gets right and the other wrong count. Source: Q. McNemar, "Note on the sampling error
    of the difference between correlated proportions or percentages" (1947), with the binomial in place of chi squared.
    """
    lost, won = int((one_right & ~other_right).sum()), int((other_right & ~one_right).sum())
    return min(1.0, 2.0 * binomial_cdf(min(lost, won), lost + won, 0.5))
