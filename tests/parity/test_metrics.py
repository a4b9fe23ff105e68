from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgedigits.parity import metrics
from edgedigits.runtimes.tensors import FloatArray

IMAGES, CLASSES = 6, 4
# A few whole values, so that ties are common.
logits_arrays = arrays(np.float32, (IMAGES, CLASSES), elements=st.integers(-3, 3).map(float))
class_arrays = arrays(np.int64, (IMAGES,), elements=st.integers(0, CLASSES - 1))


def first_largest(row: list[float]) -> int:
    return row.index(max(row))


@given(logits_arrays, logits_arrays)
def test_mismatched(logits: FloatArray, golden: FloatArray) -> None:
    rows = zip(logits.tolist(), golden.tolist(), strict=True)
    expected = [i for i, (mine, theirs) in enumerate(rows) if first_largest(mine) != first_largest(theirs)]
    assert metrics.mismatched(logits, golden).tolist() == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_an_answer_that_is_not_finite_is_a_mismatch(value: float) -> None:
    golden = np.eye(3, dtype=np.float32)
    logits = golden.copy()
    logits[1, 1 if value > 0 else 0] = value
    assert metrics.mismatched(logits, golden).tolist() == [1]


@given(logits_arrays)
def test_ties(logits: FloatArray) -> None:
    assert metrics.ties(logits) == sum(row.count(max(row)) > 1 for row in logits.tolist())


@given(logits_arrays, class_arrays)
def test_leads(logits: FloatArray, classes: metrics.Indices) -> None:
    kept = logits.copy()
    expected = []
    for row, own in zip(logits.tolist(), classes.tolist(), strict=True):
        expected.append(row[own] - max(row[:own] + row[own + 1 :]))
    assert metrics.leads(logits, classes).tolist() == expected
    np.testing.assert_array_equal(logits, kept)


@given(arrays(np.int8, (IMAGES, CLASSES)), st.floats(1e-4, 10), st.integers(-128, 127))
def test_lead_quanta_are_those_of_the_stored_integers(stored: metrics.Indices, scale: float, zero_point: int) -> None:
    golden = np.eye(IMAGES, CLASSES, dtype=np.float32)
    whole = stored.astype(np.int64)
    logits = ((whole - zero_point) * scale).astype(np.float32)
    own = golden.argmax(axis=1)
    expected = [int(row[c] - max(np.delete(row, c))) for row, c in zip(whole, own, strict=True)]
    assert metrics.lead_quanta(logits, golden, scale).tolist() == expected


@given(logits_arrays, class_arrays)
def test_errors(logits: FloatArray, labels: metrics.Indices) -> None:
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    assert metrics.errors(logits, labels) == sum(first_largest(row) != label for row, label in rows)


@given(arrays(np.bool_, (12,)), arrays(np.bool_, (12,)))
def test_mcnemar_counts_every_outcome_as_far_out(one: Any, other: Any) -> None:
    lost, won = int((one & ~other).sum()), int((other & ~one).sum())
    n = lost + won
    as_far = [k for k in range(n + 1) if abs(2 * k - n) >= abs(lost - won)]
    expected = sum(math.comb(n, k) for k in as_far) / 2**n
    assert metrics.mcnemar(one, other) == pytest.approx(expected, abs=1e-12)


class TestExpectedCalibrationError:
    def test_by_hand(self) -> None:
        """Two bins are filled: 0.6 to 0.667 (sure 0.65, 1 of 2 right) and 0.867 to 0.933 (sure 0.9, 2 of 2 right)."""
        sure = np.array([[0.64, 0.36], [0.66, 0.34], [0.9, 0.1], [0.1, 0.9]], np.float32)
        labels = np.array([0, 1, 0, 1])
        expected = (2 * abs(0.65 - 0.5) + 2 * abs(0.9 - 1.0)) / 4
        assert metrics.expected_calibration_error(sure, labels) == pytest.approx(expected, abs=1e-6)

    def test_gaps_of_one_bin_make_up_for_each_other_and_those_of_two_do_not(self) -> None:
        near, apart = np.array([[0.62, 0.38], [0.64, 0.36]]), np.array([[0.62, 0.38], [0.74, 0.26]])
        labels = np.array([0, 1])
        assert metrics.expected_calibration_error(near, labels) == pytest.approx(abs(0.38 - 0.64) / 2)
        assert metrics.expected_calibration_error(apart, labels) == pytest.approx((0.38 + 0.74) / 2)

    def test_sure_and_right_is_none_and_sure_and_wrong_is_all(self) -> None:
        sure = np.eye(4, dtype=np.float32)
        assert metrics.expected_calibration_error(sure, np.arange(4)) == 0.0
        assert metrics.expected_calibration_error(sure, (np.arange(4) + 1) % 4) == 1.0

    def test_labels_drawn_as_told_are_calibrated(self) -> None:
        rng = np.random.default_rng(1)
        logits = rng.normal(0, 2, (50_000, 5))
        labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        hotter = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
        assert metrics.expected_calibration_error(exact, labels) < 0.01
        assert metrics.expected_calibration_error(hotter, labels) > 0.1
