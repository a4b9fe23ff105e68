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


@given(logits_arrays, logits_arrays, class_arrays)
def test_counts(logits: FloatArray, golden: FloatArray, labels: metrics.Indices) -> None:
    predicted, expected = (list(map(first_largest, array.tolist())) for array in (logits, golden))
    assert metrics.mismatched(logits, golden).tolist() == [i for i in range(IMAGES) if predicted[i] != expected[i]]
    assert metrics.errors(logits, labels) == sum(a != b for a, b in zip(predicted, labels, strict=True))
    assert metrics.ties(logits) == sum(row.count(max(row)) > 1 for row in logits.tolist())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_logits_that_are_not_finite_are_a_mismatch(value: float) -> None:
    golden = np.eye(3, dtype=np.float32)
    logits = golden.copy()
    logits[1, 1 if value > 0 else 0] = value
    assert metrics.mismatched(logits, golden).tolist() == [1]


@given(logits_arrays, class_arrays)
def test_leads(logits: FloatArray, classes: metrics.Indices) -> None:
    original = logits.copy()
    rows = zip(logits.tolist(), classes.tolist(), strict=True)
    assert metrics.leads(logits, classes).tolist() == [row[c] - max(row[:c] + row[c + 1 :]) for row, c in rows]
    np.testing.assert_array_equal(logits, original)


@given(arrays(np.int8, (IMAGES, CLASSES)), st.floats(1e-4, 10), st.integers(-128, 127))
def test_lead_quanta_are_differences_of_stored_integers(stored: Any, scale: float, zero_point: int) -> None:
    golden = np.eye(IMAGES, CLASSES, dtype=np.float32)
    integers = stored.astype(np.int64)
    logits = ((integers - zero_point) * scale).astype(np.float32)
    rows = zip(integers, golden.argmax(axis=1), strict=True)
    expected = [int(row[c] - max(np.delete(row, c))) for row, c in rows]
    assert metrics.lead_quanta(logits, golden, scale).tolist() == expected


@given(arrays(np.bool_, (12,)), arrays(np.bool_, (12,)))
def test_mcnemar_sums_all_outcomes_at_least_as_extreme(first: Any, second: Any) -> None:
    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    n = lost + won
    extreme = [k for k in range(n + 1) if abs(2 * k - n) >= abs(lost - won)]
    assert metrics.mcnemar(first, second) == pytest.approx(sum(math.comb(n, k) for k in extreme) / 2**n, abs=1e-12)
