"""Export: the bundle holds what the trained model answers, or there is no bundle."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import DEFAULT_BUNDLE, Bundle
from edgedigits.classifier import Classifier
from edgedigits.errors import ExportError
from edgedigits.parity.check import check_parity
from edgedigits_export.commands.export import is_signed
from edgedigits_export.converting import onnx as onnx_export
from edgedigits_export.converting.bundle import export_bundle
from edgedigits_export.training import model as models


@pytest.fixture(scope="module")
def exported(small: tuple[Any, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the small model."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    export_bundle(*small, out, name="small", training={"seed": 5})
    return out


def test_any_classifier_of_flat_inputs_is_exported(exported: Path, small: tuple[Any, Any, Any]) -> None:
    bundle = Bundle(exported)
    bundle.verify()
    assert bundle.names == ("float32.tflite", "int8.tflite", "float32.onnx")
    assert bundle.manifest.labels == ("0", "1", "2")
    assert bundle.manifest.training == {"seed": 5}
    np.testing.assert_array_equal(bundle.inputs()[0], small[1])
    np.testing.assert_array_equal(bundle.golden(), np.asarray(small[0](small[1])))
    assert [(a.input.shape, a.input.dtype) for a in bundle.manifest.artifacts] == [
        ((7,), "float32"),
        ((7,), "int8"),
        ((7,), "float32"),
    ]


def test_the_manifest_tells_how_each_artifact_was_made(exported: Path) -> None:
    facts = {a.file: a.facts for a in Bundle(exported).manifest.artifacts}
    assert facts["float32.onnx"]["opset"] == onnx_export.OPSET
    assert facts["float32.onnx"]["ir_version"] == onnx_export.IR_VERSION
    assert facts["float32.tflite"]["ops"] == ["FULLY_CONNECTED"]
    versions = json.loads((exported / "manifest.json").read_text())["versions"]
    assert {"tensorflow", "keras", "tf2onnx", "onnx", "numpy", "edgedigits"} == set(versions)


def test_onnx_has_named_ends_and_a_free_batch(exported: Path) -> None:
    import onnx

    graph = onnx.load(exported / "float32.onnx").graph
    assert [(t.name, t.type.tensor_type.shape.dim[0].dim_param) for t in (*graph.input, *graph.output)] == [
        ("image", "batch"),
        ("logits", "batch"),
    ]


def test_a_second_export_as_a_zip_holds_the_same_bytes(exported: Path, small: tuple[Any, Any, Any]) -> None:
    packed = exported.with_name("bundle.zip")
    export_bundle(*small, packed, name="small", training={"seed": 5})
    Bundle(packed).verify()
    with zipfile.ZipFile(packed) as archive:
        assert sorted(archive.namelist()) == sorted(p.name for p in exported.iterdir())
        for name in archive.namelist():
            assert archive.read(name) == (exported / name).read_bytes(), name
    assert check_parity(Bundle(packed), artifacts=["float32.tflite"], kernels=["default"], runtimes=["litert"]).passed


def test_the_shipped_bundle_is_what_the_pipeline_makes(trained: tuple[Any, Path], data: Path) -> None:
    """The digits, the recipe and the facts; weights may differ in the last bits between machines."""
    shipped = Bundle(DEFAULT_BUNDLE)
    shipped.verify()
    x, y = shipped.inputs()
    np.testing.assert_array_equal(x, np.load(data / "X.npy"))
    np.testing.assert_array_equal(y, np.load(data / "y.npy")[:, 0])
    assert shipped.manifest.training["seed"] == 1234
    assert shipped.manifest.training["errors"] == (shipped.golden().argmax(axis=1) != y).sum() <= 19
    agreement = (shipped.golden().argmax(axis=1) == trained[0].logits.argmax(axis=1)).mean()
    assert agreement > 0.99


def test_the_converters_are_silent(
    small: tuple[Any, Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_bundle(*small, tmp_path / "bundle", name="small", training={})
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("default")
def test_with_verbose_the_converters_talk(
    small: tuple[Any, Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_bundle(*small, tmp_path / "bundle", name="small", training={}, verbose=True)
    out, err = capfd.readouterr()
    assert out + err != ""


def test_a_new_bundle_takes_the_place_of_an_older_one(exported: Path, small: tuple[Any, Any, Any]) -> None:
    assert not is_signed(exported)
    (exported / "manifest.sig").write_bytes(b"of the older one")
    assert is_signed(exported)
    export_bundle(*small, exported, name="renamed", training={"seed": 5})
    assert Bundle(exported).manifest.name == "renamed"
    assert not is_signed(exported)
    assert [p.name for p in exported.parent.iterdir() if p.name.startswith(".")] == []
    export_bundle(*small, exported, name="small", training={"seed": 5})


def test_other_peoples_files_are_never_replaced(small: tuple[Any, Any, Any], tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ExportError, match="holds other files"):
        export_bundle(*small, tmp_path, name="small", training={})
    assert [p.name for p in tmp_path.iterdir()] == ["letters.txt"]


def test_data_of_another_width_is_refused(small: tuple[Any, Any, Any], tmp_path: Path) -> None:
    model, x, y = small
    with pytest.raises(ExportError, match="takes 7 values and X has 6"):
        export_bundle(model, x[:, :6], y, tmp_path / "bundle", name="small", training={})
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_answers_otherwise_stops_the_export(
    small: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    other = keras.models.clone_model(small[0])  # the same network with other weights stands in for a broken converter
    convert = onnx_export.convert
    monkeypatch.setattr(onnx_export, "convert", lambda model: convert(other))
    with pytest.raises(ExportError, match=r"float32.onnx in onnxruntime: \d+ of 200 images answer differently"):
        export_bundle(*small, tmp_path / "bundle", name="small", training={})
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_converted_leaves_no_bundle(
    small: tuple[Any, Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras

    class Odd(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            import tensorflow as tf

            return tf.numpy_function(lambda a: a, [x], tf.float32, stateful=False) + tf.zeros_like(x)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    inputs = keras.Input((7,))
    odd = Odd()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.ops.reshape(odd, (-1, 7))))
    with pytest.raises(ExportError, match=r"float32.tflite: the converter failed .*No bundle was written"):
        export_bundle(model, *small[1:], tmp_path / "bundle", name="odd", training={})
    assert list(tmp_path.iterdir()) == []
    out, err = capfd.readouterr()
    assert "PyFunc" in out + err  # on failure the converter's own words are shown


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda k: k.Sequential([k.Input((4, 4)), k.layers.Flatten(), k.layers.Dense(3)]), "input shape"),
        (lambda k: k.Sequential([k.Input((4,)), k.layers.Dense(1)]), "at least 2 classes"),
        (lambda k: k.Model([a := k.Input((4,)), b := k.Input((4,))], k.layers.Dense(3)(a + b)), "2 inputs"),
    ],
)
def test_models_of_another_form_are_refused(make: Any, message: str) -> None:
    import keras

    with pytest.raises(ExportError, match=message):
        models.check(make(keras), "model.keras")


def test_weights_that_are_not_finite_are_refused() -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.layers[0].kernel.assign(np.full((4, 3), np.nan, np.float32))
    with pytest.raises(ExportError, match="NaN or infinity in the weights"):
        models.check(model, "model.keras")


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_model_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ExportError) as caught:
        models.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_exported_model_answers_through_the_public_api(exported: Path, small: tuple[Any, Any, Any]) -> None:
    model, x, _ = small
    with Classifier(exported) as classifier:
        np.testing.assert_allclose(classifier.logits(x), np.asarray(model(x)), atol=1e-5)
        assert dataclasses.asdict(classifier.artifact.input)["shape"] == (7,)


def test_a_convolutional_model_goes_the_same_way(tmp_path: Path) -> None:
    """Its tensors move as it runs and the numpy runtime has no convolution: neither is in anybody's way."""
    import keras

    keras.utils.set_random_seed(5)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((36,)),
            layers.Reshape((6, 6, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    x = np.random.default_rng(5).normal(size=(150, 36)).astype(np.float32)
    golden = np.asarray(model(x))
    export_bundle(model, x, golden.argmax(axis=1), tmp_path / "conv", name="conv", training={}, plain_int8=True)
    bundle = Bundle(tmp_path / "conv")
    assert all("numpy" not in artifact.runtimes for artifact in bundle.manifest.artifacts)
    assert bundle.artifact("int8.tflite").facts["quantization"]["method"] == "plain"
    with Classifier(bundle, "float32.tflite", "litert") as classifier:
        np.testing.assert_allclose(np.stack([classifier.logits(row) for row in x]), golden, atol=1e-5)
        np.testing.assert_allclose(classifier.logits(x), golden, atol=1e-5)
    report = check_parity(bundle, artifacts=["float32.tflite"], runtimes=["litert", "tflite-runtime"], workers=2)
    assert [row.mismatches for row in report.rows] == [0] * 6
