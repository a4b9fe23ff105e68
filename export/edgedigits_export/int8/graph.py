"""A Keras classifier as int8 arithmetic sees it: weighted stages, activation ranges, weights on a grid.

The converter picks ranges and rounds weights by itself. Here both are chosen beforehand, and the graph it is handed
leaves it nothing to choose: every activation passes a fake-quantization with the chosen range, and every kernel
already lies on the grid (largest magnitude = 127 steps) that the converter would lay over it.

Sources: TFLite's 8-bit specification (https://ai.google.dev/edge/litert/models/quantization_spec); cross-layer
equalization: Nagel et al. 2019 (arXiv:1906.04721); one-shot rounding by least squares: Frantar et al. 2022, GPTQ
(arXiv:2210.17323).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.file import QuantizationError

Span = tuple[float, float]

WEIGHTED = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
# TFLite asks these to keep scale and zero point from input to output, so they get no range of their own.
SAME_SPAN = (
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.ZeroPadding2D,
    keras.layers.Identity,
)
# A positive factor per channel may be moved through these (zero padding would blur the factor at the border).
HOMOGENEOUS = (*SAME_SPAN[:5], keras.layers.Identity, keras.layers.GlobalAveragePooling2D)
# Output ranges that the 8-bit specification fixes: scale 1/256 and 1/128.
FIXED_SPANS: dict[str, Span] = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}

REACH = 0.999  # share of the close calls that an equalized channel's range holds


def nudged(low: float, high: float) -> Span:
    """The range nearest to [low, high] in which 256 levels contain zero exactly."""
    low, high = min(low, 0.0), max(high, 1e-6, low + 1e-6)
    step = (high - low) / 255
    zero = round(-low / step)
    return -zero * step, (255 - zero) * step


@dataclass
class Grid:
    """Where a kernel's integers lie. `step`: real value of one integer, broadcastable to the kernel."""

    step: FloatArray
    pinned: NDArray[np.bool_]  # the largest magnitudes: moved from 127 steps, they would change the converter's step
    ends: FloatArray  # +-127, the pinned values


@dataclass
class Stage:
    """One Keras layer, its tensors by number, and how its output is quantized."""

    layer: keras.layers.Layer
    sources: list[int]
    target: int
    kernel: FloatArray | None = None
    bias: FloatArray | None = None
    activation: str = "linear"
    span: Span | None = None
    after: Stage | None = None  # the next weighted stage, if a factor per channel can be moved into it
    between: list[keras.layers.Layer] = field(default_factory=list)
    grid: Grid | None = None
    shape: tuple[int, ...] = ()  # of one output, without the batch

    @property
    def channels_axes(self) -> int:
        """How many trailing kernel axes number the output channels."""
        return 2 if isinstance(self.layer, keras.layers.DepthwiseConv2D) else 1

    @property
    def quantum(self) -> float:
        """Real value of one output integer."""
        assert self.span is not None
        return (self.span[1] - self.span[0]) / 255


@dataclass
class Graph:
    """Stages in running order; tensor `source` is the input, `logits` and `output` differ by a softmax at most."""

    stages: list[Stage]
    source: int
    logits: int
    output: int
    input_shape: tuple[int, ...]
    model: keras.Model  # keeps the Keras tensors alive whose identities number the tensors here
    input_span: Span = (0.0, 1.0)

    @property
    def weighted(self) -> list[Stage]:
        """The stages that own a kernel."""
        return [stage for stage in self.stages if stage.kernel is not None]

    @property
    def head(self) -> Stage:
        """The stage whose output the logits are."""
        return next(stage for stage in self.stages if stage.target == self.logits)


def read(model: keras.Model) -> Graph:
    """Read a Sequential or Functional classifier; batch normalization and ReLU layers join the stage before them."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise QuantizationError(
            f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs, expected one of each; "
            "export a model with a single input and a single output"
        )
    sequential = isinstance(model, keras.Sequential)
    copy = model if sequential else _copy(model)
    first = tensor = 0 if sequential else id(copy.inputs[0])
    stages: list[Stage] = []
    for layer in copy.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if isinstance(layer, keras.Model):
            raise QuantizationError(f"layer {layer.name!r} is a model in the model; flatten it into single layers")
        # In a Sequential, position says what follows what; its layers' tensors need not be the same objects.
        sources = [tensor] if sequential else [id(t) for t in _as_list(layer.input)]
        tensor = tensor + 1 if sequential else id(layer.output)
        stages += _stage(layer, sources, tensor)
    output = tensor if sequential else id(copy.outputs[0])
    stages = _merge(stages, keep=output)
    last = next(stage for stage in stages if stage.target == output)
    softmax = last.activation == "softmax" or isinstance(last.layer, keras.layers.Softmax)
    logits = last.sources[0] if softmax else output
    graph = Graph(stages, first, logits, output, tuple(copy.inputs[0].shape[1:]), copy)
    if not any(stage.target == logits and stage.kernel is not None for stage in stages):
        raise QuantizationError("the logits do not come from a Dense or convolutional layer; use --plain")
    _link(graph)
    values = run(graph, tf.zeros((1, *graph.input_shape)), floats, quantized=False)
    for stage in graph.stages:
        stage.shape = tuple(values[stage.target].shape[1:])
    return graph


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _copy(model: keras.Model) -> keras.Model:
    """The same model, its layers called once each: the original's may have been called elsewhere too."""
    try:
        copy = keras.models.clone_model(model)
    except (TypeError, ValueError) as error:
        raise QuantizationError("the model has a layer that Keras cannot copy (a Lambda?); use --plain") from error
    copy.set_weights(model.get_weights())
    return copy


