"""Percentiles of latency samples: values that were measured, given only where the samples suffice, with a bound."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgedigits.system.statistics import binomial_cdf

Samples = npt.NDArray[np.int64]
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Distribution:
    """All samples of a row, none dropped: distinct ascending nanoseconds and how often each was seen."""

    values: Samples
    counts: Samples

    @classmethod
    def of(cls, samples: Samples) -> Distribution:
        """Count (n,) samples; clocks tick in tens of nanoseconds, so a million samples are a few hundred values."""
        values, counts = np.unique(samples, return_counts=True)
        return cls(values, counts.astype(np.int64))

    @classmethod
    def merge(cls, parts: Iterable[Distribution]) -> Distribution:
        """All the parts' samples together."""
        held = list(parts)
        values, place = np.unique(np.concatenate([part.values for part in held]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, place, np.concatenate([part.counts for part in held]))
        return cls(values, counts)

    @property
    def samples(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    def at_rank(self, rank: int) -> int:
        """The sample of that rank in ascending order, from 1."""
        return int(self.values[np.searchsorted(np.cumsum(self.counts), rank)])

    def percentile(self, percent: float) -> int:
        """The nearest-rank percentile: a sample, never interpolated."""
        return self.at_rank(max(1, math.ceil(self.samples * percent / 100)))


@dataclass(frozen=True)
class Percentile:
    """``value_ns`` is the sample of nearest rank; with 99 % confidence the true percentile is at most ``upper_ns``."""

    percent: float
    value_ns: int
    upper_ns: int


def samples_needed(percent: float, confidence: float = CONFIDENCE) -> int:
    """How many samples a percentile takes: at least two of them lie beyond it with that confidence.

    Gives 11 for p50, 64 for p90, 130 for p95, 662 for p99 and 6636 for p99.9 at 99 %. Source: the early-stopping rule
    of MLPerf Inference's LoadGen for the single-stream scenario, with one sample beyond the percentile set aside.
    """
    beyond = 1.0 - percent / 100.0
    low, high = 1, 1
    while binomial_cdf(1, high, beyond) > 1.0 - confidence:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(1, middle, beyond) > 1.0 - confidence:
            low = middle + 1
        else:
            high = middle
    return high


def upper_rank(n: int, percent: float, confidence: float = CONFIDENCE) -> int:
    """The smallest rank (from 1) whose sample is, with that confidence, no less than the true percentile; at most n.

    That is the least k with P(X < k) >= confidence for a binomial X of n trials: fewer than k samples then lie below
    the percentile. Source: distribution-free confidence intervals for quantiles, H. A. David and H. N. Nagaraja,
    "Order Statistics" (2003), sec. 7.1.
    """
    p = percent / 100.0
    mean, deviation = n * p, math.sqrt(n * p * (1 - p))
    first = max(0, math.floor(mean - 12 * deviation - 12))
    last = min(n, math.ceil(mean + 12 * deviation + 12))
    k = np.arange(first, last + 1)
    # log P(X = k), each from the one before, so that a million samples cost a few thousand steps
    start = math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
    start += first * math.log(p) + (n - first) * math.log1p(-p)
    steps = np.log((n - k[:-1]) / (k[:-1] + 1.0)) + math.log(p / (1 - p))
    cumulative = np.cumsum(np.exp(start + np.concatenate([[0.0], np.cumsum(steps)])))
    return min(n, first + int(np.searchsorted(cumulative, confidence)) + 1)


def percentiles(seen: Distribution) -> tuple[Percentile, ...]:
    """Those of :data:`PERCENTILES` for which the samples suffice."""
    n = seen.samples
    return tuple(
        Percentile(percent, seen.percentile(percent), seen.at_rank(upper_rank(n, percent)))
        for percent in PERCENTILES
        if n >= samples_needed(percent)
    )
