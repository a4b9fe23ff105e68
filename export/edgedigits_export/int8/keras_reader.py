"""Read a Keras classifier as the graph that is tuned: one stage a layer, batch normalization and ReLU merged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.file import QuantizationError
from edgedigits_export.int8.graph import SAME_RANGE, Graph, Stage, float_weights, run, to_float32

WEIGHTED = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
# A positive factor per channel commutes with these (zero padding would distort the factor at the border).
HOMOGENEOUS = (*SAME_RANGE[:5], keras.layers.Identity, keras.layers.GlobalAveragePooling2D)


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
