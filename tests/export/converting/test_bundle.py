"""Export: the bundle holds what the trained model answers, or there is no bundle."""

from __future__ import annotations

import re
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
from edgedigits_export.converting.artifacts import lost_values
from edgedigits_export.converting.bundle import export_bundle, failures


@pytest.fixture(scope="module")
def exported(small: tuple[Any, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the small model."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    export_bundle(*small, out, name="small", training={"seed": 5})
    return out


def test_any_classifier_of_flat_inputs_is_exported(exported: Path, small: tuple[Any, Any, Any]) -> None:
    import onnx

    model, x, _ = small
    bundle = Bundle(exported)
    bundle.verify()
    manifest, expected = bundle.manifest, np.asarray(model(x))
    assert bundle.names == ("float32.tflite", "int8.tflite", "int8_full.tflite", "float32.onnx")
    assert manifest.labels == ("0", "1", "2")
    assert manifest.training == {"seed": 5}
    np.testing.assert_array_equal(bundle.inputs()[0], x)
    np.testing.assert_array_equal(bundle.golden(), expected)
    assert [a.input.shape for a in manifest.artifacts] == [(7,)] * 4
    assert [a.input.dtype for a in manifest.artifacts] == ["float32", "float32", "int8", "float32"]
    assert [a.quantized for a in manifest.artifacts] == [False, True, True, False]
    assert manifest.artifacts[1].quantum == manifest.artifacts[2].quantum
    facts = {a.file: a.facts for a in manifest.artifacts}
    assert facts["float32.onnx"]["opset"] == onnx_export.OPSET
    assert facts["float32.onnx"]["ir_version"] == onnx_export.IR_VERSION
    assert facts["float32.tflite"]["ops"] == ["FULLY_CONNECTED"]
    assert set(manifest.versions) == {"tensorflow", "keras", "tf2onnx", "onnx", "numpy", "edgedigits"}
    graph = onnx.load(exported / "float32.onnx").graph
    ends = [(t.name, t.type.tensor_type.shape.dim[0].dim_param) for t in (*graph.input, *graph.output)]
    assert ends == [("image", "batch"), ("logits", "batch")]
    with Classifier(exported) as classifier:
        np.testing.assert_allclose(classifier.logits(x), expected, atol=1e-5)


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


@pytest.mark.filterwarnings("default")
def test_the_converters_are_silent_unless_verbose(
    small: tuple[Any, Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_bundle(*small, tmp_path / "bundle", name="small", training={}, plain_int8=True)
    assert capfd.readouterr() == ("", "")
    export_bundle(*small, tmp_path / "bundle", name="small", training={}, plain_int8=True, verbose=True)
    assert capfd.readouterr() != ("", "")


def test_a_new_bundle_replaces_an_older_one(small: tuple[Any, Any, Any], tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    for name in ("older", "newer"):
        export_bundle(*small, out, name=name, training={}, plain_int8=True)
        assert Bundle(out).manifest.name == name
        assert not is_signed(out)
        (out / "manifest.sig").write_bytes(b"of this one")
        assert is_signed(out)
    assert list(tmp_path.iterdir()) == [out]


def test_a_target_or_data_that_do_not_fit_are_refused(small: tuple[Any, Any, Any], tmp_path: Path) -> None:
    model, x, y = small
    (tmp_path / "letters.txt").write_text("dear")
    for out, inputs, message in (
        (tmp_path, x, "holds other files"),
        (tmp_path / "b", x[:, :6], r"takes inputs of shape \(7,\), X has \(6,\)"),
    ):
        with pytest.raises(ExportError, match=message):
            export_bundle(model, inputs, y, out, name="small", training={})
    assert [p.name for p in tmp_path.iterdir()] == ["letters.txt"]


def test_an_artifact_that_differs_fails_the_report_and_the_bundle_says_so(
    small: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    other = keras.models.clone_model(small[0])  # other weights stand in for a broken converter
    convert = onnx_export.convert
    monkeypatch.setattr(onnx_export, "convert", lambda model, verbose: convert(other))
    report = export_bundle(*small, tmp_path / "bundle", name="small", training={}, only=["onnx"])
    (wrong,) = failures(report).values()
    assert not report.passed
    assert re.fullmatch(r"\d+ of 200 inputs differ from Keras, 0 may \(onnxruntime, default kernels\)", wrong)
    bundle = Bundle(tmp_path / "bundle")
    bundle.verify()
    assert bundle.manifest.artifacts[0].facts["fails_parity"] == wrong


def test_a_model_that_no_converter_takes_leaves_no_bundle(
    small: tuple[Any, Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras
    import tensorflow as tf

    numpy = keras.layers.Lambda(
        lambda x: tf.ensure_shape(tf.numpy_function(lambda a: a, [x], tf.float32), (None, 7)), output_shape=(7,)
    )
    model = keras.Sequential([keras.Input((7,)), numpy, keras.layers.Dense(3)])
    notes: list[str] = []
    with pytest.raises(ExportError, match=r"int8_full.tflite cannot be made: .*no bundle was written"):
        export_bundle(model, *small[1:], tmp_path / "bundle", name="odd", training={}, on_note=notes.append)
    assert list(tmp_path.iterdir()) == []
    files = [note.split()[1] for note in notes if note.startswith("warning: ") and "cannot be made" in note]
    assert files == ["float32.tflite", "float32.onnx", "int8.tflite"]
    assert not any("\n" in note for note in notes)
    assert capfd.readouterr() == ("", "")


def test_values_that_one_int8_scale_loses_are_counted() -> None:
    x = np.random.default_rng(0).random((50, 4), np.float32) * np.array([500, 100, 1, 0], np.float32)
    assert lost_values(x) == 1
