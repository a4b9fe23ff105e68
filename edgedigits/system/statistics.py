"""Exact binomial statistics."""

from __future__ import annotations

import math


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
