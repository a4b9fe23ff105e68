"""Each layer's own error, on real int8 files: the shipped one, random dense ones, and a convolutional one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as s
from dense_models import Layer, write

from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import ModelError
from edgedigits.parity.layers import HEALTHY, LayerError, layer_errors
from edgedigits.parity.text import layers_text
from edgedigits.runtimes.oracle.arithmetic import NumpyAdapter
from edgedigits.runtimes.oracle.reader import read_graph
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.quiet import caught

RUNTIMES = ("numpy", "litert")


@pytest.fixture(scope="session")
def x() -> FloatArray:
    """500 digits on a grained ground, (500, 400): a plain one gives many values that need no rounding at all."""
    digits = Bundle().inputs()[0][::10]
    return (digits + np.random.default_rng(1).normal(0, 0.2, digits.shape)).astype(np.float32)


def converted(model: Any, x: FloatArray, float_ends: bool = False) -> bytes:
    """The converter's own int8 of a Keras model."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if not float_ends:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with caught():
        content: bytes = converter.convert()
    return content


@pytest.fixture(scope="session")
def network() -> Callable[..., Any]:
    """Makes a convolutional Keras model of digits with all that such models mostly have, and random weights."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras = pytest.importorskip("keras")

    def make(batch: int | None = None) -> Any:
        keras.utils.set_random_seed(3)
        layers = keras.layers
        start = keras.Input(batch_shape=(batch, 400))
        h = layers.Reshape((20, 20, 1))(start)
        h = layers.ReLU(name="first_relu")(
            layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(h))
        )
        kept = h
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
    """The same file after a change to its object form."""
    tree = s.ModelT.InitFromObj(s.Model.GetRootAs(bytearray(model), 0))
    change(tree)
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def output_of(tree: Any, code: int, which: int = 0) -> Any:
    """The operator of that code, the which-th of them, and its output tensor."""
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in tree.operatorCodes]
    op = [op for op in tree.subgraphs[0].operators if codes[op.opcodeIndex] == code][which]
    return op, tree.subgraphs[0].tensors[op.outputs[0]]


def by_layer(found: tuple[LayerError, ...]) -> dict[str, LayerError]:
    named = {f"{layer.layer} {layer.operator}": layer for layer in found}
    assert len(named) == len(found)
    return named


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_healthy_model_errs_by_rounding_once(runtime: str) -> None:
    bundle = Bundle()
    report = layer_errors(bundle.read("int8.tflite"), bundle.inputs()[0], runtime)
    assert [layer.layer for layer in report.layers] == ["layer1", "layer2", "logits"]
    assert report.not_measured == ()
    hidden = report.layers[0]
    assert hidden.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.05)
    assert hidden.saturated < 0.01  # tuned: its range is spent where answers are close
    assert hidden.snr_db is not None
    assert hidden.snr_db > 30


def test_both_ways_to_see_the_values_agree(x: FloatArray) -> None:
    model = Bundle().read("int8.tflite")
    assert layer_errors(model, x, "numpy").layers == layer_errors(model, x, "litert").layers


@pytest.mark.parametrize(("y_scale", "healthy"), [(0.05, True), (0.004, False), (0.5, True)])
def test_a_layer_whose_range_is_too_narrow_is_told(y_scale: float, healthy: bool) -> None:
    random = np.random.default_rng(3)
    weights = random.integers(-127, 128, (16, 50), np.int8)
    model = write(0.02, 0, [Layer(weights, np.full(1, 0.002, np.float32), None, y_scale, 0)])
    (found,) = layer_errors(model, random.normal(0, 0.7, (500, 50)).astype(np.float32)).layers
    if healthy:
        assert found.rmse_over_scale == found.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.1)
        assert found.saturated == 0
    else:
        assert found.rmse_over_scale > 10 * HEALTHY
        assert found.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.1)
        assert found.saturated > 0.3
    assert found.snr_db is not None
    assert (found.snr_db > 25) == (y_scale == 0.05)  # too wide a range: coarse quanta


def test_no_error_at_all_has_no_ratio() -> None:
    model = write(1.0, 0, [Layer(np.eye(3, dtype=np.int8), np.ones(1, np.float32), None, 1.0, 0)])
    report = layer_errors(model, np.ones((4, 3), np.float32))
    assert report.layers[0].snr_db is None
    assert report.layers[0].rmse_over_scale == 0
    assert "0.00%       -" in layers_text({"int8.tflite": report})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_float_model_has_no_such_error(runtime: str) -> None:
    with pytest.raises(ValueError, match="float32; expected an int8 one"):
        layer_errors(Bundle().read("float32.tflite"), np.zeros((1, 400), np.float32), runtime)


def test_the_numpy_runtime_refuses_a_convolution_by_name(cnn: bytes, x: FloatArray) -> None:
    with pytest.raises(ModelError, match=r"not supported; the numpy runtime runs FULLY_CONNECTED.*try litert"):
        layer_errors(cnn, x)


def test_each_layer_of_a_convolutional_model_errs_by_rounding_once(cnn: bytes, x: FloatArray) -> None:
    report = layer_errors(cnn, x, "litert")
    assert report.not_measured == ("GELU (bell_1/Gelu)",)
    found = by_layer(report.layers)
    assert list(found)[:6] == [
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
        # Less where many values are far below half a quantum, as products are, and need hardly any rounding.
        least = 0.7 if layer.operator == "MUL" else 0.9
        assert least * HEALTHY < layer.in_range_rmse_over_scale < 1.1 * HEALTHY, layer


@pytest.mark.parametrize(
    ("code", "which", "spoiled"),
    [
        (s.BuiltinOperator.CONV_2D, 0, "first_relu_1 CONV_2D"),
        (s.BuiltinOperator.DEPTHWISE_CONV_2D, 0, "deep_1 DEPTHWISE_CONV_2D"),
        (s.BuiltinOperator.CONV_2D, 1, "point_1 CONV_2D"),
        (s.BuiltinOperator.ADD, 0, "sum_1 ADD"),
        (s.BuiltinOperator.FULLY_CONNECTED, 0, "output FULLY_CONNECTED"),
    ],
)
def test_a_range_too_narrow_stands_out_at_its_layer(
    cnn: bytes, x: FloatArray, code: int, which: int, spoiled: str
) -> None:
    def narrow(tree: Any) -> None:
        _, tensor = output_of(tree, code, which)
        tensor.quantization.scale = tensor.quantization.scale / 8

    healthy, found = (by_layer(layer_errors(model, x, "litert").layers) for model in (cnn, edited(cnn, narrow)))
    assert max(found, key=lambda name: found[name].rmse_over_scale) == spoiled
    assert found[spoiled].rmse_over_scale > 5 * HEALTHY
    assert found[spoiled].saturated > 0.01
    for name in set(list(found)[: list(found).index(spoiled)]):
        assert found[name] == healthy[name]  # what runs before it is as it was


def test_a_channel_with_a_wrong_scale_stands_out_at_its_layer(cnn: bytes, x: FloatArray) -> None:
    def wreck(tree: Any) -> None:
        op, _ = output_of(tree, s.BuiltinOperator.DEPTHWISE_CONV_2D)
        scale = tree.subgraphs[0].tensors[op.inputs[1]].quantization.scale
        scale[np.argmax(scale)] *= 60

    found = by_layer(layer_errors(edited(cnn, wreck), x, "litert").layers)
    assert max(found, key=lambda name: found[name].saturated) == "deep_1 DEPTHWISE_CONV_2D"


def test_a_model_for_one_image_at_a_time(cnn: bytes, network: Callable[..., Any], x: FloatArray) -> None:
    fixed = layer_errors(converted(network(1), x), x[:60], "litert")
    for layer in fixed.layers[:4]:
        assert layer.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.1)
    assert [layer.operator for layer in fixed.layers] == [
        layer.operator for layer in layer_errors(cnn, x[:60], "litert").layers
    ]


def test_float_ends_count_what_the_input_loses(network: Callable[..., Any], x: FloatArray) -> None:
    report = layer_errors(converted(network(), x, float_ends=True), x, "litert")
    first = report.layers[0]
    assert first.operator == "QUANTIZE"
    assert first.in_range_rmse_over_scale == pytest.approx(HEALTHY, rel=0.02)
    assert "DEQUANTIZE" not in {layer.operator for layer in report.layers}


@pytest.mark.parametrize("count", [1, 499, 500])
def test_batches_leave_no_seam(cnn: bytes, x: FloatArray, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import edgedigits.parity.layers

    whole = layer_errors(cnn, x[:count], "litert").layers
    monkeypatch.setattr(edgedigits.parity.layers, "ELEMENTS", 30_000)  # some ten images a batch
    for one, other in zip(whole, layer_errors(cnn, x[:count], "litert").layers, strict=True):
        assert one.rmse_over_scale == pytest.approx(other.rmse_over_scale, rel=1e-9)
        assert one.saturated == other.saturated


def test_what_is_traced_is_what_runs() -> None:
    bundle = Bundle()
    adapter = NumpyAdapter(bundle.read("int8.tflite"), "exact")
    x = adapter.inputs.quantize(bundle.inputs()[0][:50])
    first, *_, last = adapter.trace(x).values()
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(last, adapter.run(x))


def test_a_damaged_convolutional_file_is_refused_or_read(cnn: bytes) -> None:
    r = np.random.default_rng(5)
    for i in range(600):
        data = bytearray(cnn)
        for at in r.integers(0, 3000, r.integers(1, 6)):
            data[at if i % 2 else -1 - at] = r.integers(0, 256)
        with contextlib.suppress(ValueError):
            read_graph(bytes(data[: len(data) - i]))
