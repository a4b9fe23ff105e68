"""Operators of a .tflite without rounding: float64 NumPy, batch first, channels last.

Inputs are real values (axes are integers); fused activations are left out. Source: the reference implementations in
tensorflow/lite/kernels/internal/reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from edgedigits.runtimes.tensors import AnyArray

Options = dict[str, Any]
SAME = 0  # in the schema's Padding; 1 is VALID


def _taps(x: AnyArray, kernel: Sequence[int], options: Options) -> Iterator[tuple[int, int, AnyArray]]:
    """Each element (i, j) of a kernel (height, width) with its inputs, (n, out_height, out_width, depth).

    Pads with zeros. Odd SAME padding puts the larger half at the end: kernels/padding.h.
    """
    strides = options["stride_h"], options["stride_w"]
    dilations = options.get("dilation_h_factor", 1), options.get("dilation_w_factor", 1)
    pads, outs = [(0, 0)], []
    for size, k, stride, dilation in zip(x.shape[1:3], kernel, strides, dilations, strict=True):
        reach, same = (k - 1) * dilation + 1, options["padding"] == SAME
        outs.append(-(-size // stride) if same else (size - reach) // stride + 1)
        lacking = max((outs[-1] - 1) * stride + reach - size, 0) if same else 0
        pads.append((lacking // 2, lacking - lacking // 2))
    x = np.pad(x, [*pads, (0, 0)])
    for i, j in np.ndindex(*kernel):
        rows, columns = (
            slice(at * dilation, at * dilation + (out - 1) * stride + 1, stride)
            for at, out, stride, dilation in zip((i, j), outs, strides, dilations, strict=True)
        )
        yield i, j, x[:, rows, columns]


def convolution(x: AnyArray, weights: AnyArray, options: Options) -> AnyArray:
    """CONV_2D: (n, height, width, groups * depth) by (units, kernel height, kernel width, depth)."""
    units, *kernel, depth = weights.shape
    groups = x.shape[3] // depth
    total: Any = 0.0
    for i, j, seen in _taps(x, kernel, options):
        shape = (*seen.shape[:3], units)
        matrices = weights[:, i, j].reshape(groups, units // groups, depth).swapaxes(1, 2)
        total = (
            total + seen.reshape(-1, groups, depth).swapaxes(0, 1) @ matrices
        )  # (groups, positions, units per group)
    return np.asarray(total.swapaxes(0, 1).reshape(shape))


def depthwise(x: AnyArray, weights: AnyArray, options: Options) -> AnyArray:
    """DEPTHWISE_CONV_2D: (n, height, width, depth) by (1, kernel height, kernel width, depth * multiplier)."""
    return convolution(x, weights.transpose(3, 1, 2, 0), options)


def average_pool(x: AnyArray, options: Options) -> AnyArray:
    """AVERAGE_POOL_2D, (n, height, width, depth); padding does not count."""
    kernel = options["filter_height"], options["filter_width"]
    inside = np.ones((1, *x.shape[1:3], 1))
    total, count = (sum(seen for _, _, seen in _taps(values, kernel, options)) for values in (x, inside))
    return np.asarray(total / count)


def softmax(x: AnyArray, beta: float) -> AnyArray:
    """SOFTMAX over the last axis."""
    powers = np.exp((x - x.max(-1, keepdims=True)) * beta)
    return np.asarray(powers / powers.sum(-1, keepdims=True))


# By operator name: (inputs, options) -> output, without the bias.
OPERATIONS: dict[str, Callable[[Sequence[AnyArray], Options], AnyArray]] = {
    "ADD": lambda v, o: v[0] + v[1],
    "AVERAGE_POOL_2D": lambda v, o: average_pool(v[0], o),
    "CONCATENATION": lambda v, o: np.concatenate(v, axis=o["axis"]),
    "CONV_2D": lambda v, o: convolution(v[0], v[1], o),
    "DEPTHWISE_CONV_2D": lambda v, o: depthwise(v[0], v[1], o),
    "FULLY_CONNECTED": lambda v, o: v[0].reshape(-1, v[1].shape[1]) @ v[1].T,
    "HARD_SWISH": lambda v, o: v[0] * np.clip(v[0] + 3, 0, 6) / 6,
    "LEAKY_RELU": lambda v, o: np.where(v[0] > 0, v[0], v[0] * o["alpha"]),
    "LOGISTIC": lambda v, o: 1 / (1 + np.exp(-v[0])),
    "MEAN": lambda v, o: v[0].mean(axis=tuple(v[1].ravel().astype(int)), keepdims=o["keep_dims"]),
    "MUL": lambda v, o: v[0] * v[1],
    "PRELU": lambda v, o: np.where(v[0] > 0, v[0], v[0] * v[1]),
    "QUANTIZE": lambda v, o: v[0],
    "RELU": lambda v, o: v[0],  # clamping is left to the activation
    "RELU6": lambda v, o: v[0],
    "SOFTMAX": lambda v, o: softmax(v[0], o["beta"]),
    "SUB": lambda v, o: v[0] - v[1],
    "TANH": lambda v, o: np.tanh(v[0]),
}
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")  # whose third input is a bias
# Operators that only move or select values, and so have no rounding error.
MOVES = (
    *("ARG_MAX", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "MAXIMUM"),
    *("MAX_POOL_2D", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE"),
    *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V"),
    *("SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"),
)
