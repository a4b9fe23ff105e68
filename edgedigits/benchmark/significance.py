"""Is the difference between two benchmarks real? A rank test and a bootstrap interval over the windows' medians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES, SEED, CONFIDENCE = 10_000, 0, 0.95
# int64 can count up to C(66, 33) subsets; for more values the normal approximation is close near p = 0.05.
MOST_EXACT = 66


def bootstrap_ratio(old: Sequence[int], new: Sequence[int]) -> tuple[float, float]:
    """The 95 % percentile interval of median(new) / median(old) from 10,000 resamples of both runs' windows.

    Source: B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), ch. 13. With few windows it is
    somewhat too narrow, so verdicts depend on the rank test.
    """
    rng = np.random.default_rng(SEED)
    a, b = np.asarray(old, np.float64), np.asarray(new, np.float64)
    ratios = np.median(rng.choice(b, (RESAMPLES, len(b))), axis=1)
    ratios /= np.median(rng.choice(a, (RESAMPLES, len(a))), axis=1)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def smallest_p(n: int, m: int) -> float:
    """The smallest two-sided p that n and m distinct values can give: 2 / C(n + m, n), 0.0079 for 5 and 5."""
    return min(1.0, 2.0 / math.comb(n + m, n))


def mann_whitney(first: Sequence[int], second: Sequence[int]) -> float:
    """The two-sided p of the rank test that two samples have one distribution; exact for up to 66 values, with ties.

    Sources: H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is stochastically larger
    than the other" (1947); the exact distribution of the sum of midranks by the shift algorithm of B. Streitberg and
    J. Röhmel (1986); the normal approximation corrected for ties and continuity, E. L. Lehmann, "Nonparametrics"
    (1975), sec. 1.2.
    """
    n, total = len(first), len(first) + len(second)
    values, index, counts = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    if len(values) == 1:
        return 1.0
    ranks = (2 * np.cumsum(counts) - counts + 1)[index]  # midranks, doubled to be integers
    rank_sum = int(ranks[:n].sum())
    if total <= MOST_EXACT:
        subsets = np.zeros((n + 1, int(ranks.sum()) + 1), np.int64)  # how many there are, by [size, sum of ranks]
        subsets[0, 0] = 1
        for rank in ranks.tolist():
            subsets[1:, rank:] += subsets[:-1, : subsets.shape[1] - rank].copy()
        tail = min(subsets[n, : rank_sum + 1].sum(), subsets[n, rank_sum:].sum())
        return min(1.0, 2.0 * float(tail) / math.comb(total, n))
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    deviation = math.sqrt(n * (total - n) / 12 * (total + 1 - ties / (total * (total - 1))))
    distance = max(0.0, abs(rank_sum / 2 - n * (total + 1) / 2) - 0.5)
    return math.erfc(distance / deviation / math.sqrt(2))
