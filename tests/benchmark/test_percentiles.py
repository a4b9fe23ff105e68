from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedigits.benchmark.percentiles import MIN_SAMPLES, Distribution, percentiles, upper_rank

sample_lists = st.lists(st.integers(0, 50) | st.integers(0, 10**12), min_size=1, max_size=200)


def distribution(samples: list[int]) -> Distribution:
    return Distribution.of(np.array(samples, np.int64))


@given(sample_lists, st.floats(0, 100))
def test_percentile_is_the_smallest_sample_that_reaches_it(samples: list[int], percent: float) -> None:
    needed = math.ceil(len(samples) * percent / 100)
    reaching = [s for s in sorted(samples) if sum(t <= s for t in samples) >= needed]
    assert distribution(samples).percentile(percent) == reaching[0]


@given(st.lists(sample_lists, min_size=1, max_size=4))
def test_merge_keeps_every_sample(windows: list[list[int]]) -> None:
    merged = Distribution.merge([distribution(window) for window in windows])
    expected = sorted(sample for window in windows for sample in window)
    assert merged.samples == len(expected)
    assert [merged.at_rank(rank) for rank in range(1, len(expected) + 1)] == expected


@pytest.mark.parametrize(("percent", "needed"), MIN_SAMPLES.items())
def test_min_samples_leaves_two_beyond_with_99_percent_confidence(percent: float, needed: int) -> None:
    def at_most_one_beyond(n: int) -> float:
        beyond = 1 - percent / 100
        return (1 - beyond) ** n + n * beyond * (1 - beyond) ** (n - 1)

    assert at_most_one_beyond(needed) <= 0.01 < at_most_one_beyond(needed - 1)


@given(st.integers(11, 400), st.sampled_from(list(MIN_SAMPLES)))
def test_upper_rank_is_the_smallest_with_enough_confidence(n: int, percent: float) -> None:
    p = percent / 100
    below = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n)]  # P(X = k)
    enough = (k for k in range(n) if sum(below[:k]) >= 0.99)
    assert upper_rank(n, percent) == next(enough, n)


@pytest.mark.parametrize(
    ("n", "reported"),
    [(10, []), (11, ["p50"]), (662, ["p50", "p90", "p95", "p99"]), (7000, ["p50", "p90", "p95", "p99", "p999"])],
)
def test_percentiles_are_reported_if_there_are_enough_samples(n: int, reported: list[str]) -> None:
    found = percentiles(distribution(list(range(n))))
    assert list(found) == [f"{name}{kind}_ns" for name in reported for kind in ("", "_upper")]
    assert all(found[f"{name}_ns"] <= found[f"{name}_upper_ns"] <= n - 1 for name in reported)
