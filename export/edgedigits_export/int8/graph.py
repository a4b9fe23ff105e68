"""A Keras classifier as stages of int8 arithmetic: weights, activations and their ranges.

The converter normally chooses ranges and rounds weights itself. Here both are chosen before: in the graph that it
gets, every activation passes a fake-quantization with the chosen range, and every kernel already lies on the
converter's grid (largest magnitude = 127 steps).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.file import QuantizationError

Range = tuple[float, float]

WEIGHTED = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
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
# A positive factor per channel commutes with these (zero padding would distort the factor at the border).
HOMOGENEOUS = (*SAME_RANGE[:5], keras.layers.Identity, keras.layers.GlobalAveragePooling2D)


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
    def head(self) -> Stage:
        """The stage that outputs the logits."""
        return next(stage for stage in self.stages if stage.target == self.logits)


def read(model: keras.Model) -> Graph:
    """Read a classifier, nested models too; batch normalization and ReLU are merged into the stage before.

    Raises QuantizationError if its layers cannot be rewritten.
    """
    copy = _copy(model)
    stages, output = _read(copy, 0, itertools.count(1))
    stages = _merge(stages, keep=output)
    last = next(stage for stage in stages if stage.target == output)
    activated = last.activation in ("softmax", "sigmoid") or isinstance(last.layer, keras.layers.Softmax)
    logits = last.sources[0] if activated else output
    graph = Graph(stages, 0, logits, output, tuple(copy.inputs[0].shape[1:]))
    if not any(stage.target == logits and stage.weighted for stage in stages):
        raise QuantizationError("tuning needs a Dense or convolutional layer before the output")
    _link(graph)
    values = run(graph, tf.zeros((1, *graph.input_shape)), float_weights, quantized=False)
    for stage in graph.stages:
        stage.shape = tuple(values[stage.target].shape[1:])
    return graph


def _read(model: keras.Model, source: int, numbers: Iterator[int]) -> tuple[list[Stage], int]:
    """The stages of a model whose input is tensor `source`, and the number of its output."""
    sequential = isinstance(model, keras.Sequential)
    known = {id(model.inputs[0]): source}  # tensors by their identity; in a Sequential the order connects the layers
    stages: list[Stage] = []
    tensor = source
    for layer in model.layers if sequential else model.operations:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        try:
            sources = [tensor] if sequential else [known[id(t)] for t in _as_list(layer.input)]
        except (AttributeError, ValueError, KeyError) as error:  # Keras's `input` raises both
            raise QuantizationError(
                f"tuning cannot follow the layer {layer.name!r}, which has several calls"
            ) from error
        if isinstance(layer, keras.Model):
            inner, tensor = _read(layer, sources[0], numbers)
            stages += inner
        else:
            tensor = next(numbers)
            stages += _stage(_as_layer(layer), sources, tensor)
        if not sequential:
            known[id(layer.output)] = tensor
    return stages, tensor if sequential else known[id(model.outputs[0])]


def _as_layer(operation: Any) -> keras.layers.Layer:
    """The operation as a layer: `a + b` of two tensors is keras.layers.Add."""
    if isinstance(operation, keras.layers.Layer):
        return operation
    name = type(operation).__name__
    pairs = {"Add": keras.layers.Add, "Subtract": keras.layers.Subtract, "Multiply": keras.layers.Multiply}
    single = {"Softmax": keras.layers.Softmax, "Relu": keras.layers.ReLU}
    if name in pairs and len(_as_list(operation.input)) == 2:
        return pairs[name]()
    if name in single:
        return single[name]()
    raise QuantizationError(f"tuning does not know the operation {name}")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _copy(model: keras.Model) -> keras.Model:
    """A copy in which each layer is called once; those of the original may also be part of another model."""
    if any(isinstance(layer, keras.layers.TFSMLayer) for layer in model.layers):
        raise QuantizationError("tuning needs the layers of a Keras 3 file, a SavedModel has none")
    try:
        copy = keras.models.clone_model(model)
    except (TypeError, ValueError) as error:
        raise QuantizationError("tuning cannot copy one of the layers, such as a Lambda") from error
    copy.set_weights(model.get_weights())
    return copy


def _stage(layer: keras.layers.Layer, sources: list[int], target: int) -> list[Stage]:
    """One stage, or two if TFLite cannot fuse the activation into the weighted op."""
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if not isinstance(layer, WEIGHTED) or getattr(layer, "groups", 1) != 1:
        if isinstance(layer, keras.layers.ReLU) and not layer.negative_slope and not layer.threshold:
            name = {None: "relu", 6.0: "relu6"}.get(layer.max_value, "other")
        return [Stage(layer, sources, target, activation=name)]
    kernel = np.asarray(layer.kernel, np.float32)
    bias = np.asarray(layer.bias, np.float32) if layer.use_bias else np.zeros(_channels(layer, kernel), np.float32)
    if name in ("linear", "relu", "relu6"):
        return [Stage(layer, sources, target, kernel, bias, name)]
    middle = -target  # no Keras tensor has this number
    follower = Stage(keras.layers.Activation(layer.activation), [middle], target, activation=name)
    return [Stage(layer, sources, middle, kernel, bias), follower]


def _channels(layer: keras.layers.Layer, kernel: FloatArray) -> int:
    return int(np.prod(kernel.shape[-2:])) if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel.shape[-1]


def _merge(stages: list[Stage], keep: int) -> list[Stage]:
    """Merge batch normalization and ReLU into a weighted stage before them that has no other reader."""
    merged: list[Stage] = []
    for stage in stages:
        before = next((s for s in merged if s.target == stage.sources[0]), None)
        alone = sum(stage.sources[0] in s.sources for s in stages) == 1 and stage.sources[0] != keep
        mergeable = before is not None and before.weighted and before.activation == "linear" and alone
        if before is not None and mergeable and isinstance(stage.layer, keras.layers.BatchNormalization):
            _fold(before, stage.layer)
            before.target = stage.target
        elif before is not None and mergeable and not stage.weighted and stage.activation in ("relu", "relu6"):
            before.activation = stage.activation
            before.target = stage.target
        else:
            merged.append(stage)
    return merged


def _fold(stage: Stage, norm: keras.layers.BatchNormalization) -> None:
    """Apply gamma (x - mean) / sqrt(variance + epsilon) + beta to kernel and bias."""
    factor = 1.0 / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        factor = factor * np.asarray(norm.gamma)
    shift = np.asarray(norm.beta) if norm.center else 0.0
    stage.bias = to_float32((stage.bias - np.asarray(norm.moving_mean)) * factor + shift)
    stage.kernel = to_float32(stage.kernel * factor.reshape(stage.kernel.shape[-stage.channels_axes :]))


def to_float32(value: Any) -> FloatArray:
    """A NumPy array of dtype float32."""
    return np.asarray(value, np.float32)


def _link(graph: Graph) -> None:
    """Find the next weighted stage of each that can absorb a factor per channel."""
    for stage in graph.weighted:
        tensor, between = stage.target, list[keras.layers.Layer]()
        while tensor != graph.logits and stage.activation != "relu6":
            readers = [s for s in graph.stages if tensor in s.sources]
            if len(readers) != 1:
                break
            if readers[0].weighted:
                stage.after, stage.between = readers[0], between
                break
            if not isinstance(readers[0].layer, HOMOGENEOUS):
                break
            between.append(readers[0].layer)
            tensor = readers[0].target


def run(
    graph: Graph,
    inputs: Any,
    weights_of: Callable[[Stage], tuple[Any, Any]],
    quantized: bool = True,
    gains: dict[int, Any] | None = None,
) -> dict[int, Any]:
    """Run the graph and return every tensor by number.

    inputs: (m, ...) float32. weights_of: returns kernel and bias of a stage. quantized: fake-quantize activations.
    gains: per stage target, log of a factor by which each channel is scaled before it is quantized.
    """
    fake = tf.quantization.fake_quant_with_min_max_args
    values = {graph.source: fake(inputs, *graph.input_range) if quantized else inputs}
    for stage in graph.stages:
        given = [values[source] for source in stage.sources]
        if stage.weighted:
            value = apply(stage, given[0], *weights_of(stage))
        else:
            value = stage.layer(given if len(given) > 1 else given[0], training=False)
        if quantized and stage.limits is not None:
            if gains and stage.target in gains:
                stretch = tf.exp(gains[stage.target])
                value = fake(value * stretch, *stage.limits) / stretch
            else:
                value = fake(value, *stage.limits)
        values[stage.target] = value
    return values


def apply(stage: Stage, value: Any, kernel: Any, bias: Any) -> Any:
    """The stage's output before quantization."""
    layer = stage.layer
    if isinstance(layer, keras.layers.Dense):
        value = tf.tensordot(value, kernel, 1) if len(value.shape) > 2 else value @ kernel
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        value = keras.ops.depthwise_conv(value, kernel, layer.strides, layer.padding, None, layer.dilation_rate)
    elif layer.kernel_size == (1, 1) and not isinstance(kernel, np.ndarray):
        # TensorFlow 2.21 corrupts memory in the gradient of a strided 1x1 convolution (oneDNN); this is the same.
        down, right = layer.strides
        value = keras.ops.conv(value[:, ::down, ::right], kernel)
    else:
        value = keras.ops.conv(value, kernel, layer.strides, layer.padding, None, layer.dilation_rate)
    value = value + bias
    if stage.activation == "relu6":
        return tf.nn.relu6(value)
    return tf.nn.relu(value) if stage.activation == "relu" else value


def float_weights(stage: Stage) -> tuple[Any, Any]:
    """The stage's float kernel and bias (for `run`)."""
    return stage.kernel, stage.bias