def refuse_nan(model: keras.Model) -> None:
    """Raise QuantizationError, naming layer and count, if a weight is NaN or infinite."""
    for layer in model.layers:
        for weight in layer.weights:
            bad = int((~np.isfinite(np.asarray(weight, np.float64))).sum())
            if bad:
                raise QuantizationError(
                    f"layer {layer.name!r}: {bad} of the {weight.name} values are NaN or infinite, expected finite "
                    "weights; train the model again (a smaller learning rate often helps)"
                )


def _stage(layer: keras.layers.Layer, sources: list[int], target: int) -> list[Stage]:
    """One stage, or two where the activation is not one that a weighted op can carry."""
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if not isinstance(layer, WEIGHTED) or getattr(layer, "groups", 1) != 1:
        if isinstance(layer, keras.layers.ReLU) and not layer.negative_slope and not layer.threshold:
            name = {None: "relu", 6.0: "relu6"}.get(layer.max_value, "other")
        return [Stage(layer, sources, target, activation=name)]
    kernel = np.asarray(layer.kernel, np.float32)
    bias = np.asarray(layer.bias, np.float32) if layer.use_bias else np.zeros(_channels(layer, kernel), np.float32)
    if name in ("linear", "relu", "relu6"):
        return [Stage(layer, sources, target, kernel, bias, name)]
    middle = -target  # a number no Keras tensor has
    follower = Stage(keras.layers.Activation(layer.activation), [middle], target, activation=name)
    return [Stage(layer, sources, middle, kernel, bias), follower]


def _channels(layer: keras.layers.Layer, kernel: FloatArray) -> int:
    return int(np.prod(kernel.shape[-2:])) if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel.shape[-1]


def _merge(stages: list[Stage], keep: int) -> list[Stage]:
    """Fold batch normalization and ReLU into the weighted stage that alone feeds them."""
    merged: list[Stage] = []
    for stage in stages:
        before = next((s for s in merged if s.target == stage.sources[0]), None)
        alone = sum(stage.sources[0] in s.sources for s in stages) == 1 and stage.sources[0] != keep
        plain = before is not None and before.kernel is not None and before.activation == "linear" and alone
        if plain and before is not None and isinstance(stage.layer, keras.layers.BatchNormalization):
            _fold(before, stage.layer)
        elif plain and before is not None and stage.kernel is None and stage.activation in ("relu", "relu6"):
            before.activation = stage.activation
        else:
            merged.append(stage)
            continue
        before.target = stage.target
    return merged


