"""A Keras classifier as stages of int8 arithmetic: weights, activations and their ranges.

The converter normally chooses ranges and rounds weights itself. Here both are chosen before: in the graph that it
gets, every activation passes a fake-quantization with the chosen range, and every kernel already lies on the
converter's grid (largest magnitude = 127 steps).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgedigits.runtimes.tensors import FloatArray

Range = tuple[float, float]

# TFLite requires the same scale and zero point for input and output of these, so they have no range of their own.
SAME_RANGE = (
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.ZeroPadding2D,
    keras.layers.Identity,
)


@dataclass
class Grid:
    """The int8 grid of a kernel. `step`: real value of one integer, broadcastable to the kernel."""

    step: FloatArray
    pinned: NDArray[np.bool_]  # the largest magnitudes must stay at 127 steps, or the converter's step would change
    ends: FloatArray  # +-127, the pinned values


@dataclass
class Stage:
    """One Keras layer, its tensors by number, and how its output is quantized."""

    layer: keras.layers.Layer
    sources: list[int]
    target: int
    kernel: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))  # empty in a stage without weights
    bias: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    activation: str = "linear"
    limits: Range | None = None
    after: Stage | None = None  # the next weighted stage, if it can absorb a factor per channel
    between: list[keras.layers.Layer] = field(default_factory=list)
    grid: Grid = field(init=False)  # set_grids() sets it
    shape: tuple[int, ...] = ()  # of one output, without the batch

    @property
    def weighted(self) -> bool:
        """Whether the stage has a kernel."""
        return self.kernel.size > 0

    @property
    def channels_axes(self) -> int:
        """The number of trailing kernel axes that index output channels."""
        return 2 if isinstance(self.layer, keras.layers.DepthwiseConv2D) else 1

    @property
    def quantum(self) -> float:
        """Real value of one output integer."""
        assert self.limits is not None
        return (self.limits[1] - self.limits[0]) / 255


@dataclass
class Graph:
    """Stages in execution order; tensors are numbers. `logits` and `output` differ after a softmax or sigmoid."""

    stages: list[Stage]
    source: int
    logits: int
    output: int
    input_shape: tuple[int, ...]
    input_range: Range = (0.0, 1.0)

    @property
    def weighted(self) -> list[Stage]:
        """The stages with a kernel."""
        return [stage for stage in self.stages if stage.weighted]

    @property
    def multiplications(self) -> int:
        """Of a weight and a value, for one input."""
        return sum(stage.kernel.size * math.prod(stage.shape[:-1]) for stage in self.weighted)

    @property
    def activations(self) -> int:
        """The outputs of all stages, for one input."""
        return sum(math.prod(stage.shape) for stage in self.stages)

    @property
    def head(self) -> Stage:
        """The stage that outputs the logits."""
        return next(stage for stage in self.stages if stage.target == self.logits)


def to_float32(value: Any) -> FloatArray:
    """A NumPy array of dtype float32."""
    return np.asarray(value, np.float32)


def run(
    graph: Graph,
    inputs: Any,
    weights_of: Callable[[Stage], tuple[Any, Any]],
    quantized: bool = True,
    gains: dict[int, Any] | None = None,
    until: int | None = None,
) -> dict[int, Any]:
    """Run the graph and return every tensor by number.

    inputs: (m, ...) float32. weights_of: returns kernel and bias of a stage. quantized: fake-quantize activations.
    gains: per stage target, log of a factor by which each channel is scaled before it is quantized. until: the tensor
    after which to stop.
    """
    fake = tf.quantization.fake_quant_with_min_max_args
    values = {graph.source: fake(inputs, *graph.input_range) if quantized else inputs}
    for stage in graph.stages:
        if until in values:
            break
        given = [values[source] for source in stage.sources]
        gain = gains.get(stage.target) if gains else None
        if stage.weighted:
            kernel, bias = weights_of(stage)
            if gain is not None and not isinstance(stage.layer, keras.layers.Dense):  # faster than on its many outputs
                factor = tf.exp(gain)
                kernel, bias = kernel * tf.reshape(factor, kernel.shape[-stage.channels_axes :]), bias * factor
            value = apply(stage, given[0], kernel, bias)
        else:
            value = stage.layer(given if len(given) > 1 else given[0], training=False)
        if quantized and stage.limits is not None:
            if gain is None:
                value = fake(value, *stage.limits)
            elif isinstance(stage.layer, keras.layers.Dense):
                stretch = tf.exp(gain)
                value = fake(value * stretch, *stage.limits) / stretch
            else:
                value = fake(value, *stage.limits) * tf.exp(-gain)
        values[stage.target] = value
    return values


def apply(stage: Stage, value: Any, kernel: Any, bias: Any) -> Any:
    """The stage's output before quantization."""
    layer = stage.layer
    if isinstance(layer, keras.layers.Dense):
        value = (tf.tensordot(value, kernel, 1) if len(value.shape) > 2 else value @ kernel) + bias
    else:
        value = tf.nn.bias_add(_convolve(layer, value, kernel), bias)
    if stage.activation == "relu6":
        return tf.nn.relu6(value)
    return tf.nn.relu(value) if stage.activation == "relu" else value


def _convolve(layer: Any, value: Any, kernel: Any) -> Any:
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return keras.ops.depthwise_conv(value, kernel, layer.strides, layer.padding, None, layer.dilation_rate)
    if layer.kernel_size == (1, 1) and not isinstance(kernel, np.ndarray):
        # TensorFlow 2.21 corrupts memory in the gradient of a strided 1x1 convolution (oneDNN); this is the same.
        down, right = layer.strides
        return keras.ops.conv(value[:, ::down, ::right], kernel)
    return keras.ops.conv(value, kernel, layer.strides, layer.padding, None, layer.dilation_rate)


def float_weights(stage: Stage) -> tuple[Any, Any]:
    """The stage's float kernel and bias (for `run`)."""
    return stage.kernel, stage.bias
