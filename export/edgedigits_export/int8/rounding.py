"""Weights on the int8 grid: split channels, choose the grid, and round.

One-shot rounding by least squares: Frantar et al. 2022, GPTQ (arXiv:2210.17323).
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.graph import Graph, Grid, Stage, apply, float_weights, run

MOST_VALUES = 20_000_000  # of the inputs of a stage, which rounding looks at


def split(graph: Graph, spare_bytes: int) -> None:
    """Duplicate the channels of the last hidden Dense layer that influence the logits most, within `spare_bytes`.

    Both copies get half the outgoing weight, and their biases differ by half an output step: together they resolve
    half a step, for a few bytes. Does nothing if the channels do not feed the logits directly.
    """
    head = graph.head
    last = next((stage for stage in graph.weighted if stage.after is head and not stage.between), None)
    dense = keras.layers.Dense
    if last is None or last.limits is None or not isinstance(last.layer, dense) or not isinstance(head.layer, dense):
        return
    # A weight each way, bias, and scale and zero point of weights and bias.
    count = spare_bytes // (last.kernel.shape[0] + head.kernel.shape[1] + 28)
    chosen = np.argsort(-np.linalg.norm(head.kernel, axis=1))[: max(count, 0)]
    quarter = np.float32(last.quantum / 4)
    doubled = np.zeros(len(last.bias), np.float32)
    doubled[chosen] = 1
    last.kernel = np.concatenate([last.kernel, last.kernel[:, chosen]], 1)
    last.bias = np.concatenate([last.bias + quarter * doubled, last.bias[chosen] - quarter])
    halved = head.kernel / (1 + doubled[:, None])
    head.kernel = np.concatenate([halved, halved[chosen]])
    last.shape = (*last.shape[:-1], len(last.bias))


def set_grids(graph: Graph, per_channel: bool) -> None:
    """Give every kernel the converter's grid: 127 steps for the largest magnitude of a channel or tensor."""
    for stage in graph.weighted:
        size = np.abs(stage.kernel)
        axes = tuple(range(size.ndim - stage.channels_axes)) if per_channel else None
        top = np.maximum(size.max(axis=axes, keepdims=True), 1e-9)
        step, ends = np.asarray(top / 127, np.float32), np.asarray(np.sign(stage.kernel) * 127, np.float32)
        stage.grid = Grid(step, size >= top, ends)


def round_to_grid(graph: Graph, samples: FloatArray) -> dict[int, tuple[FloatArray, FloatArray]]:
    """Round stage by stage to minimize the error of each stage's output on quantized inputs.

    samples: (m, ...) float32. Returns integer kernel (float32 dtype) and real bias per stage target.
    """
    exact = run(graph, samples, float_weights, quantized=False)
    chosen: dict[int, tuple[FloatArray, FloatArray]] = {}

    def weights_of(stage: Stage) -> tuple[Any, Any]:
        if stage.target not in chosen:
            return float_weights(stage)
        integers, bias = chosen[stage.target]
        return integers * stage.grid.step, bias

    for stage in graph.weighted:
        given = run(graph, samples, weights_of, until=stage.sources[0])[stage.sources[0]]
        # Compared before the activation: a clipped output would hide half of the error.
        target_output = _linear(stage, exact[stage.sources[0]], stage.kernel, stage.bias)
        integers = np.where(stage.grid.pinned, stage.grid.ends, np.round(stage.kernel / stage.grid.step))
        if stage.channels_axes == 1:
            integers = _least_squares(stage, stage.grid, given, target_output)
        off = target_output - _linear(stage, given, np.float32(integers * stage.grid.step), stage.bias)
        shift = np.asarray(off).reshape(-1, len(stage.bias)).mean(0)
        chosen[stage.target] = np.asarray(integers, np.float32), np.asarray(stage.bias + shift, np.float32)
    return chosen


def _linear(stage: Stage, value: Any, kernel: Any, bias: Any) -> Any:
    return apply(Stage(stage.layer, [], 0, stage.kernel), value, kernel, bias)


def _least_squares(stage: Stage, grid: Grid, given: Any, target_output: Any) -> NDArray[Any]:
    """GPTQ: round the kernel row by row, and adjust the rows that follow to compensate for the error."""
    columns = stage.kernel.shape[-1]
    found = _rows(stage, given)
    every = math.ceil(found.shape[0] * found.shape[1] / MOST_VALUES) | 1  # odd: all columns of a picture have a turn
    rows = np.asarray(found[::every], np.float64)
    target = np.asarray(tf.reshape(target_output, (-1, columns))[::every], np.float64)
    rows, target = rows - rows.mean(0), target - target.mean(0)  # the bias takes the mean
    gram = rows.T @ rows / len(rows)
    gram += np.eye(len(gram)) * (1e-3 * np.trace(gram) / len(gram) + 1e-12)
    exact = stage.kernel.reshape(-1, columns).astype(np.float64)
    exact = exact + np.linalg.solve(gram, rows.T @ (target - rows @ exact) / len(rows))
    step = np.broadcast_to(grid.step, stage.kernel.shape).reshape(-1, columns)
    pinned, ends = grid.pinned.reshape(-1, columns), grid.ends.reshape(-1, columns)
    order = np.argsort(-np.diag(gram))  # the inputs that matter most first
    upper = np.linalg.cholesky(np.linalg.inv(gram[np.ix_(order, order)])).T
    left = (exact / step)[order]
    integers = np.empty_like(left)
    for row, source in enumerate(order):
        rounded = np.clip(np.round(left[row]), -127, 127)
        integers[source] = np.where(pinned[source], ends[source], rounded)
        error = (left[row] - integers[source]) / upper[row, row]
        left[row + 1 :] -= np.outer(upper[row, row + 1 :], error)
    return integers.reshape(stage.kernel.shape)


def _rows(stage: Stage, given: Any) -> Any:
    """The stage's inputs as a matrix: a row per output position, a column per kernel row."""
    layer = stage.layer
    if isinstance(layer, keras.layers.Dense):
        return tf.reshape(given, (-1, given.shape[-1]))
    sizes, strides, rates = ((1, *pair, 1) for pair in (layer.kernel_size, layer.strides, layer.dilation_rate))
    patches = tf.image.extract_patches(given, sizes, strides, rates, layer.padding.upper())
    return tf.reshape(patches, (-1, patches.shape[-1]))
