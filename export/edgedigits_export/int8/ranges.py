"""Activation ranges and the scaling of channels: what the converter would otherwise choose by itself.

Cross-layer equalization: Nagel et al. 2019 (arXiv:1906.04721). Fixed ranges: TFLite's 8-bit specification
(https://ai.google.dev/edge/litert/models/quantization_spec).
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.graph import SAME_RANGE, Graph, Range, Stage, float_weights, run, to_float32

# Output ranges that the 8-bit specification fixes: scale 1/256 and 1/128.
FIXED_RANGES: dict[str, Range] = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


def nudge(low: float, high: float) -> Range:
    """The range nearest to [low, high] in which 256 levels contain zero exactly."""
    low, high = min(low, 0.0), max(high, 1e-6, low + 1e-6)
    step = (high - low) / 255
    zero = round(-low / step)
    return -zero * step, (255 - zero) * step


def leads(logits: FloatArray) -> FloatArray:
    """The top logit minus the second, (m,) float32."""
    ordered = np.sort(logits, 1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def logits_range(drawn: FloatArray, calibration: FloatArray) -> Range:
    """The range of the logits that is expected to change the argmax of the fewest unseen inputs.

    A narrow range makes ties: where both the top and the second logit lie outside. A wide one has a large quantum,
    hence a large rounding error. Every calibration input keeps its argmax: its top logit lies above the lower end, and
    its second below the upper end.

    drawn: (m, classes), the logits of what unseen inputs may be like. calibration: (n, classes).
    """
    ordered = np.sort(drawn, 1)
    lead, tops, seconds = ordered[:, -1] - ordered[:, -2], np.sort(ordered[:, -1]), np.sort(ordered[:, -2])
    near = max(float(np.median(lead)) / 8, 1e-6)
    own = np.sort(calibration, 1)
    low, high = float(own[:, -1].min()), float(own[:, -2].max())
    shares = np.array([0, *np.geomspace(1e-5, 0.05, 40)])
    lows = np.minimum(low, np.quantile(tops, shares)) - near / 2
    highs = np.maximum(high, np.quantile(seconds, 1 - shares)) + near / 2
    ties = np.searchsorted(tops, lows)[:, None] + len(drawn) - np.searchsorted(seconds, highs)
    quantum = (np.maximum(highs, 0) - np.minimum(lows, 0)[:, None]) / 255
    # The other rounding errors of a lead add up to about one quantum of the narrowest range, the logits' own to
    # sqrt(1 / 6) of theirs; an error of standard deviation s changes s / sqrt(2 pi) times the density of leads near
    # zero. Half of the ties are lost, but unseen inputs lie farther out than the drawn ones: all are counted.
    error = np.hypot(quantum[-1, -1], quantum / math.sqrt(6))
    changed = ties + float((lead < near).sum()) / near * error / math.sqrt(2 * math.pi)
    best = np.unravel_index(changed.argmin(), changed.shape)
    return float(lows[best[0]]), float(highs[best[1]])


def equalize(graph: Graph, samples: FloatArray, floor: float, share: float, room: float) -> None:
    """Scale every channel that feeds only the next weighted stage so that its range is [0, 1] (or [-1, 1]).

    samples: (m, ...) float32. floor: channels below this share of the largest are scaled as if they had that size:
    scaling up a small channel would make the weight step of a per-tensor scale coarser. share: of the samples, that a
    channel's range covers. room: factor by which it is wider than that.
    """
    for stage in graph.weighted:
        if stage.after is not None:
            value = np.asarray(run(graph, samples, float_weights, quantized=False)[stage.target])
            top = np.quantile(np.abs(value).reshape(len(value), -1, value.shape[-1]).max(1), share, axis=0) * room
            rescale(stage, 1 / np.maximum(top, floor * max(float(top.max()), 1e-6)))
            stage.limits = nudge(0.0 if stage.activation == "relu" else -1.0, 1.0)


def rescale(stage: Stage, factor: NDArray[Any]) -> None:
    """Multiply the stage's channels by `factor` ((channels,), positive) and divide it out of the next stage."""
    after = stage.after
    assert after is not None
    spread = tf.ones((1, *stage.shape)) / tf.constant(factor, tf.float32)
    for layer in stage.between:
        spread = layer(spread, training=False)
    undo = np.asarray(spread)[0]
    if not isinstance(after.layer, keras.layers.Dense):
        undo = undo[0, 0]
    after.kernel = to_float32(after.kernel * undo.reshape(-1, 1))
    stage.kernel = to_float32(stage.kernel * factor.reshape(stage.kernel.shape[-stage.channels_axes :]))
    stage.bias = to_float32(stage.bias * factor)


def set_ranges(graph: Graph, samples: FloatArray, logits_range: Range) -> None:
    """Set the missing output ranges: that of the samples, a fixed one, or `logits_range`."""
    graph.input_range = nudge(float(samples.min()), float(samples.max()))
    values = run(graph, samples, float_weights, quantized=False)
    for stage in graph.stages:
        if stage.target == graph.logits:
            stage.limits = nudge(*logits_range)
        elif stage.limits is not None:
            continue
        elif stage.target == graph.output or (not stage.weighted and isinstance(stage.layer, SAME_RANGE)):
            stage.limits = None
        elif stage.activation in FIXED_RANGES:
            stage.limits = FIXED_RANGES[stage.activation]
        else:
            value = values[stage.target]
            stage.limits = nudge(float(tf.reduce_min(value)), float(tf.reduce_max(value)))
