from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import edgedigits
from edgedigits.bundle.bundle import MANIFEST, Bundle
from edgedigits.bundle.contract import softmax
from edgedigits.bundle.dataset import to_image
from edgedigits.classifier import Classifier, choose_model
from edgedigits.errors import BundleError, ClosedError, InputError, ModelError, RuntimeUnavailableError
from edgedigits.runtimes.tensors import AnyArray, FloatArray


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
        assert json.dumps(int(one)) == json.dumps(int(classifier.predict(x[:20])[0]))  # as a type checker allows
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


class TestOwnModels:
    """Models of other shapes, outputs and labels than those of the packaged digits."""

    def test_row_major_pictures_are_not_transposed(self, own_bundles: dict[str, Path]) -> None:
        x, y = Bundle(own_bundles["rows"]).inputs()
        pictures = x.reshape(-1, 20, 20)
        with Classifier(own_bundles["rows"]) as opened:
            np.testing.assert_array_equal(opened.predict(pictures), y)
            assert opened.predict(pictures[3]) == y[3]

    @pytest.mark.parametrize("runtime_path", ["fast", "batch"])
    def test_images_and_softmax(self, own_bundles: dict[str, Path], runtime_path: str) -> None:
        bundle = Bundle(own_bundles["softmax"])
        x, golden = bundle.inputs()[0][:5], bundle.golden()[:5]
        with Classifier(bundle) as opened:
            found = opened.probabilities(x) if runtime_path == "batch" else np.stack([*map(opened.probabilities, x)])
            np.testing.assert_allclose(found, golden, atol=1e-6)  # the model's own, not a softmax of a softmax
            np.testing.assert_array_equal(opened.logits(x[..., 0]), opened.logits(x))
            strided = np.asfortranarray(x[0])
            np.testing.assert_array_equal(opened.logits(strided), opened.logits(x[0]))
            assert (opened.input_shape, opened.labels) == ((28, 28, 1), ("cat", "dog", "New York"))
            wanted = "<Classifier softmax: float32.tflite in litert, inputs (28, 28, 1), 3 classes>"
            assert repr(opened) == wanted
            with pytest.raises(InputError, match="NaN or infinity"):
                opened.logits(np.full((28, 28, 1), np.nan, np.float32))

    @pytest.mark.parametrize("artifact", ["float32", "int8"])
    def test_sigmoid(self, own_bundles: dict[str, Path], artifact: str) -> None:
        x, y = Bundle(own_bundles["sigmoid"]).inputs()
        with Classifier(own_bundles["sigmoid"], artifact) as opened:
            probabilities = opened.probabilities(x)
            assert probabilities.shape == (200, 2)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
            assert (opened.predict(x) == y).mean() > 0.97
            assert opened.read(x[0]).label == ("ham", "spam")[int(opened.predict(x[0]))]


