"""The error of each layer, on real int8 files: the packaged model, random dense ones and a convolutional one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as s
from dense_models import Layer, write

from edgedigits.bundle.bundle import Bundle
from edgedigits.parity.layers import HEALTHY, LayerError, layer_errors
from edgedigits.parity.text import layers_text
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.quiet import suppress_output

RUNTIMES = ("numpy", "litert")


@pytest.fixture(scope="session")
def x() -> FloatArray:
    """500 digits with noise, (500, 400): on a plain background many values need no rounding."""
    digits = Bundle().inputs()[0][::10]
    return (digits + np.random.default_rng(1).normal(0, 0.2, digits.shape)).astype(np.float32)


def converted(model: Any, x: FloatArray, float_ends: bool = False) -> bytes:
    """A Keras model as TensorFlow's converter quantizes it."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if not float_ends:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with suppress_output():
        content: bytes = converter.convert()
    return content


@pytest.fixture(scope="session")
def network() -> Callable[..., Any]:
    """Build a convolutional Keras model with the usual operators and random weights."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras = pytest.importorskip("keras")

    def make(batch: int | None = None) -> Any:
        keras.utils.set_random_seed(3)
        layers = keras.layers
        start = keras.Input(batch_shape=(batch, 400))
        h = layers.Reshape((20, 20, 1))(start)
        h = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(h))
        h = kept = layers.ReLU(name="first_relu")(h)
        h = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="deep")(h)
        h = layers.Conv2D(8, 1, name="point")(h)
        h = layers.MaxPooling2D(2, strides=1)(layers.ZeroPadding2D(((1, 0), (0, 1)))(h))
        h = layers.Add(name="sum")([h, kept])
        h = layers.AveragePooling2D(2, padding="same", name="pool")(h)
        h = layers.Conv2D(12, 3, padding="same", activation="relu", name="wide")(h)
        h = layers.Activation("gelu", name="bell")(h)
        h = layers.Conv2D(12, 2, dilation_rate=2, activation="silu", name="apart")(h)
        h = layers.Concatenate()([layers.GlobalAveragePooling2D(name="mean")(h), layers.GlobalAveragePooling2D()(kept)])
        return keras.Model(start, layers.Dense(10, name="last")(h))

    return make


@pytest.fixture(scope="session")
def cnn(network: Callable[..., Any], x: FloatArray) -> bytes:
    return converted(network(), x)


def edited(model: bytes, change: Callable[[Any], None]) -> bytes:
    """The file after a change to its object form."""
    tree = s.ModelT.InitFromObj(s.Model.GetRootAs(bytearray(model), 0))
    change(tree)
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operator(tree: Any, code: int, index: int = 0) -> Any:
    """The operator with that code; the first unless ``index`` is given."""
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in tree.operatorCodes]
    return [op for op in tree.subgraphs[0].operators if codes[op.opcodeIndex] == code][index]


def by_layer(layers: tuple[LayerError, ...]) -> dict[str, LayerError]:
    named = {f"{layer.layer} {layer.operator}": layer for layer in layers}
    assert len(named) == len(layers)
    return named


def test_packaged_model() -> None:
    bundle = Bundle()
    by_numpy, by_litert = (layer_errors(bundle.read("int8_full.tflite"), bundle.inputs()[0], r) for r in RUNTIMES)
    assert by_numpy.layers == by_litert.layers
    assert [layer.layer for layer in by_numpy.layers] == ["layer1", "layer2", "logits"]
    assert by_numpy.not_measured == ()
    hidden = by_numpy.layers[0]
    assert hidden.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.05)
    assert hidden.saturated < 0.01  # tuned: the range covers the values that decide
    assert hidden.snr_db is not None
    assert hidden.snr_db > 30


@pytest.mark.parametrize(("y_scale", "healthy"), [(0.05, True), (0.004, False), (0.5, True)])
def test_narrow_and_wide_ranges(y_scale: float, healthy: bool) -> None:
    random = np.random.default_rng(3)
    weights = random.integers(-127, 128, (16, 50), np.int8)
    model = write(0.02, 0, [Layer(weights, np.full(1, 0.002, np.float32), None, y_scale, 0)])
    (found,) = layer_errors(model, random.normal(0, 0.7, (500, 50)).astype(np.float32)).layers
    assert found.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.1)
    if healthy:
        assert found.rmse_over_scale == found.in_range_rmse_over_scale
        assert found.saturated == 0
    else:
        assert found.rmse_over_scale > 10 * HEALTHY
        assert found.saturated > 0.3
    assert found.snr_db is not None
    assert (found.snr_db > 25) == (y_scale == 0.05)  # a range too wide has coarse quanta


def test_a_sigmoid(own_bundles: dict[str, Path]) -> None:
    bundle = Bundle(own_bundles["sigmoid"])
    report = layer_errors(bundle.read("int8.tflite"), bundle.inputs()[0], "litert")
    assert [layer.operator for layer in report.layers] == ["FULLY_CONNECTED", "LOGISTIC"]
    assert all(layer.rmse_over_scale < 0.4 for layer in report.layers)


def test_snr_is_none_without_an_error() -> None:
    model = write(1.0, 0, [Layer(np.eye(3, dtype=np.int8), np.ones(1, np.float32), None, 1.0, 0)])
    report = layer_errors(model, np.ones((4, 3), np.float32))
    assert report.layers[0].snr_db is None
    assert report.layers[0].rmse_over_scale == 0
    assert "0.00%       -" in layers_text({"int8.tflite": report})


def test_float_model_is_refused() -> None:
    with pytest.raises(ValueError, match="float32; expected an int8 model"):
        layer_errors(Bundle().read("float32.tflite"), np.zeros((1, 400), np.float32))


def test_convolutional_model(cnn: bytes, x: FloatArray) -> None:
    report = layer_errors(cnn, x, "litert")
    assert report.not_measured == ("GELU (bell_1/Gelu)",)
    assert list(by_layer(report.layers))[:6] == [
        "first_relu_1 CONV_2D",
        "deep_1 DEPTHWISE_CONV_2D",
        "point_1 CONV_2D",
        "sum_1 ADD",
        "pool_1 AVERAGE_POOL_2D",
        "wide_1 CONV_2D",
    ]
    operators = {layer.operator for layer in report.layers}
    assert operators >= {"LOGISTIC", "MUL", "MEAN", "FULLY_CONNECTED"}
    assert not operators & {"RESHAPE", "PAD", "MAX_POOL_2D", "CONCATENATION", "STRIDED_SLICE", "SPACE_TO_BATCH_ND"}
    for layer in report.layers:
        assert layer.saturated < 0.001
        # Products are often far below half a quantum and hardly need rounding.
        least = 0.7 if layer.operator == "MUL" else 0.9
        assert least * HEALTHY < layer.in_range_rmse_over_scale < 1.1 * HEALTHY, layer


@pytest.mark.parametrize(
    ("code", "index", "name"),
    [
        (s.BuiltinOperator.CONV_2D, 1, "point_1 CONV_2D"),
        (s.BuiltinOperator.ADD, 0, "sum_1 ADD"),
        (s.BuiltinOperator.FULLY_CONNECTED, 0, "output FULLY_CONNECTED"),
    ],
)
def test_narrow_range_shows_at_its_layer(cnn: bytes, x: FloatArray, code: int, index: int, name: str) -> None:
    def narrow(tree: Any) -> None:
        quantization = tree.subgraphs[0].tensors[operator(tree, code, index).outputs[0]].quantization
        quantization.scale = quantization.scale / 8

    healthy, found = (by_layer(layer_errors(model, x, "litert").layers) for model in (cnn, edited(cnn, narrow)))
    assert max(found, key=lambda layer: found[layer].rmse_over_scale) == name
    assert found[name].rmse_over_scale > 5 * HEALTHY
    assert found[name].saturated > 0.01
    for earlier in list(found)[: list(found).index(name)]:
        assert found[earlier] == healthy[earlier]


def test_model_with_a_fixed_batch_of_one(cnn: bytes, network: Callable[..., Any], x: FloatArray) -> None:
    fixed, free = (layer_errors(model, x[:60], "litert").layers for model in (converted(network(1), x), cnn))
    assert [layer.operator for layer in fixed] == [layer.operator for layer in free]
    for layer in fixed[:4]:
        assert layer.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.1)


def test_float_input_is_quantized_with_an_error(network: Callable[..., Any], x: FloatArray) -> None:
    layers = layer_errors(converted(network(), x, float_ends=True), x, "litert").layers
    assert layers[0].operator == "QUANTIZE"
    assert layers[0].in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.02)
    assert "DEQUANTIZE" not in {layer.operator for layer in layers}


def test_batches_add_up(cnn: bytes, x: FloatArray, monkeypatch: pytest.MonkeyPatch) -> None:
    import edgedigits.parity.layers

    whole = layer_errors(cnn, x[:99], "litert").layers
    monkeypatch.setattr(edgedigits.parity.layers, "ELEMENTS", 30_000)  # about ten images per batch
    for one, other in zip(whole, layer_errors(cnn, x[:99], "litert").layers, strict=True):
        assert one.rmse_over_scale == pytest.approx(other.rmse_over_scale, rel=1e-9)
        assert one.saturated == other.saturated
