from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import edgedigits
from edgedigits.bundle.bundle import MANIFEST, Bundle
from edgedigits.bundle.contract import softmax
from edgedigits.bundle.dataset import to_image
from edgedigits.classifier import Classifier, choose_model
from edgedigits.errors import BundleError, ClosedError, InputError, ModelError, RuntimeUnavailableError
from edgedigits.runtimes.tensors import FloatArray


@pytest.fixture(scope="module")
def classifier() -> Iterator[Classifier]:
    with Classifier() as opened:
        yield opened


class TestPredictions:
    def test_every_form_of_input_agrees(self, classifier: Classifier, x: FloatArray) -> None:
        rows = x[:50]
        images = np.stack([to_image(row) for row in rows])
        expected = classifier.logits(rows)
        for one in (rows, images, images.astype(np.float64), np.asfortranarray(images)):
            np.testing.assert_array_equal(classifier.logits(one), expected)
        for row, image, logits in zip(rows, images, expected, strict=True):
            # A single image may go through other matrix kernels than a batch: tests/runtimes/suite.py.
            np.testing.assert_allclose(classifier.logits(row), logits, rtol=0, atol=1e-4)
            np.testing.assert_allclose(classifier.logits(image), logits, rtol=0, atol=1e-4)

    def test_types_and_shapes(self, classifier: Classifier, x: FloatArray) -> None:
        one, many = classifier.predict(x[0]), classifier.predict(x[:20])  # twenty rows are not one 20x20 image
        assert isinstance(one, np.int64)
        assert isinstance(many, np.ndarray)
        assert (many.shape, str(many.dtype)) == ((20,), "int64")
        logits, probabilities = classifier.logits(x[:20]), classifier.probabilities(x[:20])
        assert logits.shape == probabilities.shape == (20, 10)
        assert logits.dtype == probabilities.dtype == classifier.probabilities(x[0]).dtype == np.float32
        assert many.tolist() == logits.argmax(axis=1).tolist() == probabilities.argmax(axis=1).tolist()

    def test_probabilities_use_the_bundles_temperature(self, bundle_copy: Path, x: FloatArray) -> None:
        facts = json.loads((bundle_copy / MANIFEST).read_text(encoding="utf-8"))
        for calibration, temperature in (({"temperature": 3.0}, 3.0), ({}, 1.0)):
            (bundle_copy / MANIFEST).write_text(json.dumps({**facts, "calibration": calibration}), encoding="utf-8")
            with Classifier(bundle_copy) as opened:
                logits = opened.logits(x[:50])
                np.testing.assert_allclose(opened.probabilities(x[:50]), softmax(logits / temperature), rtol=1e-5)

    @pytest.mark.parametrize("shape", [(399,), (20, 21), (28, 28), (1, 28, 28), (0, 20, 20), (2, 2, 20, 20)], ids=str)
    def test_other_shapes(self, classifier: Classifier, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="the input has shape"):
            classifier.logits(np.zeros(shape, np.float32))


@given(arrays(np.float32, (4, 10), elements=st.floats(-1e6, 1e6, width=32)))
def test_softmax(logits: FloatArray) -> None:
    exact = np.exp(logits.astype(np.longdouble) - logits.max(axis=1, keepdims=True).astype(np.longdouble))
    expected = exact / exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-5, atol=1e-7)


class TestOpening:
    def test_lazy_names_of_the_package(self) -> None:
        assert edgedigits.Classifier is Classifier
        assert edgedigits.Bundle is Bundle
        with pytest.raises(AttributeError, match="no attribute 'Klassifier'"):
            edgedigits.Klassifier  # noqa: B018

    @pytest.mark.parametrize("bundle", [Bundle(), Bundle().path, str(Bundle().path), "notebook"])
    def test_bundle_given(self, bundle: Any, x: FloatArray) -> None:
        with Classifier(bundle, "int8", "litert", threads=2) as opened:
            assert opened.predict(x[1015]) == 2
            assert opened.artifact.file == "int8.tflite"

    def test_after_close(self, x: FloatArray) -> None:
        opened = Classifier()
        opened.close()
        opened.close()
        for use in (opened.logits, opened.predict, opened.probabilities):
            with pytest.raises(ClosedError, match="open a new one"):
                use(x[0])

    def test_manifest_that_promises_something_else(self, bundle_copy: Path) -> None:
        path = bundle_copy / MANIFEST
        facts = json.loads(path.read_text(encoding="utf-8"))
        (int8,) = (a for a in facts["artifacts"] if a["file"] == "int8_full.tflite")
        int8["input"]["zero_point"] += 1
        path.write_text(json.dumps(facts), encoding="utf-8")
        with pytest.raises(ModelError, match=r"int8_full\.tflite: the manifest says .*, litert reports .*; export the"):
            Classifier(bundle_copy, "int8_full", "litert")


class TestChoosing:
    @pytest.mark.parametrize(
        ("artifact", "runtime", "expected"),
        [
            (None, None, ("float32.tflite", "litert")),
            (None, "litert", ("float32.tflite", "litert")),
            (None, "onnxruntime", ("float32.onnx", "onnxruntime")),
            ("int8", None, ("int8.tflite", "litert")),
            ("float32.onnx", None, ("float32.onnx", "onnxruntime")),
            ("int8.tflite", "numpy", ("int8.tflite", "numpy")),
        ],
    )
    def test_defaults(self, artifact: str | None, runtime: str | None, expected: tuple[str, str]) -> None:
        chosen, name = choose_model(Bundle(), artifact, runtime)
        assert (chosen.file, name) == expected

    @pytest.mark.parametrize(
        ("artifact", "runtime", "error", "message"),
        [
            ("int8", "onnxruntime", RuntimeUnavailableError, "onnxruntime does not open int8.tflite; choose another"),
            (None, "torch", RuntimeUnavailableError, "no runtime is called 'torch'; choose one of litert, "),
            ("int4", None, BundleError, "no artifact 'int4'"),
        ],
    )
    def test_invalid_choices(
        self, artifact: str | None, runtime: str | None, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            choose_model(Bundle(), artifact, runtime)
