"""Loading: any file of a Keras classifier, and one line for what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgedigits.errors import ExportError  # noqa: E402
from edgedigits_export.converting.loading import check, load, require, with_shape  # noqa: E402
from edgedigits_export.converting.outputs import output_kind  # noqa: E402
from edgedigits_export.training.model import logits_of  # noqa: E402

layers, Input, Model, Sequential = keras.layers, keras.Input, keras.Model, keras.Sequential


class Doubled(keras.layers.Dense):  # type: ignore[misc, name-defined]
    """A layer that another process does not know."""


@pytest.mark.parametrize("kind", ["keras", "h5", "exported", "saved"])
def test_every_kind_of_file_gives_the_same_outputs(
    small: tuple[Any, Any, Any], tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    model, x, _ = small
    path = tmp_path / ("model" if kind in ("exported", "saved") else f"model.{kind}")
    if kind == "saved":
        module = tf.Module()
        module.inner = model
        module.classify = tf.function(lambda x: {"scores": model(x)}, input_signature=[tf.TensorSpec((None, 7))])
        tf.saved_model.save(module, path, signatures=module.classify)
    elif kind == "exported":
        model.export(path, verbose=False)
    else:
        model.save(path)
    capfd.readouterr()
    loaded = load(path)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_allclose(logits_of(loaded, x), logits_of(model, x), atol=1e-6)


def test_a_keras_2_file_needs_tf_keras(tmp_path: Path, hidden: Any, edgedigits: Any) -> None:
    """Written as Keras 2 writes it: with an argument of a layer that Keras 3 does not know."""
    import h5py

    path = tmp_path / "old.h5"
    model = Sequential([Input((4, 4, 1)), layers.DepthwiseConv2D(2), layers.Flatten(), layers.Dense(2)])
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = file.attrs["model_config"].replace('"depth_multiplier"', '"groups": 1, "depth_multiplier"')
        file.attrs["model_config"], file.attrs["keras_version"] = config, "2.15.0"
    done = edgedigits("export", "--model", path, env=hidden("tf_keras"))
    assert done.returncode == 2
    assert "Keras 2.15.0 wrote it" in done.stderr
    assert "pip install 'tf-keras==" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    import h5py

    broken, weights, folder, signed = (tmp_path / n for n in ("m.keras", "w.weights.h5", "folder", "signature"))
    broken.write_bytes(b"PK\x03\x04 half a zip")
    damaged, custom = tmp_path / "damaged.keras", tmp_path / "custom.keras"
    Sequential([Input((4,)), Doubled(3)]).save(custom)
    content = bytearray(custom.read_bytes())
    content[content.index(b"config.json") + 40] ^= 1
    damaged.write_bytes(content)
    with h5py.File(weights, "w") as file:
        file["layer"] = np.zeros(3)
    folder.mkdir()
    signed.mkdir()
    (signed / "saved_model.pb").write_bytes(b"none")
    for path, message in (
        (broken, "not a .keras file, or only a part of one"),
        (damaged, "Keras cannot load it .Bad CRC-32"),
        (custom, "Doubled is not a part of Keras; save the model with model.export"),
        (weights, "weights without the model"),
        (folder, "expected a SavedModel"),
        (signed, "TensorFlow cannot load it"),
        (tmp_path / "none.keras", "no such file"),
    ):
        with pytest.raises(ExportError, match=message) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    require(signed)


def test_models_that_are_no_classifier_are_refused() -> None:
    a, b = Input((4,)), Input((4,))
    nan = keras.initializers.Constant(np.nan)
    for model, message in (
        (Model([a, b], layers.Dense(3)(a + b)), "2 inputs and 1 outputs"),
        (Model(a, [layers.Dense(3)(a), layers.Dense(2)(a)]), "1 inputs and 2 outputs"),
        (Sequential([Input((5, 4)), layers.Dense(3)]), r"output shape \(None, 5, 3\)"),
        (Sequential([Input((4,)), layers.Softmax()]), "without weights"),
        (Sequential([Input((4,)), layers.Dense(1)]), "its one output is linear, as of a regression or a logit"),
        (Sequential([Input((4,)), layers.Dense(3, kernel_initializer=nan)]), "NaN or infinity in the weights"),
    ):
        with pytest.raises(ExportError, match=message):
            check(model, "model.keras")


def test_open_sides_and_other_types_are_settled() -> None:
    pooled = [layers.Conv2D(2, 3), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    model = with_shape(check(Sequential([Input((None, None, 3)), *pooled]), "m"), (8, 9, 3))
    assert model.input_shape == (None, 8, 9, 3)
    with pytest.raises(ExportError, match="takes inputs of shape"):
        with_shape(model, (8, 9))
    whole = Sequential([Input((4,), dtype="uint8"), layers.Rescaling(1 / 255), layers.Dense(3, dtype="float16")])
    settled = check(whole, "m")
    assert (settled.inputs[0].dtype, settled.outputs[0].dtype) == ("float32", "float32")


def ending(*last: Any) -> Any:
    return Sequential([Input((4,)), layers.Dense(6, "relu"), *last])


def test_the_kind_of_output_is_found_and_checked() -> None:
    keras.utils.set_random_seed(3)  # by chance, a few random logits can all lie between 0 and 1
    a = Input((4,))
    hidden = layers.Dense(6, "relu")(a)
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    wide = layers.Lambda(lambda x: x * 1.5)
    for model, expected in (
        (ending(layers.Dense(3)), "logits"),
        (ending(layers.Dense(3, "softmax")), "softmax"),
        (ending(layers.Dense(3), layers.Softmax()), "softmax"),
        (
            ending(Sequential([Input((6,)), layers.Dense(3), layers.Activation("softmax")]), layers.Dropout(0.1)),
            "softmax",
        ),
        (Model(a, keras.ops.softmax(layers.Dense(3)(hidden))), "softmax"),
        (Model(a, layers.Average()([layers.Dense(3, "softmax")(hidden), layers.Dense(3, "softmax")(a)])), "softmax"),
        (ending(layers.Dense(3, "log_softmax")), "logits"),
        (ending(layers.Dense(1, "sigmoid")), "sigmoid"),
        (ending(layers.Dense(1), layers.Activation("sigmoid")), "sigmoid"),
        (ending(layers.Dense(1)), "not a sigmoid"),
        (ending(layers.Dense(1, "tanh")), "not a sigmoid"),
        (ending(layers.Dense(3, "sigmoid")), "several classes"),
        (ending(layers.Dense(3, "sigmoid"), layers.Lambda(lambda x: x)), "do not sum to 1"),
        (ending(layers.Dense(4, "softmax"), layers.Reshape((2, 2)), layers.Softmax(), layers.Flatten()), "sum to 1"),
        (ending(layers.Dense(3, "softmax"), wide), "logits"),
    ):
        outputs = logits_of(model, x)
        if expected in ("logits", "softmax", "sigmoid"):
            assert output_kind(model, outputs) == expected
        else:
            with pytest.raises(ExportError, match=expected):
                output_kind(model, outputs)
