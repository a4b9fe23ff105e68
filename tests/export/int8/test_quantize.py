"""Parity-aware int8 with real parts: trained models, the real converter, the real runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgedigits.errors import ExportError  # noqa: E402
from edgedigits_export.int8 import fit  # noqa: E402
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


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thirtieth of the work, where only the way matters and not how far it leads."""
    for name, value in (("FLOAT_STEPS", 50), ("GRID_STEPS", 50), ("BLENDS", 2000)):
        monkeypatch.setattr(fit, name, value)


def test_the_digits_model_meets_the_target_and_repeats(trained: tuple[Any, Path], data: Path) -> None:
    inputs = np.load(data / "X.npy")
    lines: list[str] = []
    model = keras.models.load_model(trained[1] / "model.keras")
    result = quantize(model, inputs, progress=lines.append)
    assert (result.mismatches, result.met_target) == (0, True)
    assert result.min_lead_quanta >= 3
    assert len(result.model) <= 14_500
    assert len(lines) >= 4
    assert quantize(model, inputs).model == result.model


def test_per_tensor_meets_the_target(trained: tuple[Any, Path], data: Path) -> None:
    model = keras.models.load_model(trained[1] / "model.keras")
    result = quantize(model, np.load(data / "X.npy"), per_channel=False)
    assert result.met_target
    assert result.facts()["weights"] == "per-tensor"
    for tensor in open_file(result.model).get_tensor_details():
        assert len(tensor["quantization_parameters"]["scales"]) == 1


def test_a_convolutional_model_meets_the_target(data: Path) -> None:
    keras.utils.set_random_seed(5)
    inputs, labels = np.load(data / "X.npy"), np.load(data / "y.npy").ravel() % 10
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
    result = quantize(fitted(keras.Sequential(net), inputs, labels, epochs=4), inputs)
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
    assert (result.method, result.tries) == ("plain", 1)
    assert set(result.facts()) == {
        "method",
        "weights",
        "seed",
        "target_lead",
        "mismatches",
        "min_lead_quanta",
        "tries",
        "met_target",
        "runtime",
    }


def test_the_best_is_kept_when_the_target_is_out_of_reach(dense: Any, made: Any, brief: None) -> None:
    result = quantize(dense, made[0], target_lead=200, max_tries=2)
    assert (result.met_target, result.tries) == (False, 2)
    assert result.model


def test_the_model_is_left_as_it_was_and_nothing_is_printed(
    dense: Any, made: tuple[Any, Any], brief: None, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [weight.copy() for weight in dense.get_weights()]
    capfd.readouterr()
    quantize(dense, made[0], max_tries=1)
    assert capfd.readouterr() == ("", "")
    assert all((a == b).all() for a, b in zip(before, dense.get_weights(), strict=True))


def test_the_tuning_opens_no_file_of_unseen_digits(
    dense: Any, made: tuple[Any, Any], brief: None, opened_files: list[str]
) -> None:
    """Every file that Python opens while tuning is listed; none is data, least of all unseen.npz."""
    quantize(dense, made[0], max_tries=1)
    assert not [path for path in opened_files if "unseen" in path or path.endswith((".npz", ".npy"))]


def test_too_few_inputs(dense: Any, made: tuple[Any, Any]) -> None:
    with pytest.raises(QuantizationError, match=r"3 inputs, expected at least 100.*pass") as caught:
        quantize(dense, made[0][:3])
    assert isinstance(caught.value, ExportError)
    assert "\n" not in str(caught.value)


def test_wrong_shape(dense: Any) -> None:
    with pytest.raises(QuantizationError, match=r"\(200, 20, 20\), expected \(m, 400\)"):
        quantize(dense, np.zeros((200, 20, 20), np.float32))


def test_inputs_not_finite(dense: Any, made: tuple[Any, Any]) -> None:
    inputs = made[0].copy()
    inputs[4, 7] = np.inf
    with pytest.raises(QuantizationError, match="1 of 1500 calibration inputs"):
        quantize(dense, inputs)


@pytest.mark.parametrize("plain", [True, False])
def test_weights_not_finite(made: tuple[Any, Any], plain: bool) -> None:
    model = keras.Sequential([keras.Input((400,)), layers.Dense(10, name="broken")])
    weights = model.get_weights()
    weights[0][3, 4] = np.nan
    model.set_weights(weights)
    with pytest.raises(QuantizationError, match=r"'broken': 1 of .* train"):
        quantize(model, made[0], plain=plain)


@pytest.mark.parametrize("plain", [True, False])
def test_an_op_without_int8(made: tuple[Any, Any], plain: bool) -> None:
    erf = layers.Lambda(lambda x: keras.ops.erfinv(keras.ops.tanh(x) * 0.9))
    model = keras.Sequential([keras.Input((400,)), layers.Dense(8), erf, layers.Dense(10)])
    with pytest.raises(QuantizationError, match="int8") as caught:
        quantize(model, made[0], plain=plain)
    assert "\n" not in str(caught.value)
