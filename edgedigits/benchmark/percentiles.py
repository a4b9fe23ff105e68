"""Percentiles of latency samples with confidence bounds, reported only if there are enough samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int64]
CONFIDENCE = 0.99
# By percentile, the number of samples of which at least two lie beyond it with 99 % confidence. Source: the
# early-stopping rule of MLPerf Inference's LoadGen (single stream), with one sample beyond the percentile set aside.
MIN_SAMPLES = {50.0: 11, 90.0: 64, 95.0: 130, 99.0: 662, 99.9: 6636}


@dataclass(frozen=True)
class Distribution:
    """All samples of a row: distinct ascending nanoseconds, and how often each occurred."""

    values: Samples
    counts: Samples

    @classmethod
    def of(cls, samples: Samples) -> Distribution:
        """Count (n,) samples. Clocks tick in tens of nanoseconds, so a million samples have a few hundred values."""
        values, counts = np.unique(samples, return_counts=True)
        return cls(values, counts.astype(np.int64))

    @classmethod
    def merge(cls, parts: Sequence[Distribution]) -> Distribution:
        """Combine the samples of all parts."""
        values, index = np.unique(np.concatenate([part.values for part in parts]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, index, np.concatenate([part.counts for part in parts]))
        return cls(values, counts)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return int(self.counts.sum())

    def at_rank(self, rank: int) -> int:
        """The sample at this rank in ascending order; the first rank is 1."""
        return int(self.values[np.searchsorted(np.cumsum(self.counts), rank)])

    def percentile(self, percent: float) -> int:
        """The nearest-rank percentile, which is a measured sample."""
        return self.at_rank(max(1, math.ceil(self.samples * percent / 100)))


def upper_rank(n: int, percent: float) -> int:
    """The smallest rank (from 1, at most n) whose sample is, with 99 % confidence, at least the true percentile.

    This is the smallest k with P(X < k) >= 0.99 for a binomial X of n trials, X being the number of samples below
    the percentile. Source: distribution-free confidence intervals for quantiles, H. A. David and H. N. Nagaraja,
    "Order Statistics" (2003), sec. 7.1.
    """
    p = percent / 100.0
    mean, deviation = n * p, math.sqrt(n * p * (1 - p))
    first = max(0, math.floor(mean - 12 * deviation - 12))
    last = min(n, math.ceil(mean + 12 * deviation + 12))
    k = np.arange(first, last + 1)
    # log P(X = k) from log P(X = k - 1), so that a million samples take only a few thousand steps.
    start = math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
    start += first * math.log(p) + (n - first) * math.log1p(-p)
    steps = np.log((n - k[:-1]) / (k[:-1] + 1.0)) + math.log(p / (1 - p))
    cumulative = np.cumsum(np.exp(start + np.concatenate([[0.0], np.cumsum(steps)])))
    return min(n, first + int(np.searchsorted(cumulative, CONFIDENCE)) + 1)


def percentiles(distribution: Distribution) -> dict[str, int]:
    """``pNN_ns`` and ``pNN_upper_ns``, its 99 % confidence bound, for each percentile that has enough samples."""
    found, n = {}, distribution.samples
    for percent, needed in MIN_SAMPLES.items():
        if n >= needed:
            name = f"p{percent:g}".replace(".", "")
            found[f"{name}_ns"] = distribution.percentile(percent)
            found[f"{name}_upper_ns"] = distribution.at_rank(upper_rank(n, percent))
    return found
