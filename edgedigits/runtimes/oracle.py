"""The numpy runtime: a dense .tflite in plain NumPy; an oracle for the others, a fallback where none has a wheel."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from edgedigits.runtimes import _kernels as k
from edgedigits.runtimes._reader import Operator, Tensor, read_chain
from edgedigits.tensors import TensorSpec

OPERATORS = ("FULLY_CONNECTED", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "RELU", "RELU6", "RELU_N1_TO_1", "SOFTMAX")
BIAS = {"FLOAT32": np.float32, "INT8": np.int32}  # the bias's dtype for each type of input


def _quantization(tensor: Tensor) -> tuple[float, int]:
    scale, zero_point = (*tensor.scale.tolist(), 0.0)[0], (*tensor.zero_point.tolist(), 0)[0]
    if len(tensor.scale) != 1 or not 0 < scale < math.inf or not -128 <= zero_point <= 127:
        raise ValueError(f"int8 tensor {tensor.name!r} needs one scale and one zero point; export the model again")
    return scale, zero_point


def _spec(tensor: Tensor) -> TensorSpec:
    if tensor.type not in ("FLOAT32", "INT8") or min(tensor.shape, default=0) < 1:
        raise ValueError(f"tensor {tensor.name!r} is {tensor.type} {tensor.shape}; the numpy runtime cannot take that")
    quantization = _quantization(tensor) if tensor.type == "INT8" else (None, None)
    return TensorSpec(tensor.name, tensor.shape[1:], tensor.type.lower(), *quantization)


def _dense(op: Operator, x: Tensor, kernels: str) -> k.Step:
    """Return a FULLY_CONNECTED whose input, weights and output are all float32, or all int8."""
    (w, bias), y = (*op.inputs, None, None)[1:3], op.output
    fused, shuffled = op.options.get("fused_activation_function", 0), op.options.get("weights_format", 0)
    if w is None or w.values.ndim != 2 or not x.type == w.type == y.type or shuffled or not 0 <= fused < 4:
        raise ValueError(f"FULLY_CONNECTED from {x.type} to {y.type} without plain constant weights of that type")
    activation, (units, depth) = list(k.ACTIVATIONS)[fused], w.values.shape
    b = np.zeros(units, BIAS.get(x.type)) if bias is None else bias.values
    if math.prod(x.shape[1:]) != depth or y.shape[1:] != (units,) or b.shape != (units,) or b.dtype != BIAS.get(x.type):
        raise ValueError(f"FULLY_CONNECTED: {x.shape} by {w.values.shape} plus {b.shape} does not give {y.shape}")
    if x.type == "FLOAT32":
        matrix, clamp = np.ascontiguousarray(w.values.T), _clamp(activation)
        return (lambda v: clamp(v @ matrix + b)) if fused else (lambda v: v @ matrix + b)
    scales, positive = len(w.scale), ((w.scale > 0) & (w.scale < np.inf)).all()
    if scales not in (1, units) or len(w.zero_point) != scales or (scales > 1 and w.axis) or not positive:
        raise ValueError(f"weights {w.name!r} need one positive scale and zero point, or {units} of each")
    weights = w.values.astype(np.float64) - w.zero_point[:, None]
    return k.dense_int8(weights, w.scale, b.astype(np.float64), _quantization(x), _quantization(y), activation, kernels)


def _clamp(activation: str) -> k.Step:
    low, high = np.array(k.ACTIVATIONS[activation], np.float32)
    return lambda v: np.minimum(np.maximum(v, low), high)


def _step(op: Operator, x: Tensor, kernels: str) -> k.Step:
    """Return what an operator does to the tensor before it, (n, *x.shape[1:]) -> (n, *output.shape[1:])."""
    y = op.output
    if op.name == "FULLY_CONNECTED":
        dense = _dense(op, x, kernels)
        return dense if len(x.shape) == 2 else lambda v: dense(v.reshape(len(v), -1))
    if x.shape[:1] != y.shape[:1] or math.prod(x.shape) != math.prod(y.shape):
        raise ValueError(f"{op.name} from {x.shape} to {y.shape} does not keep the batch apart; try litert")
    match op.name, x.type, y.type:
        case "RESHAPE", _, same if same == x.type:
            return lambda v: v.reshape(len(v), *y.shape[1:])
        case "QUANTIZE", "FLOAT32", "INT8":
            return k.quantize(*_quantization(y), kernels)
        case "DEQUANTIZE", "INT8", "FLOAT32":
            scale, zero_point = (np.float32(value) for value in _quantization(x))
            return lambda v: (v.astype(np.float32) - zero_point) * scale  # internal/reference/dequantize.h
        case "SOFTMAX", "FLOAT32", "FLOAT32":
            return lambda v: k.softmax(v, op.options.get("beta", 1.0))
        case "RELU" | "RELU6" | "RELU_N1_TO_1", "FLOAT32", "FLOAT32":
            return _clamp(op.name)
        case "RELU" | "RELU6" | "RELU_N1_TO_1", "INT8", "INT8":
            return k.relu_int8(op.name, _quantization(x), _quantization(y), kernels)
    raise ValueError(f"{op.name} from {x.type} to {y.type} is not supported by the numpy runtime; try litert")


def open_model(model: bytes, model_format: str, threads: int, kernels: str) -> NumpyAdapter:
    """Open a dense .tflite file's bytes; threads are NumPy's own affair."""
    return NumpyAdapter(model, kernels)


class NumpyAdapter:
    """Runs a dense .tflite; ``kernels`` says whose rounding int8 follows, see :func:`_kernels.rescaler`."""

    def __init__(self, model: bytes, kernels: str) -> None:
        first, chain = read_chain(model, OPERATORS)
        tensors = [first, *(op.output for op in chain)]
        self.inputs, self.outputs = _spec(first), _spec(tensors[-1])
        self.operators = chain
        self._steps = [_step(op, x, kernels) for op, x in zip(chain, tensors, strict=False)]
        self._given, self._got = (np.zeros((1, *spec.shape), spec.dtype) for spec in (self.inputs, self.outputs))
        self.place = self._given[0], self._got[0]

    def run(self, x: k.Array) -> k.Array:
        """See :class:`edgedigits.runtimes.Adapter`."""
        for step in self._steps:
            x = step(x)
        return x

    def trace(self, x: k.Array) -> Iterator[tuple[Operator, k.Array, k.Array]]:
        """Each operator in turn, with what it was given and what it made of it, both as stored."""
        for op, step in zip(self.operators, self._steps, strict=True):
            y = step(x)
            yield op, x, y
            x = y

    def invoke(self) -> None:
        """See :class:`edgedigits.runtimes.Adapter`."""
        self._got[...] = self.run(self._given)

    def close(self) -> None:
        """Let go of the weights."""
        self._steps = []
