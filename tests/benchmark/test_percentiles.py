from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedigits.benchmark.percentiles import PERCENTILES, Distribution, percentiles, samples_needed, upper_rank

lists = st.lists(st.integers(0, 50) | st.integers(0, 10**12), min_size=1, max_size=200)


def distribution(samples: list[int]) -> Distribution:
    return Distribution.of(np.array(samples, np.int64))


@given(lists, st.floats(0, 100))
def test_percentile_is_the_smallest_sample_that_reaches_it(samples: list[int], percent: float) -> None:
    wanted = math.ceil(len(samples) * percent / 100)
    reaching = [s for s in sorted(samples) if sum(t <= s for t in samples) >= wanted]
    assert distribution(samples).percentile(percent) == reaching[0]


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (90, 90), (99, 99), (99.5, 100), (100, 100)])
def test_percentile_of_one_to_a_hundred(percent: float, expected: int) -> None:
    assert distribution(list(range(1, 101))).percentile(percent) == expected


@given(lists)
def test_every_rank_is_that_sample(samples: list[int]) -> None:
    seen = distribution(samples)
    assert seen.samples == len(samples)
    assert [seen.at_rank(rank) for rank in range(1, len(samples) + 1)] == sorted(samples)


@given(st.lists(lists, min_size=1, max_size=4))
def test_merged_windows_are_all_their_samples(windows: list[list[int]]) -> None:
    merged = Distribution.merge(map(distribution, windows))
    whole = distribution([sample for window in windows for sample in window])
    np.testing.assert_array_equal(merged.values, whole.values)
    np.testing.assert_array_equal(merged.counts, whole.counts)


@pytest.mark.parametrize(("percent", "needed"), [(50, 11), (90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_samples_needed(percent: float, needed: int) -> None:
    assert samples_needed(percent) == needed

    def at_most_one_beyond(n: int) -> float:
        beyond = 1 - percent / 100
        return (1 - beyond) ** n + n * beyond * (1 - beyond) ** (n - 1)

    assert at_most_one_beyond(needed) <= 0.01 < at_most_one_beyond(needed - 1)


@given(st.integers(11, 400), st.sampled_from(PERCENTILES))
def test_upper_rank_is_the_first_that_is_safe(n: int, percent: float) -> None:
    p = percent / 100
    below, chance = n, 0.0
    for k in range(n + 1):  # the least k with P(X < k) >= 0.99
        if chance >= 0.99:
            below = k
            break
        chance += math.comb(n, k) * p**k * (1 - p) ** (n - k)
    assert upper_rank(n, percent) == below


def test_upper_bound_covers_the_true_percentile_as_often_as_it_says() -> None:
    """2000 draws of 700 exponential samples: the bound of p90 is missed 20 times in the mean, 40 would be far out."""
    draws = np.sort(np.random.default_rng(0).exponential(size=(2000, 700)), axis=1)
    missed = int((draws[:, upper_rank(700, 90) - 1] < -math.log(0.1)).sum())
    assert 5 <= missed <= 40


@pytest.mark.parametrize(("n", "given"), [(10, []), (11, [50]), (662, [50, 90, 95, 99]), (7000, list(PERCENTILES))])
def test_only_what_the_samples_suffice_for(n: int, given: list[Any]) -> None:
    found = percentiles(distribution(list(range(n))))
    assert [p.percent for p in found] == given
    for p in found:
        assert p.value_ns <= p.upper_ns <= n - 1
