"""Parity-aware int8: trained models, the real converter, the real runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgedigits.bundle.contract import Contract  # noqa: E402
from edgedigits.parity.metrics import mismatched  # noqa: E402
from edgedigits.runtimes.oracle.reader import read_graph  # noqa: E402
from edgedigits.runtimes.session import Session  # noqa: E402
from edgedigits_export.int8 import fit  # noqa: E402
from edgedigits_export.int8.comparison import ALLOWED  # noqa: E402
from edgedigits_export.int8.file import QuantizationError  # noqa: E402
from edgedigits_export.int8.quantize import quantize  # noqa: E402

layers = keras.layers


def interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(model_content=content)
    engine.allocate_tensors()
    return engine


def fitted(model: Any, inputs: Any, labels: Any, from_logits: bool = True) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    model.compile(optimizer=keras.optimizers.Adam(0.003), loss=loss, steps_per_execution=16)
    model.fit(inputs, labels, epochs=4, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def some(x: Any) -> Any:
    """1250 of the digits, for tests of a brief tuning."""
    return x[::4]


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thirtieth of the tuning, for tests that do not need its target to be met."""
    for name, value in (("FLOAT_STEPS", 50), ("GRID_STEPS", 50), ("BLENDS", 2000)):
        monkeypatch.setattr(fit, name, value)


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
    for operator in read_graph(result.model)[2]:  # LiteRT repeats a scale for each channel as it opens the file
        assert {len(tensor.scale) for tensor in (*operator.inputs, operator.output) if tensor} == {1}


@pytest.mark.slow
def test_a_convolutional_model_is_tuned_without_harm(x: Any, y: Any) -> None:
    """Its third try meets the target, and changes 27 of 5000 held-out predictions; the converter's own file 28."""
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
    result = quantize(fitted(keras.Sequential(net), x, y), x)
    assert result.plain_mismatches > 0
    assert (result.method, result.mismatches) == ("tuned", 0)


def test_softmax_head_and_functional(some: Any, y: Any, brief: None) -> None:
    keras.utils.set_random_seed(5)
    start = keras.Input((400,))
    sides = [layers.Dense(12, "relu")(start), layers.Dense(12, "tanh")(start)]
    model = keras.Model(start, layers.Dense(10, "softmax")(layers.Concatenate()(sides)))
    result = quantize(fitted(model, some, y[::4], from_logits=False), some, max_tries=1)
    assert result.mismatches <= 15
    assert result.tries == 1


