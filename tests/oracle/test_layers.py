from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from dense_models import Layer, write

from edgedigits.bundle import Bundle
from edgedigits.layers import HEALTHY, layer_errors
from edgedigits.runtimes.oracle import NumpyAdapter


def test_a_healthy_model_errs_by_rounding_once() -> None:
    bundle = Bundle()
    x, _ = bundle.inputs()
    hidden, *_ = layer_errors(bundle.read("int8.tflite"), x)
    assert hidden.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.05)
    assert hidden.saturated < 0.01  # tuned: its range is spent where answers are close
    assert hidden.snr_db > 30


@pytest.mark.parametrize(("y_scale", "healthy"), [(0.05, True), (0.004, False), (0.5, True)])
def test_a_layer_whose_range_is_too_narrow_is_told(y_scale: float, healthy: bool) -> None:
    random = np.random.default_rng(3)
    weights = random.integers(-127, 128, (16, 50), np.int8)
    model = write(0.02, 0, [Layer(weights, np.full(1, 0.002, np.float32), None, y_scale, 0)])
    (found,) = layer_errors(model, random.normal(0, 0.7, (500, 50)).astype(np.float32))
    if healthy:
        assert found.rmse_over_scale == found.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.1)
        assert found.saturated == 0
    else:
        assert found.rmse_over_scale > 10 * HEALTHY
        assert found.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.1)
        assert found.saturated > 0.3
    assert (found.snr_db > 25) == (y_scale == 0.05)  # too wide a range: coarse quanta


def test_a_float_model_has_no_such_error() -> None:
    with pytest.raises(ValueError, match="float32; expected an int8 one"):
        layer_errors(Bundle().read("float32.tflite"), np.zeros((1, 400), np.float32))


def test_what_is_traced_is_what_runs() -> None:
    bundle = Bundle()
    adapter = NumpyAdapter(bundle.read("int8.tflite"), "exact")
    x = adapter.inputs.quantize(bundle.inputs()[0][:50])
    traced = list(adapter.trace(x))
    np.testing.assert_array_equal(traced[0][1], x)
    np.testing.assert_array_equal(traced[-1][2], adapter.run(x))
    for (_, _, made), (_, given, _) in pairwise(traced):
        np.testing.assert_array_equal(made, given)
