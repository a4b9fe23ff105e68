"""TFLite's documented arithmetic for dense networks; for int8, each kernel set rounds as one real family does.

Sources: Jacob et al. 2018, arXiv:1712.05877, section 2; TFLite's 8-bit quantization specification; and the files
named below, of tensorflow/lite/kernels unless a library is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Step = Callable[[Array], Array]
# The range of each fused activation, in the order of the schema's ActivationFunctionType.
ACTIVATIONS = {"NONE": (-np.inf, np.inf), "RELU": (0, np.inf), "RELU_N1_TO_1": (-1, 1), "RELU6": (0, 6)}


def round_half_away(x: Array) -> Array:
    """Round float64 to whole numbers as C's round() and TfLiteRound; adding the float below 1/2 keeps it exact."""
    return np.asarray(np.trunc(x + np.copysign(np.nextafter(0.5, 0), x)))


def quantize_multiplier(real: Array) -> tuple[Array, Array]:
    """Return int64 (m, shift), real = m * 2**(shift - 31): QuantizeMultiplier in quantization_util.cc."""
    fraction, shift = np.frexp(real)
    multiplier = round_half_away(fraction * 2.0**31).astype(np.int64)
    carry = multiplier == 1 << 31
    multiplier, shift = np.where(carry, 1 << 30, multiplier), shift.astype(np.int64) + carry
    return np.where(shift < -31, 0, multiplier), np.where(shift < -31, 0, shift)


def rescaler(x_scale: float, w_scale: Array, y_scale: float, kernels: str) -> Step:
    """Return the function from whole float64 sums (n, units) to whole outputs before their zero point.

    reference: internal/common.cc, MultiplyByQuantizedMultiplier: gemmlowp's SaturatingRoundingDoublingHighMul, then
        its RoundingDivideByPOT, half away from zero: the paper's arithmetic.
    ruy: the same high multiply, then a rounding shift, half up (on ARM: SQRDMULH, RSHL).
    xnnpack: XNNPACK's fp32 requantization: one float32 product, half to even.
    exact: LiteRT's internal/reference/integer_ops/fully_connected.h: one float64 product, half away from zero.
    """
    if kernels == "xnnpack":
        factor = np.float32(x_scale) * w_scale / np.float32(y_scale)
        return lambda total: np.asarray(np.rint(total.astype(np.float32) * factor))
    real = x_scale * w_scale.astype(np.float64) / y_scale
    if kernels == "exact":
        return lambda total: round_half_away(total * real)
    multiplier, shift = quantize_multiplier(real)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    half, low = (1 << right) >> 1, 0 if kernels == "ruy" else (right > 0).astype(np.int64)

    def rescale(total: Array) -> Array:
        high = ((total.astype(np.int64) << left) * multiplier + (1 << 30)) >> 31  # numpy's >> rounds down
        return np.asarray((high + half - low * (high < 0)) >> right)

    return rescale


def activation_range(activation: str, scale: float, zero_point: int, kernels: str) -> tuple[int, int]:
    """Return int8 bounds: kernel_util.cc, CalculateActivationRangeQuantized; XNNPACK rounds with the zero point in."""
    bounds = np.array(ACTIVATIONS[activation], np.float32) / np.float32(scale)
    whole = np.rint(bounds + zero_point) if kernels == "xnnpack" else round_half_away(bounds.astype("f8")) + zero_point
    return int(np.clip(whole[0], -128, 127)), int(np.clip(whole[1], -128, 127))


def dense_int8(
    weights: Array, w_scale: Array, bias: Array, x: tuple[float, int], y: tuple[float, int], fused: str, kernels: str
) -> Step:
    """Return FULLY_CONNECTED, int8 (n, depth) -> (n, units), for weights (units, depth) less their zero points.

    internal/reference/integer_ops/fully_connected.h: sum((x - x_zero) * w) + bias, rescaled, plus y_zero, clamped.
    x and y are (scale, zero point); x_zero is folded into the bias. Sums are whole float64 numbers below 2**53:
    exact in any order, and as fast as BLAS. Raises ValueError when a sum can leave int32, where kernels differ.
    """
    matrix, (low, high) = np.ascontiguousarray(weights.T, np.float64), activation_range(fused, *y, kernels)
    largest = np.abs(matrix).sum(0) * 255 + np.abs(bias)
    if (largest * np.maximum(x[0] * w_scale.astype(np.float64) / y[0], 1)).max(initial=0) >= 2**31:
        raise ValueError("a FULLY_CONNECTED sum can leave int32; choose other scales or a smaller bias")
    rescale, offset, y_zero = rescaler(x[0], w_scale, y[0], kernels), bias - x[1] * matrix.sum(0), y[1]

    def step(v: Array) -> Array:
        total = rescale(v.astype(np.float64) @ matrix + offset) + y_zero
        return np.minimum(np.maximum(total, low), high).astype(np.int8)

    return step


def quantize(scale: float, zero_point: int, kernels: str) -> Step:
    """Return QUANTIZE, float32 -> int8: internal/reference/quantize.h, AffineQuantize; XNNPACK's f32-qs8-vcvt."""
    if kernels == "xnnpack":
        inverse = np.float32(1) / np.float32(scale)
        return lambda x: np.clip(np.rint(x * inverse) + zero_point, -128, 127).astype(np.int8)
    divisor = np.float32(scale)
    return lambda x: np.clip(round_half_away((x / divisor).astype("f8")) + zero_point, -128, 127).astype(np.int8)


def softmax(x: Array, beta: float) -> Array:
    """SOFTMAX of float32 over the last axis: internal/reference/softmax.h."""
    powers = np.exp((x - x.max(-1, keepdims=True)) * np.float32(beta))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def relu_int8(name: str, x: tuple[float, int], y: tuple[float, int], kernels: str) -> Step:
    """Return a RELU of its own, int8 -> int8, from x's (scale, zero point) to y's: activations.cc, QuantizedReluX."""
    rescale = rescaler(x[0], np.ones(1, np.float32), y[0], kernels if kernels == "xnnpack" else "reference")
    low, high = activation_range(name, *y, kernels)
    return lambda v: np.clip(rescale(v.astype(np.float64) - x[1]) + y[1], low, high).astype(np.int8)
