"""The numpy runtime: dense .tflite models in NumPy, an oracle for the other runtimes and a fallback without wheels.

The arithmetic is that of TFLite; for int8, each kernel set rounds as one family of real kernels does. Sources: Jacob et
al. 2018, arXiv:1712.05877, section 2; TFLite's 8-bit quantization specification; and the files named below, in
tensorflow/lite/kernels unless a library is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from itertools import accumulate

import numpy as np

from edgedigits.runtimes.oracle.reader import Operator, Tensor, read_chain
from edgedigits.runtimes.tensors import AnyArray, TensorSpec, copying_invoke

Step = Callable[[AnyArray], AnyArray]
OPERATORS = ("FULLY_CONNECTED", "QUANTIZE", "DEQUANTIZE", "RESHAPE")
BIAS_DTYPES = {"FLOAT32": np.float32, "INT8": np.int32}  # by input type
# The range of each fused activation, in the order of the schema's ActivationFunctionType.
ACTIVATIONS = ((-np.inf, np.inf), (0, np.inf), (-1, 1), (0, 6))


def round_half_away(x: AnyArray) -> AnyArray:
    """Round float64 to integers, ties away from zero: TfLiteRound. The largest float below 1/2 keeps it exact."""
    return np.asarray(np.trunc(x + np.copysign(np.nextafter(0.5, 0), x)))


def quantize_multiplier(real: AnyArray) -> tuple[AnyArray, AnyArray]:
    """int64 (m, shift) with real = m * 2**(shift - 31): QuantizeMultiplier in quantization_util.cc."""
    fraction, shift = np.frexp(real)
    multiplier = round_half_away(fraction * 2.0**31).astype(np.int64)
    multiplier, shift = multiplier >> (multiplier >> 31), shift + (multiplier >> 31)  # a fraction that rounds up to 1
    return np.where(shift < -31, 0, multiplier), np.where(shift < -31, 0, shift)


def rescaler(x_scale: AnyArray, w_scale: AnyArray, y_scale: AnyArray, kernels: str) -> Step:
    """A function that rescales integer float64 sums (n, units) to integer outputs, without their zero point.

    Scales are float32, (1,) or, for the weights, (units,). Each kernel set multiplies by x * w / y in its own way:
    reference: internal/common.cc, MultiplyByQuantizedMultiplier: gemmlowp's SaturatingRoundingDoublingHighMul, then
        its RoundingDivideByPOT, ties away from zero: the paper's arithmetic.
    ruy: the same high multiply, then a rounding shift, ties up (on ARM: SQRDMULH, RSHL).
    xnnpack: XNNPACK's fp32 requantization: one float32 product, ties to even.
    exact: LiteRT's internal/reference/integer_ops/fully_connected.h: one float64 product, ties away from zero.
    """
    if kernels == "xnnpack":
        factor = x_scale * w_scale / y_scale
        return lambda total: np.asarray(np.rint(total.astype(np.float32) * factor))
    real = x_scale.astype(np.float64) * w_scale / y_scale
    if kernels == "exact":
        return lambda total: round_half_away(total * real)
    multiplier, shift = quantize_multiplier(real)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    half, low = (1 << right) >> 1, 0 if kernels == "ruy" else (right > 0).astype(np.int64)

    def rescale(total: AnyArray) -> AnyArray:
        high = ((total.astype(np.int64) << left) * multiplier + (1 << 30)) >> 31  # numpy's >> rounds down
        return np.asarray((high + half - low * (high < 0)) >> right)

    return rescale


def activation_range(fused: int, y: Tensor, kernels: str) -> AnyArray:
    """int8 bounds: kernel_util.cc, CalculateActivationRangeQuantized; XNNPACK adds the zero point before rounding."""
    bounds = (np.array(ACTIVATIONS[fused], np.float32) / y.scale).astype(np.float64)
    whole = np.rint(bounds + y.zero_point) if kernels == "xnnpack" else round_half_away(bounds) + y.zero_point
    return np.clip(whole, -128, 127)


def dense_int8(x: Tensor, w: Tensor, bias: AnyArray, y: Tensor, fused: int, kernels: str) -> Step:
    """FULLY_CONNECTED, int8 (n, depth) -> (n, units), for weights (units, depth) and a bias (units,) int32.

    internal/reference/integer_ops/fully_connected.h: sum((x - x_zero) * (w - w_zero)) + bias, rescaled, plus y_zero,
    clamped. x_zero is folded into the bias. Sums are integers below 2**53 in float64: exact in any order, and computed
    by BLAS. Raises ValueError if a sum can overflow int32, where kernels differ.
    """
    scales, positive = len(w.scale), ((w.scale > 0) & (w.scale < np.inf)).all()
    if scales not in (1, len(bias)) or len(w.zero_point) != scales or (scales > 1 and w.axis) or not positive:
        raise ValueError(f"weights {w.name!r} need one positive scale and zero point, or {len(bias)} of each")
    matrix = np.ascontiguousarray((w.values.astype(np.float64) - w.zero_point[:, None]).T)
    largest = np.abs(matrix).sum(0) * 255 + np.abs(bias.astype(np.float64))
    if (largest * np.maximum(x.scale.astype(np.float64) * w.scale / y.scale, 1)).max(initial=0) >= 2**31:
        raise ValueError("a FULLY_CONNECTED sum can overflow int32; choose other scales or a smaller bias")
    offset, y_zero = bias - x.zero_point * matrix.sum(0), y.zero_point.astype(np.float64)
    rescale, (low, high) = rescaler(x.scale, w.scale, y.scale, kernels), activation_range(fused, y, kernels)

    def step(v: AnyArray) -> AnyArray:
        total = rescale(v.astype(np.float64) @ matrix + offset) + y_zero
        return np.minimum(np.maximum(total, low), high).astype(np.int8)

    return step


def quantize(y: Tensor) -> Step:
    """QUANTIZE, float32 -> int8: internal/reference/quantize.h, AffineQuantize."""
    zero = y.zero_point.astype(np.float64)

    def step(x: AnyArray) -> AnyArray:
        total = round_half_away((x / y.scale).astype(np.float64)) + zero
        return np.minimum(np.maximum(total, -128.0), 127.0).astype(np.int8)  # in half the time of np.clip

    return step


def _spec(tensor: Tensor) -> TensorSpec:
    pairs = list(zip(tensor.scale.tolist(), tensor.zero_point.tolist(), strict=False))
    fits = len(pairs) == 1 and 0 < pairs[0][0] < math.inf and -128 <= pairs[0][1] <= 127
    if min(tensor.shape, default=0) < 1 or math.prod(tensor.shape) > 2**24 or (tensor.type == "INT8" and not fits):
        raise ValueError(
            f"tensor {tensor.name!r} of shape {tensor.shape} is empty, larger than 64 MB, or lacks a single scale"
        )
    return TensorSpec(tensor.name, tensor.shape[1:], tensor.type.lower(), *(pairs[0] if tensor.type == "INT8" else ()))


def _dense(op: Operator, x: Tensor, kernels: str) -> Step:
    """A FULLY_CONNECTED whose input, weights and output are all float32 or all int8."""
    (w, bias), y = (*op.inputs, None, None)[1:3], op.output
    fused, shuffled = op.options.get("fused_activation_function", 0), op.options.get("weights_format", 0)
    if w is None or w.values.ndim != 2 or not x.type == w.type == y.type or shuffled or not 0 <= fused < 4:
        raise ValueError(f"FULLY_CONNECTED from {x.type} to {y.type} without plain constant weights of that type")
    units, depth = w.values.shape
    b = np.zeros(units, BIAS_DTYPES[x.type]) if bias is None else bias.values
    if x.shape[1:] != (depth,) or y.shape[1:] != (units,) or b.shape != (units,) or b.dtype != BIAS_DTYPES[x.type]:
        raise ValueError(f"FULLY_CONNECTED: {x.shape} by {w.values.shape} plus {b.shape} does not give {y.shape}")
    if x.type == "INT8":
        return dense_int8(x, w, b, y, fused, kernels)
    matrix, (low, high) = np.ascontiguousarray(w.values.T), np.array(ACTIVATIONS[fused], np.float32)
    return (lambda v: np.minimum(np.maximum(v @ matrix + b, low), high)) if fused else (lambda v: v @ matrix + b)


def _step(op: Operator, x: Tensor, kernels: str) -> Step:
    """An operator as a function of its first input, (n, *x.shape[1:]) -> (n, *output.shape[1:])."""
    before, after = _spec(x), _spec(op.output)
    match op.name, before.dtype, after.dtype:
        case "FULLY_CONNECTED", _, _:
            return _dense(op, x, kernels)
        case "RESHAPE", was, now if was == now and math.prod(before.shape) == math.prod(after.shape):
            return lambda v: v.reshape(len(v), *after.shape)
        case "QUANTIZE", "float32", "int8" if before.shape == after.shape:
            # XNNPACK's f32-qs8-vcvt, and LiteRT's optimized kernel.
            return after.quantize if kernels in ("ruy", "xnnpack") else quantize(op.output)
        case "DEQUANTIZE", "int8", "float32" if before.shape == after.shape:
            return before.dequantize  # internal/reference/dequantize.h
    raise ValueError(f"the numpy runtime has no {op.name} from {before} to {after}; try litert")


def open_model(model: bytes, model_format: str, threads: int, kernels: str) -> NumpyAdapter:
    """Open a dense .tflite model; NumPy chooses the number of threads."""
    return NumpyAdapter(model, kernels)


class NumpyAdapter:
    """A dense .tflite model; ``kernels`` selects the int8 rounding, see :func:`rescaler`."""

    def __init__(self, model: bytes, kernels: str) -> None:
        first, chain = read_chain(model, OPERATORS)
        self._tensors = [first, *(op.output for op in chain)]
        self.inputs, self.outputs = _spec(first), _spec(self._tensors[-1])
        self._steps = [_step(op, x, kernels) for op, x in zip(chain, self._tensors, strict=False)]
        self.buffers, self.invoke = copying_invoke(self.run, self.inputs, self.outputs)

    def run(self, x: AnyArray) -> AnyArray:
        """See :class:`edgedigits.runtimes.table.Adapter`."""
        for step in self._steps:
            x = step(x)
        return x

    def trace(self, x: AnyArray, tensors: Collection[int] = ()) -> dict[int, AnyArray]:
        """All activations of :meth:`run`, as stored, by the tensors' numbers in the file."""
        activations = accumulate(self._steps, lambda v, step: step(v), initial=x)
        return {tensor.number: v for tensor, v in zip(self._tensors, activations, strict=True)}

    def close(self) -> None:
        """Free the weights."""
        self._steps = []