def test_a_nested_residual_model_with_one_sigmoid_is_tuned(brief: None) -> None:
    keras.utils.set_random_seed(5)
    start = keras.Input((8, 8, 3))
    norm = [layers.Conv2D(4, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU()]
    inner = keras.Sequential([keras.Input((8, 8, 3)), *norm])(start)
    short, long = layers.Conv2D(6, 1, strides=2)(inner), layers.Conv2D(6, 3, strides=2, padding="same")(inner)
    pooled = layers.GlobalAveragePooling2D()(layers.ReLU()(short + long))
    model = keras.Model(start, layers.Dense(1, "sigmoid")(pooled))
    x = np.random.default_rng(5).normal(size=(200, 8, 8, 3)).astype(np.float32)
    sigmoid = Contract((8, 8, 3), output="sigmoid").scores
    result = quantize(model, x, scores=sigmoid, target_lead=200, max_tries=1)
    assert result.reason.startswith("tuning left") or result.method == "tuned"


def random_classifier(seed: int, steepness: float) -> tuple[Any, Any]:
    """A softmax model that is not trained, and 300 inputs."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((12,)), layers.Dense(16, "relu"), layers.Dense(5, "softmax")])
    model.layers[-1].kernel.assign(model.layers[-1].kernel * steepness)
    return model, np.random.default_rng(seed).normal(size=(300, 12)).astype(np.float32)


@pytest.mark.parametrize(("seed", "steepness"), [(6, 1.0), (7, 4.0)])
def test_held_out_inputs_change_no_more_than_in_the_converters_own_file(
    seed: int, steepness: float, brief: None
) -> None:
    model, x = random_classifier(seed, steepness)
    held_out = np.random.default_rng(0).normal(size=(2000, 12)).astype(np.float32)
    expected, flips, errors = np.asarray(model(held_out)), [], []
    for plain in (True, False):
        result = quantize(model, x, plain=plain, max_tries=2)
        with Session(result.model, "tflite", "litert") as session:
            found = np.stack([session.run(row) for row in held_out])
        flips.append(len(mismatched(found, expected)))
        errors.append(float(np.quantile(np.abs(found - expected).max(axis=1), 0.99)))
    assert flips[1] <= flips[0]
    assert errors[1] <= errors[0] + ALLOWED
    if result.method == "plain":
        assert re.fullmatch(r"tuning flips \d+ of \d+ unseen .*, the converter \d+", result.reason)
    assert result.method == ("tuned" if seed == 7 else "plain")


def test_the_file_takes_any_batch_and_names_its_ends(brief: None) -> None:
    engine = interpreter(quantize(*random_classifier(7, 4.0), max_tries=1).model)
    (source,), (sink,) = engine.get_input_details(), engine.get_output_details()
    assert (source["name"], sink["name"]) == ("input", "logits")
    assert source["dtype"] == sink["dtype"] == np.int8

    def run(integers: Any) -> Any:
        engine.resize_tensor_input(source["index"], integers.shape)
        engine.allocate_tensors()
        engine.set_tensor(source["index"], integers)
        engine.invoke()
        return engine.get_tensor(sink["index"]).astype(int)

    integers = np.random.default_rng(0).integers(-128, 128, (7, 12)).astype(np.int8)
    assert np.abs(run(integers) - np.concatenate([run(row[None]) for row in integers])).max() <= 1


def test_a_brief_tuning(brief: None, capfd: pytest.CaptureFixture[str]) -> None:
    """It keeps the best harmless try if none meets the target, leaves the model alone and prints nothing."""
    model, x = random_classifier(5, 0.3)
    before = [weight.copy() for weight in model.get_weights()]
    capfd.readouterr()
    result = quantize(model, x, max_tries=2)
    assert capfd.readouterr() == ("", "")
    assert (result.method, result.met_target, result.tries) == ("tuned", False, 2)
    assert 0 < result.mismatches < result.plain_mismatches
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_plain_is_the_converters_own(trained: tuple[Any, Path], some: Any) -> None:
    facts = quantize(trained[0].model, some, plain=True).facts()
    assert (facts["method"], facts["tries"]) == ("plain", 1)


def test_what_cannot_be_tuned_is_quantized_by_the_converter(trained: tuple[Any, Path], some: Any) -> None:
    shared = layers.Dense(400, "relu")
    start = keras.Input((400,))
    for model, inputs, reason in (
        (trained[0].model, some[:3], "tuning needs 100 inputs, there are 3"),
        (keras.Model(start, layers.Dense(10)(shared(shared(start)))), some, "several calls"),
        (keras.Sequential([keras.Input((400,)), layers.Dense(10), layers.LeakyReLU()]), some, "before the output"),
    ):
        result = quantize(model, inputs, target_lead=200)
        assert result.method == "plain"
        assert reason in result.reason


def test_what_meets_the_target_is_not_tuned() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, use_bias=False)])
    model.set_weights([np.eye(4, dtype=np.float32)])
    result = quantize(model, np.tile(np.eye(4, dtype=np.float32), (50, 1)))
    assert (result.method, result.mismatches) == ("plain", 0)
    assert result.reason == "it meets the target without tuning"


@pytest.mark.parametrize("plain", [True, False])
def test_an_operator_without_int8_is_refused(some: Any, plain: bool, capfd: pytest.CaptureFixture[str]) -> None:
    erf = layers.Lambda(lambda x: keras.ops.erfinv(keras.ops.tanh(x) * 0.9))
    model = keras.Sequential([keras.Input((400,)), layers.Dense(8), erf, layers.Dense(10)])
    with pytest.raises(QuantizationError, match="int8") as caught:
        quantize(model, some, plain=plain)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
