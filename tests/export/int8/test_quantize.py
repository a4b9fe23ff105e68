"""Parity-aware int8: trained models, the real converter, the real runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgedigits.errors import ExportError  # noqa: E402
from edgedigits_export.int8.file import open_file  # noqa: E402
from edgedigits_export.int8.quantize import QuantizationError, quantize  # noqa: E402

layers = keras.layers


def pictures(count: int, seed: int) -> tuple[Any, Any]:
    """(count, 400) float32 in about [-0.2, 1.3] and (count,) labels 0 to 9: blurred patterns, shifted and noisy."""
    patterns = np.kron(np.random.default_rng(7).random((10, 5, 5)) > 0.6, np.ones((4, 4)))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    moved = np.stack([np.roll(patterns[label], rng.integers(-2, 3, 2), (0, 1)) for label in labels])
    return (moved + rng.normal(0, 0.25, moved.shape)).reshape(count, 400).astype(np.float32), labels


def fitted(model: Any, inputs: Any, labels: Any, from_logits: bool = True, epochs: int = 6) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    model.compile(optimizer=keras.optimizers.Adam(0.003), loss=loss, steps_per_execution=16)
    model.fit(inputs, labels, epochs=epochs, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any]:
    return pictures(1500, 1)


@pytest.fixture(scope="module")
def dense(made: tuple[Any, Any]) -> Any:
    keras.utils.set_random_seed(5)
    net = [keras.Input((400,)), layers.Dense(25, "relu"), layers.Dense(15, "relu"), layers.Dense(10)]
    return fitted(keras.Sequential(net), *made)


@pytest.mark.slow
def test_the_digits_model_meets_the_target_and_repeats(trained: tuple[Any, Path], x: Any) -> None:
    lines: list[str] = []
    model = trained[0].model
    result = quantize(model, x, progress=lines.append)
    assert (result.mismatches, result.met_target) == (0, True)
    assert result.min_lead_quanta >= 3
    assert len(result.model) <= 14_500
    assert len(lines) >= 4
    assert quantize(model, x).model == result.model


@pytest.mark.slow
def test_per_tensor_meets_the_target(trained: tuple[Any, Path], x: Any) -> None:
    result = quantize(trained[0].model, x, per_channel=False)
    assert result.met_target
    assert result.facts()["weights"] == "per-tensor"
    for tensor in open_file(result.model).get_tensor_details():
        assert len(tensor["quantization_parameters"]["scales"]) == 1


@pytest.mark.slow
def test_a_convolutional_model_meets_the_target(x: Any, y: Any) -> None:
    keras.utils.set_random_seed(5)
    net = [
        keras.Input((400,)),
        layers.Reshape((20, 20, 1)),
        layers.Conv2D(8, 3, strides=2, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(0.1),
        layers.Dense(16, "relu"),
        layers.Dense(10),
    ]
    result = quantize(fitted(keras.Sequential(net), x, y, epochs=4), x)
    assert result.met_target, result.facts()


def test_softmax_head_and_functional(made: tuple[Any, Any], brief: None) -> None:
    keras.utils.set_random_seed(5)
    start = keras.Input((400,))
    sides = [layers.Dense(12, "relu")(start), layers.Dense(12, "tanh")(start)]
    model = keras.Model(start, layers.Dense(10, "softmax")(layers.Concatenate()(sides)))
    result = quantize(fitted(model, *made, from_logits=False, epochs=3), made[0], max_tries=1)
    assert result.mismatches <= 15
    assert result.tries == 1


def test_the_file_takes_any_batch_and_names_its_ends(dense: Any, made: tuple[Any, Any], brief: None) -> None:
    engine = open_file(quantize(dense, made[0], max_tries=1).model)
    (source,), (sink,) = engine.get_input_details(), engine.get_output_details()
    assert (source["name"], sink["name"]) == ("input", "logits")
    assert source["dtype"] == sink["dtype"] == np.int8
    integers = np.random.default_rng(0).integers(-128, 128, (7, 400)).astype(np.int8)
    one = []
    for row in integers:
        engine.set_tensor(source["index"], row[None])
        engine.invoke()
        one.append(engine.get_tensor(sink["index"])[0].copy())
    engine.resize_tensor_input(source["index"], integers.shape)
    engine.allocate_tensors()
    engine.set_tensor(source["index"], integers)
    engine.invoke()
    assert np.abs(engine.get_tensor(sink["index"]).astype(int) - np.stack(one)).max() <= 1


def test_plain_is_the_converters_own(dense: Any, made: tuple[Any, Any]) -> None:
    result = quantize(dense, made[0], plain=True)
    assert (result.facts()["method"], result.facts()["tries"]) == ("plain", 1)


def test_a_brief_tuning(
    dense: Any, made: tuple[Any, Any], brief: None, opened_files: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """It keeps the best try if none meets the target, leaves the model alone, prints nothing and reads no data file."""
    before = [weight.copy() for weight in dense.get_weights()]
    capfd.readouterr()
    result = quantize(dense, made[0], target_lead=200, max_tries=2)
    assert capfd.readouterr() == ("", "")
    assert (result.met_target, result.tries) == (False, 2)
    assert all((a == b).all() for a, b in zip(before, dense.get_weights(), strict=True))
    assert not [path for path in opened_files if "unseen" in path or path.endswith((".npz", ".npy"))]


def test_inputs_that_cannot_calibrate_are_refused(dense: Any, made: tuple[Any, Any]) -> None:
    infinite = made[0].copy()
    infinite[4, 7] = np.inf
    for inputs, message in (
        (made[0][:3], r"3 inputs, expected at least 100.*pass"),
        (np.zeros((200, 20, 20), np.float32), r"\(200, 20, 20\), expected \(m, 400\)"),
        (infinite, "1 of 1500 calibration inputs"),
    ):
        with pytest.raises(QuantizationError, match=message) as caught:
            quantize(dense, inputs)
        assert isinstance(caught.value, ExportError)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("plain", [True, False])
def test_an_op_without_int8(made: tuple[Any, Any], plain: bool) -> None:
    erf = layers.Lambda(lambda x: keras.ops.erfinv(keras.ops.tanh(x) * 0.9))
    model = keras.Sequential([keras.Input((400,)), layers.Dense(8), erf, layers.Dense(10)])
    with pytest.raises(QuantizationError, match="int8") as caught:
        quantize(model, made[0], plain=plain)
    assert "\n" not in str(caught.value)
