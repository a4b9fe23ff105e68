"""Write dense int8 .tflite files, also random ones, with LiteRT's generated schema."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s
from numpy.typing import NDArray


@dataclass
class Layer:
    """Weights int8 (units, depth), scales (1,) or (units,), bias int32 (units,) or None; the output's quantization."""

    weights: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32] | None
    y_scale: float
    y_zero: int
    activation: int = 0


def write(x_scale: float, x_zero: int, layers: list[Layer], code_: int = s.BuiltinOperator.FULLY_CONNECTED) -> bytes:
    """The .tflite of a chain of int8 FULLY_CONNECTED operators, or of another operator code."""
    model, graph = s.ModelT(), s.SubGraphT()
    model.version, model.description = 3, b"random dense"
    code = s.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = code_, min(code_, 127)
    code.version = 4
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [s.BufferT()]
    graph.tensors, graph.operators = [], []

    def tensor(name: str, shape: list[int], type_: int, scale: Any, zero: int, values: Any = None) -> int:
        t, q = s.TensorT(), s.QuantizationParametersT()
        q.scale = np.atleast_1d(np.asarray(scale, np.float32))
        q.zeroPoint = np.full(len(q.scale), zero, np.int64)
        t.name, t.shape, t.type, t.quantization, t.buffer = name, shape, type_, q, 0
        if values is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            model.buffers.append(buffer)
            t.buffer = len(model.buffers) - 1
        graph.tensors.append(t)
        return len(graph.tensors) - 1

    x = tensor("x", [1, layers[0].weights.shape[1]], s.TensorType.INT8, x_scale, x_zero)
    graph.inputs = [x]
    for i, layer in enumerate(layers):
        w = tensor(f"w{i}", list(layer.weights.shape), s.TensorType.INT8, layer.scales, 0, layer.weights)
        units = len(layer.weights)
        b = -1
        if layer.bias is not None:
            scale = np.float32(x_scale) * layer.scales
            b = tensor(f"b{i}", [units], s.TensorType.INT32, scale, 0, layer.bias)
        y = tensor(f"y{i}", [1, units], s.TensorType.INT8, layer.y_scale, layer.y_zero)
        op, options = s.OperatorT(), s.FullyConnectedOptionsT()
        options.fusedActivationFunction = layer.activation
        op.opcodeIndex, op.inputs, op.outputs = 0, [x, w, b], [y]
        op.builtinOptionsType, op.builtinOptions = s.BuiltinOptions.FullyConnectedOptions, options
        graph.operators.append(op)
        x, x_scale = y, layer.y_scale
    graph.outputs = [x]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def random_model(seed: int) -> tuple[bytes, NDArray[np.int8]]:
    """A random dense model of 1 to 4 layers, and 64 inputs: random, extreme, constant."""
    r = np.random.default_rng(seed)
    widths = [int(v) for v in np.exp(r.uniform(0, 5.7, r.integers(2, 6))).round().clip(1)]
    x_scale, x_zero = float(np.float32(np.exp(r.uniform(-6, 1)))), int(r.integers(-128, 128))
    first, layers = (x_scale, x_zero), list[Layer]()
    for depth, units in itertools.pairwise(widths):
        weights = r.integers(-127, 128, (units, depth), np.int8)
        scales = np.exp(r.uniform(-7, -1, units if seed % 2 else 1)).astype(np.float32)
        bias = None
        if r.random() < 0.8:
            bias = r.integers(-20000, 20000, units).astype(np.int32)
        spread = x_scale * float(scales.mean()) * 73 * 74 * np.sqrt(depth)  # of the real outputs
        y_scale = float(np.float32(spread / np.exp(r.uniform(2.0, 5.0))))  # from mild to mostly saturated
        y_scale = max(y_scale, float(np.float32(x_scale * scales.max() / 0.99))) if r.random() < 0.9 else y_scale
        if seed % 3 == 0:  # powers of two give exact ties, where kernel sets differ most
            x_scale, y_scale = float(2 ** np.round(np.log2(x_scale))), float(2 ** np.round(np.log2(y_scale)))
            scales = (2 ** np.round(np.log2(scales))).astype(np.float32)
            first = (x_scale, x_zero) if not layers else first
        zero = int(r.integers(-128, 128))
        layers.append(Layer(weights, scales, bias, y_scale, zero, int(r.integers(0, 4))))
        x_scale = y_scale
    x = r.integers(-128, 128, (64, widths[0])).astype(np.int8)
    x[:8] = r.choice(np.array([-128, 127], np.int8), (8, widths[0]))
    x[8], x[9], x[10] = -128, 127, np.int8(first[1])
    return write(*first, layers), x
