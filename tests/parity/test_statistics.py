from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedigits.parity.metrics import binomial_cdf, rate_upper_bound


def exact_cdf(k: int, n: int, p: Fraction) -> float:
    return float(sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)))


@given(st.integers(0, 60), st.integers(1, 60), st.fractions(0, 1, max_denominator=1000))
def test_binomial_cdf(k: int, n: int, p: Fraction) -> None:
    assert binomial_cdf(k, n, float(p)) == pytest.approx(exact_cdf(min(k, n), n, p), abs=1e-12)


@given(st.integers(0, 40), st.integers(1, 40))
def test_upper_bound_is_where_so_few_events_become_unlikely(events: int, trials: int) -> None:
    bound = rate_upper_bound(min(events, trials), trials)
    assert min(events, trials) / trials <= bound <= 1.0
    if events < trials:
        assert exact_cdf(events, trials, Fraction(bound)) == pytest.approx(0.05, abs=1e-9)
    else:
        assert bound == 1.0


def test_no_event_in_n_trials_is_the_rule_of_three() -> None:
    assert rate_upper_bound(0, 5000) == pytest.approx(1 - 0.05 ** (1 / 5000), rel=1e-9)
