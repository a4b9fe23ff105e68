"""A model of a user's own, exported by the command: 400 inputs by rows, 300 classes, a softmax; its int8 flips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgedigits.bundle.bundle import Bundle  # noqa: E402
from edgedigits.classifier import Classifier  # noqa: E402
from edgedigits.errors import EdgeDigitsError  # noqa: E402
from edgedigits_export.commands.export import export  # noqa: E402

CLASSES = 300


class Own(NamedTuple):
    """The model with its inputs and labels, the arguments of its export, the status that it ended with, the bundle."""

    model: Any
    x: Any
    y: Any
    arguments: list[str]
    status: int
    bundle: Bundle


def run(*arguments: object) -> int:
    try:
        export.main([str(argument) for argument in arguments], standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    folder = tmp_path_factory.mktemp("own")
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((400,)), keras.layers.Dense(CLASSES, "softmax")])
    x = np.random.default_rng(3).random((600, 400))
    y = np.arange(600) % CLASSES
    model.save(folder / "model.keras")
    (folder / "history.json").write_text(json.dumps({"recipe": "notebook", "model_sha256": "of another model"}))
    np.savez(folder / "data.npz", X=x, y=y)
    (folder / "names.txt").write_text("".join(f"class {i}\n" for i in range(CLASSES)))
    arguments = ["--model", str(folder / "model.keras"), "--data", str(folder / "data.npz"), "--plain"]
    chosen = ["--only", "tflite", "--only", "int8.tflite", "--labels", str(folder / "names.txt")]
    status = run(*arguments, *chosen, "--out", folder / "bundle")
    return Own(model, x.astype(np.float32), y, arguments, status, Bundle(folder / "bundle"))


def test_a_softmax_is_applied_once(own: Own) -> None:
    expected = np.asarray(own.model(own.x))
    assert own.bundle.manifest.contract.output == "softmax"
    with Classifier(own.bundle.path, artifact="float32.tflite", runtime="litert") as classifier:
        np.testing.assert_allclose(classifier.probabilities(own.x), expected, atol=1e-4)


def test_400_inputs_are_no_digits_unless_a_recipe_made_the_model(own: Own) -> None:
    contract = own.bundle.manifest.contract
    assert (contract.pictures, contract.order) == ("none", "rows")


def test_300_classes_keep_their_labels_and_names(own: Own) -> None:
    assert (own.bundle.inputs()[1] == own.y).all()
    assert own.bundle.manifest.labels[299] == "class 299"


def test_an_artifact_that_fails_parity_ends_with_1_and_the_bundle_says_so(own: Own) -> None:
    own.bundle.verify()
    assert own.status == 1
    facts = {artifact.file: artifact.facts for artifact in own.bundle.manifest.artifacts}
    assert set(facts) == {"float32.tflite", "int8.tflite"}
    assert "fails_parity" not in facts["float32.tflite"]
    assert "inputs differ from Keras, 0 may" in facts["int8.tflite"]["fails_parity"]


def test_allowed_mismatches_and_plain_pictures(own: Own, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--only", "int8.tflite", "--allow-mismatches", 600, "--pictures", "plain")
    assert run(*own.arguments, *options, "--order", "columns", "--out", tmp_path / "b.zip") == 0
    assert "fails parity" not in capsys.readouterr().out
    contract = Bundle(tmp_path / "b.zip").manifest.contract
    assert (contract.pictures, contract.order, contract.scale) == ("plain", "columns", 255.0)


def test_options_that_do_not_fit_are_refused_before_the_conversion(own: Own, tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text("cat\ncat\n")
    (tmp_path / "few.txt").write_text("cat\ndog\n")
    for options, message in (
        (["--only", "int9"], "expected tflite, int8, onnx"),
        (["--labels", tmp_path / "twice.txt"], "'cat' is there twice"),
        (["--labels", tmp_path / "few.txt"], "2 classes"),
        (["--pictures", "digits", "--order", "rows"], r"not \(400,\) by columns"),
        (["--scale", "255"], "goes with --pictures plain"),
        (["--order", "columns"], "goes with --pictures plain or digits only"),
    ):
        with pytest.raises(EdgeDigitsError, match=message):
            run(*own.arguments, *options, "--out", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