def _fold(stage: Stage, norm: keras.layers.BatchNormalization) -> None:
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta, moved into kernel and bias."""
    assert stage.kernel is not None
    assert stage.bias is not None
    factor = 1.0 / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        factor = factor * np.asarray(norm.gamma)
    shift = np.asarray(norm.beta) if norm.center else 0.0
    stage.bias = _single((stage.bias - np.asarray(norm.moving_mean)) * factor + shift)
    stage.kernel = _single(stage.kernel * factor.reshape(stage.kernel.shape[-stage.channels_axes :]))


def _single(value: Any) -> FloatArray:
    return np.asarray(value, np.float32)


def _link(graph: Graph) -> None:
    """Find, per weighted stage, the next one that a factor per channel can be moved into."""
    for stage in graph.weighted:
        tensor, between = stage.target, list[keras.layers.Layer]()
        while tensor != graph.logits and stage.activation != "relu6":
            readers = [s for s in graph.stages if tensor in s.sources]
            if len(readers) != 1:
                break
            if readers[0].kernel is not None:
                stage.after, stage.between = readers[0], between
                break
            if not isinstance(readers[0].layer, HOMOGENEOUS):
                break
            between.append(readers[0].layer)
            tensor = readers[0].target


def run(
    graph: Graph,
    inputs: Any,
    weigh: Callable[[Stage], tuple[Any, Any]],
    quantized: bool = True,
    gains: dict[int, Any] | None = None,
) -> dict[int, Any]:
    """Run the graph; every tensor by number.

    inputs: (m, ...) float32. weigh: kernel and bias of a stage. quantized: activations pass their fake-quantization.
    gains: per stage target, log of a factor per channel that stretches the channel before it is quantized.
    """
    fake = tf.quantization.fake_quant_with_min_max_args
    values = {graph.source: fake(inputs, *graph.input_span) if quantized else inputs}
    for stage in graph.stages:
        given = [values[source] for source in stage.sources]
        value = apply(stage, given[0], *weigh(stage)) if stage.kernel is not None else _call(stage.layer, given)
        if quantized and stage.span is not None:
            if gains and stage.target in gains:
                stretch = tf.exp(gains[stage.target])
                value = fake(value * stretch, *stage.span) / stretch
            else:
                value = fake(value, *stage.span)
        values[stage.target] = value
    return values


def _call(layer: keras.layers.Layer, given: list[Any]) -> Any:
    return layer(given if len(given) > 1 else given[0], training=False)


def apply(stage: Stage, value: Any, kernel: Any, bias: Any) -> Any:
    """The stage's output before its quantization."""
    layer = stage.layer
    if isinstance(layer, keras.layers.Dense):
        value = tf.tensordot(value, kernel, 1) if len(value.shape) > 2 else value @ kernel
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        value = keras.ops.depthwise_conv(value, kernel, layer.strides, layer.padding, None, layer.dilation_rate)
    else:
        value = keras.ops.conv(value, kernel, layer.strides, layer.padding, None, layer.dilation_rate)
    value = value + bias
    if stage.activation == "relu6":
        return tf.nn.relu6(value)
    return tf.nn.relu(value) if stage.activation == "relu" else value


def floats(stage: Stage) -> tuple[Any, Any]:
    """The stage's float kernel and bias (for `run`)."""
    return stage.kernel, stage.bias


def equalize(graph: Graph, samples: FloatArray, floor: float) -> None:
    """Scale every channel that feeds only the next weighted stage so that its range is [0, 1] (or [-1, 1]).

    samples: (m, ...) float32. A thousandth of them may leave the range, which clips. floor: channels smaller than this
    share of the largest are scaled as if they reached it. With one weight step for the whole tensor a small channel,
    scaled up, would coarsen the weights of all others.
    """
    for stage in graph.weighted:
        if stage.after is not None:
            value = np.asarray(run(graph, samples, floats, quantized=False)[stage.target])
            top = np.quantile(np.abs(value).reshape(len(value), -1, value.shape[-1]).max(1), REACH, axis=0)
            rescale(stage, 1 / np.maximum(top, floor * max(float(top.max()), 1e-6)))
            stage.span = nudged(0.0 if stage.activation == "relu" else -1.0, 1.0)


def rescale(stage: Stage, factor: NDArray[Any]) -> None:
    """Multiply the stage's channels by `factor` ((channels,), positive) and divide it out of the next stage."""
    after = stage.after
    assert after is not None
    assert stage.kernel is not None
    assert stage.bias is not None
    assert after.kernel is not None
    spread = tf.ones((1, *stage.shape)) / tf.constant(factor, tf.float32)
    for layer in stage.between:
        spread = layer(spread, training=False)
    undo = np.asarray(spread)[0]
    if not isinstance(after.layer, keras.layers.Dense):
        undo = undo[0, 0]
    after.kernel = _single(after.kernel * undo.reshape(-1, 1))
    stage.kernel = _single(stage.kernel * factor.reshape(stage.kernel.shape[-stage.channels_axes :]))
    stage.bias = _single(stage.bias * factor)


def set_spans(graph: Graph, samples: FloatArray, logits_span: Span) -> None:
    """Give every stage without one its output range: what the samples reach, the fixed ones, and `logits_span`."""
    graph.input_span = nudged(float(samples.min()), float(samples.max()))
    values = run(graph, samples, floats, quantized=False)
    for stage in graph.stages:
        if stage.target == graph.logits:
            stage.span = nudged(*logits_span)
        elif stage.span is not None:
            continue
        elif stage.target == graph.output or (stage.kernel is None and isinstance(stage.layer, SAME_SPAN)):
            stage.span = None
        elif stage.activation in FIXED_SPANS:
            stage.span = FIXED_SPANS[stage.activation]
        else:
            value = values[stage.target]
            stage.span = nudged(float(tf.reduce_min(value)), float(tf.reduce_max(value)))
