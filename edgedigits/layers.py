"""Where an int8 model loses precision: each layer's own error, recomputed from its very inputs and weights.

A layer that is well quantized errs only by rounding its output once: evenly within half a quantum, so its
root-mean-square error is 1/sqrt(12), about 0.289 quanta. More means saturation: the range is too narrow for some
inputs, which a tuned export does on purpose where no answer hangs on it. A low signal-to-noise ratio beside a healthy
rounding means the opposite, a range so wide that the quanta are coarse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgedigits.runtimes._kernels import ACTIVATIONS
from edgedigits.runtimes._reader import Operator, Tensor
from edgedigits.runtimes.oracle import NumpyAdapter
from edgedigits.tensors import AnyArray, FloatArray

HEALTHY = 1 / math.sqrt(12)


@dataclass(frozen=True)
class LayerError:
    """One FULLY_CONNECTED layer of an int8 model, over all inputs.

    Attributes:
        layer: its output tensor's name.
        scale: of its output, real units a quantum.
        rmse_over_scale: root-mean-square error in output quanta, over the values that the activation lets through.
        in_range_rmse_over_scale: the same over those that int8 holds at this scale: its rounding alone.
        snr_db: power of the exact output over power of the error, decibels.
        saturated: share of the values that lie outside what int8 holds at this scale.
    """

    layer: str
    scale: float
    rmse_over_scale: float
    in_range_rmse_over_scale: float
    snr_db: float
    saturated: float


def layer_errors(model: bytes, x: FloatArray) -> list[LayerError]:
    """The error of each FULLY_CONNECTED layer of a dense int8 .tflite on inputs (m, n) float32.

    Raises ValueError for a model that the numpy runtime does not read, and for a float32 one.
    """
    adapter = NumpyAdapter(model, "exact")
    if adapter.inputs.scale is None:
        raise ValueError("the model is float32; expected an int8 one")
    traced = adapter.trace(adapter.inputs.quantize(x))
    return [_error(op, given, got) for op, given, got in traced if op.name == "FULLY_CONNECTED"]


def _real(stored: AnyArray, tensor: Tensor) -> AnyArray:
    """Stored integers to real values, float64; a scale for each row of weights, or one for all."""
    scale, zero_point = tensor.scale.astype(np.float64), tensor.zero_point
    if len(scale) > 1:
        scale, zero_point = scale[:, None], zero_point[:, None]
    return (stored - zero_point) * scale


def _error(op: Operator, given: AnyArray, got: AnyArray) -> LayerError:
    before, weights, bias = (*op.inputs, None)[:3]
    assert before is not None  # the reader has followed this input
    assert weights is not None
    exact: AnyArray = _real(given.reshape(len(given), -1), before) @ _real(weights.values, weights).T
    if bias is not None:
        exact = exact + bias.values * before.scale.astype(np.float64) * weights.scale
    low, high = ACTIVATIONS[list(ACTIVATIONS)[op.options.get("fused_activation_function", 0)]]
    passed = (exact > low) & (exact < high)
    exact = np.clip(exact, low, high)
    error: AnyArray = _real(got, op.output) - exact
    scale, zero_point = float(op.output.scale[0]), int(op.output.zero_point[0])
    quanta = exact / scale + zero_point
    power = float((error**2).mean())
    saturated = (quanta < -128.5) | (quanta > 127.5)

    def rmse(chosen: AnyArray) -> float:
        return float(np.sqrt((error[chosen] ** 2).mean())) / scale if chosen.any() else 0.0

    return LayerError(
        layer=op.output.name,
        scale=scale,
        rmse_over_scale=rmse(passed),
        in_range_rmse_over_scale=rmse(passed & ~saturated),
        snr_db=math.inf if power == 0 else 10 * math.log10(float((exact**2).mean()) / power),
        saturated=float(saturated.mean()),
    )
