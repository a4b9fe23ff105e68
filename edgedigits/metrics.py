"""Small pure functions: arrays in, a number or indices out. Logits are (images, classes) float32."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgedigits.tensors import FloatArray

Indices = npt.NDArray[np.int64]


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


def percentile(sorted_samples: npt.NDArray[np.int64], percent: float) -> int:
    """The nearest-rank percentile of ascending samples: a value that was measured, never interpolated."""
    rank = max(1, math.ceil(len(sorted_samples) * percent / 100))
    return int(sorted_samples[rank - 1])