def test_a_manifest_with_too_few_labels(bundle_copy: Path) -> None:
    facts = json.loads((bundle_copy / MANIFEST).read_text(encoding="utf-8"))
    (bundle_copy / MANIFEST).write_text(json.dumps({**facts, "labels": ["0", "1"]}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"float32\.tflite: it tells 10 classes apart, the manifest names 2; export"):
        Classifier(bundle_copy)


@pytest.mark.parametrize("bundle", [5, b"robust", ["robust"]])
def test_what_is_no_bundle(bundle: Any) -> None:
    with pytest.raises(
        InputError, match=r"^the bundle is .*; expected a path, the name of a packaged bundle or a Bundle"
    ):
        Classifier(bundle)


class TestPixels:
    def test_uint8_is_understood_by_its_dtype(self, classifier: Classifier, own_bundles: dict[str, Path]) -> None:
        x = Bundle(own_bundles["rows"]).inputs()[0][:9]
        pixels = np.rint(x * 255).astype(np.uint8)
        with Classifier(own_bundles["rows"]) as opened:
            np.testing.assert_array_equal(opened.logits(pixels), opened.logits(x))
            np.testing.assert_array_equal(opened.logits(pixels[0].reshape(20, 20)), opened.logits(x)[0])
        upright = pixels.reshape(-1, 20, 20)
        assert classifier.predict(upright).tolist() == classifier.predict(upright / 255.0).tolist()

    def test_a_model_without_pictures_takes_no_pixels(self, own_bundles: dict[str, Path]) -> None:
        with Classifier(own_bundles["sigmoid"]) as opened:
            with pytest.raises(InputError, match="has dtype uint8; expected float32"):
                opened.logits(np.zeros(5, np.uint8))
            with pytest.raises(InputError, match=r"the picture: the model takes no pictures; .* shape \(5,\)"):
                opened.read(np.zeros((5, 5), np.uint8))

    def test_values_far_outside_the_trained_range(self, classifier: Classifier, x: FloatArray) -> None:
        one, ten = x[0] * np.float32(255), (x[:10] * 255).astype(np.float64)
        for call in (classifier.logits, classifier.predict, classifier.probabilities, classifier.read):
            with pytest.raises(InputError, match=r"trained on values from -0\.132 to 1\.128; .*divide them by 255, or"):
                call(one)
        with pytest.raises(InputError, match="pixels from 0 to 255"):
            classifier.predict(ten)
        with pytest.raises(InputError, match="scale it as the training data were"):
            classifier.logits(x[0] * np.float32(16))
        assert classifier.logits(x[0] * np.float32(5)).shape == (10,)
        lone = x[0].copy()
        lone[0] = 12  # too little for a sum of squares
        with pytest.raises(InputError, match="the input reaches 12, but"):
            classifier.read(lone)

    def test_values_far_outside_in_images(self, own_bundles: dict[str, Path]) -> None:
        with Classifier(own_bundles["softmax"]) as opened, pytest.raises(InputError, match="divide them by 255"):
            opened.predict(np.full((28, 28, 1), 255, np.float32))

    def test_a_bundle_with_the_wrong_scale(self, own_bundles: dict[str, Path], tmp_path: Path) -> None:
        folder = tmp_path / "unscaled"
        shutil.copytree(own_bundles["rows"], folder)
        facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        facts["contract"]["scale"] = 1.0
        (folder / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")
        with Classifier(folder) as opened, pytest.raises(InputError, match="divides pixels by 1: export it again with"):
            opened.read(np.full((20, 20), 255, np.uint8))


class TestRead:
    def test_every_form_of_a_picture(self, classifier: Classifier, unseen: AnyArray, tmp_path: Path) -> None:
        picture = Image.fromarray(255 - unseen[12]).resize((140, 140), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "a.png")
        path = tmp_path / "a.png"
        forms = (path, str(path), path.read_bytes(), picture, np.asarray(picture), np.asarray(picture)[..., None])
        first, *others = [classifier.read(form) for form in forms]
        assert (first.label, first.index, first.sure, first.reasons) == ("1", 1, True, ())
        assert first.top[0] == ("1", first.probability)
        assert [probability for _, probability in first.top] == sorted((p for _, p in first.top), reverse=True)
        assert len(first.top) == 3
        assert others == [first] * 5
        assert len(classifier.read(picture, top=99).top) == 10

    @pytest.mark.parametrize("top", [0, -1, "a", 1.5, None])
    def test_a_number_of_classes_that_makes_no_sense(self, classifier: Classifier, unseen: AnyArray, top: Any) -> None:
        with pytest.raises(InputError, match=r"^top is .*; expected a whole number, 1 or more$"):
            classifier.read(unseen[0], top=top)

    def test_doubts(self, classifier: Classifier, own_bundles: dict[str, Path]) -> None:
        gray = np.full((200, 200), 255, np.uint8)
        for at in (40, 80, 120, 160):
            gray[at : at + 8, 30:170] = gray[30:170, at : at + 8] = 0
        assert "more loops than a digit has" in classifier.read(gray).reasons
        with Classifier(own_bundles["softmax"]) as opened:
            assert opened.read(gray).reasons in ((), ("no class reaches a probability of 80%",))

    @pytest.mark.parametrize(
        ("picture", "message"),
        [
            (5, "^5 is no picture; expected a path, bytes, a Pillow image or a uint8 array"),
            ([1], r"^\[1\] is no picture; expected a path"),
            (Path("none.png"), "none.png: no such file"),
            (b"no picture", "the picture: not a supported picture"),
            (np.zeros((3, 20, 20, 3), np.uint8), "the picture: an array of uint8 of shape .* is no picture"),
            (np.zeros((20, 20), np.int64), "the picture: an array of int64 .*; expected uint8"),
            (np.zeros((2, 400), np.float32), r"has shape \(2, 400\); read takes one picture"),
        ],
    )
    def test_what_is_no_picture(self, classifier: Classifier, picture: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            classifier.read(picture)


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

    def test_what_help_shows(self) -> None:
        for name in ("logits", "predict", "probabilities", "read", "labels", "input_shape"):
            assert getattr(Classifier, name).__doc__

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
            ("float32", "litert", ("float32.tflite", "litert")),
            ("float32", "onnxruntime", ("float32.onnx", "onnxruntime")),
            ("float32", None, ("float32.tflite", "litert")),
        ],
    )
    def test_defaults(self, artifact: str | None, runtime: str | None, expected: tuple[str, str]) -> None:
        chosen, name = choose_model(Bundle(), artifact, runtime)
        assert (chosen.file, name) == expected

    @pytest.mark.parametrize(
        ("artifact", "runtime", "error", "message"),
        [
            ("int8", "onnxruntime", RuntimeUnavailableError, "int8.tflite; choose another artifact or runtime$"),
            (None, "torch", RuntimeUnavailableError, "no runtime is called 'torch'; choose one of litert, "),
            ("int4", None, BundleError, "no artifact 'int4'"),
        ],
    )
    def test_invalid_choices(
        self, artifact: str | None, runtime: str | None, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            choose_model(Bundle(), artifact, runtime)
