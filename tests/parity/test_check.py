from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import GOLDEN, INPUTS, Bundle
from edgedigits.classifier import Classifier
from edgedigits.errors import BundleError, InputError, RuntimeUnavailableError
from edgedigits.parity import metrics
from edgedigits.parity.check import check_parity
from edgedigits.parity.result import ParityReport, ParityRow
from edgedigits.parity.text import parity_text
from edgedigits.pictures.normalization import to_rows
from edgedigits.runtimes.tensors import FloatArray

ROOT = Path(__file__).parents[2]
Replace = Callable[[str, bytes], Path]
ROW_KEYS = {
    "artifact", "runtime", "kernels", "status", "images", "version", "mismatches", "mismatched", "ties", "max_abs_diff",
    "mean_abs_diff", "min_lead_quanta", "errors", "seconds", "signal", "message", "allowed", "passed",
}  # fmt: skip


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.fixture(scope="module")
def report() -> ParityReport:
    """Every artifact of the bundle inside the package, in one runtime each."""
    return check_parity(Bundle(), runtimes=["litert", "onnxruntime"], allow_mismatches=10, workers=2)


@pytest.fixture
def swapped(replace_in_bundle: Replace) -> Bundle:
    """A bundle whose trained model calls image 7 (a 0) what it calls image 4321 (an 8), and the other way round."""
    golden = Bundle().golden()
    golden[[7, 4321]] = golden[[4321, 7]]
    return Bundle(replace_in_bundle(GOLDEN, npz(logits=golden)))


class TestPassing:
    def test_one_row_for_each_kernel_set(self, report: ParityReport) -> None:
        tflite = ["default", "no-delegates", "reference"]
        assert [(row.artifact, row.runtime, row.kernels) for row in report.rows] == [
            *(("float32.tflite", "litert", kernels) for kernels in tflite),
            *(("int8.tflite", "litert", kernels) for kernels in tflite),
            *(("int8_full.tflite", "litert", kernels) for kernels in tflite),
            *(("float32.onnx", "onnxruntime", kernels) for kernels in ("default", "unoptimized")),
        ]

    def test_float_rows_predict_as_the_trained_model(self, report: ParityReport) -> None:
        assert report.passed
        for row in report.rows:
            assert row.status == "ok"
            if not row.artifact.startswith("int8"):
                assert (row.mismatches, row.mismatched, row.ties, row.min_lead_quanta) == (0, (), 0, None)
                assert row.mean_abs_diff is not None
                assert row.max_abs_diff is not None
                assert 0 < row.mean_abs_diff < row.max_abs_diff < 1e-4
                assert row.errors == Bundle().manifest.training["errors"]

    def test_int8_rows(self, report: ParityReport) -> None:
        for row in report.rows:
            if row.artifact.startswith("int8"):
                assert row.mismatches == len(row.mismatched)
                assert row.min_lead_quanta is not None
                assert row.arithmetic is not None
                assert {flip.image for flip in row.ledger} >= set(row.mismatched)
                assert (row.min_lead_quanta <= 0) == (row.mismatches > 0 or row.ties is None or row.ties > 0)

    def test_json(self, report: ParityReport) -> None:
        facts = json.loads(json.dumps(report.to_json(), allow_nan=False))
        assert {"passed", "bundle", "images", "rows"} <= set(facts)
        assert (facts["passed"], facts["images"]) == (True, 5000)
        for row in facts["rows"]:
            assert set(row) >= ROW_KEYS
            assert isinstance(row["mismatched"], list)

    def test_text(self, report: ParityReport) -> None:
        text = parity_text(report)
        assert text.endswith("parity holds: 11 of 11 rows pass, 5000 images each")
        assert text.count("0 of 5000") >= 5

    def test_batches(self) -> None:
        found = check_parity(Bundle(), artifacts=["float32.onnx"], kernels=["default"], batch=7)
        assert [(row.status, row.mismatches) for row in found.rows] == [("ok", 0)]


class TestFailing:
    def test_the_images_that_differ_are_named(self, swapped: Bundle) -> None:
        found = check_parity(swapped, artifacts=["float32.onnx"], kernels=["default"])
        (row,) = found.rows
        assert (row.status, row.mismatches, row.mismatched) == ("ok", 2, (7, 4321))
        assert not row.passed
        assert not found.passed
        text = parity_text(found)
        assert "2 mismatches, images 7, 4321" in text
        assert text.endswith("PARITY FAILS: 0 of 1 rows pass, 5000 images each")

    def test_only_int8_rows_may_be_allowed_mismatches(self, swapped: Bundle) -> None:
        wanted = {"artifacts": ["float32.tflite", "int8.tflite"], "runtimes": ["litert"], "kernels": ["default"]}
        found = check_parity(swapped, **wanted, allow_mismatches=50)  # type: ignore[arg-type]
        single, int8 = found.rows
        assert (single.mismatches, single.passed, single.allowed) == (2, False, 0)
        assert {7, 4321} <= set(int8.mismatched)
        assert (int8.passed, int8.allowed) == (True, 50)
        assert not replace(int8, allowed=len(int8.mismatched) - 1).passed
        assert int8.min_lead_quanta is not None
        assert int8.min_lead_quanta < 0
        assert {
            flip.image: (flip.label, flip.int8_label, flip.kind) for flip in int8.ledger if flip.image in (7, 4321)
        } == {7: (8, 0, "real"), 4321: (0, 8, "real")}
        assert not found.passed

    def test_errors_are_against_the_labels(self, replace_in_bundle: Replace, x: FloatArray) -> None:
        labels = np.full(5000, 3, np.uint8)
        bundle = Bundle(replace_in_bundle(INPUTS, npz(X=x, y=labels)))
        (row,) = check_parity(bundle, artifacts=["float32.onnx"], kernels=["default"]).rows
        assert row.errors == int((bundle.golden().argmax(axis=1) != 3).sum())
        assert row.passed

    def test_golden_outputs_of_another_shape(self, replace_in_bundle: Replace) -> None:
        bundle = Bundle(replace_in_bundle(GOLDEN, npz(logits=np.zeros((5000, 11), np.float32))))
        (row,) = check_parity(bundle, artifacts=["float32.onnx"], kernels=["default"]).rows
        assert (row.status, row.passed) == ("error", False)
        assert "outputs of shape (5000, 10), the trained model's are (5000, 11)" in row.message

    def test_a_model_that_no_runtime_opens(self, replace_in_bundle: Replace) -> None:
        """Its checksum fits, so only the runtime can tell; the other rows go on."""
        bundle = Bundle(replace_in_bundle("float32.onnx", b"no model"))
        found = check_parity(bundle, runtimes=["litert", "onnxruntime"], artifacts=["float32.onnx", "float32.tflite"])
        assert [row.status for row in found.rows] == ["error"] * 2 + ["ok"] * 3
        assert "cannot open this .onnx file" in found.rows[0].message
        assert not found.passed

    def test_a_runtime_that_crashes_is_a_row(self, kill_next_child: Callable[[], None]) -> None:
        kill_next_child()
        seen: list[ParityRow] = []
        found = check_parity(Bundle(), artifacts=["float32.onnx"], on_row=seen.append)
        assert seen == list(found.rows)
        dead, alive = found.rows
        assert (dead.status, dead.signal, dead.mismatches) == ("crashed", "SIGKILL", None)
        assert (alive.status, alive.mismatches) == ("ok", 0)
        assert not found.passed
        assert "float32.onnx in onnxruntime (default): crashed: the runtime crashed (SIGKILL)" in parity_text(found)
        json.dumps(found.to_json(), allow_nan=False)


class TestRefused:
    def test_a_bundle_that_is_replaced_meanwhile(self, bundle_copy: Path) -> None:
        """By one that holds together, such as another export: its rows would be of another model."""
        manifest = bundle_copy / "manifest.json"

        def change(row: ParityRow) -> None:
            manifest.write_bytes(manifest.read_bytes() + b"\n")

        bundle = Bundle(bundle_copy)
        report = check_parity(bundle, runtimes=["litert"], kernels=["default", "reference"], on_row=change)
        assert [row.status for row in report.rows] == ["ok", *["error"] * 5]
        expected = {row.message.partition(": ")[2] for row in report.rows[1:]}
        assert expected == {"manifest.json has changed since the command began; run it again"}
        assert not report.passed

    def test_damaged_bundle(self, bundle_copy: Path) -> None:
        (bundle_copy / "int8.tflite").write_bytes(b"damaged")
        with pytest.raises(BundleError, match=r"int8\.tflite is damaged"):
            check_parity(Bundle(bundle_copy), artifacts=["float32.onnx"])

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"runtimes": ["torch"]}, "no runtime is called 'torch'"),
            ({"kernels": ["fast"]}, "nothing to run: none of the runtimes with kernels fast opens float32.tflite"),
        ],
    )
    def test_nothing_to_run(self, options: dict[str, Any], expected: str) -> None:
        with pytest.raises(RuntimeUnavailableError, match=expected):
            check_parity(Bundle(), **options)

    def test_batch(self) -> None:
        with pytest.raises(InputError, match="batch is 0; expected 1 or more"):
            check_parity(Bundle(), batch=0)


def test_unseen_digits_are_reported_and_fail_nothing() -> None:
    bundle = Bundle()
    images, labels = bundle.unseen(ROOT / "data")
    x = to_rows(images)
    report = check_parity(bundle, runtimes=["numpy"], kernels=["reference"], unseen=ROOT / "data")
    assert report.unseen
    assert report.images == len(x) == len(bundle.golden(unseen=True)) == 5000
    float32, int8, full = report.rows
    assert (float32.mismatches, float32.passed) == (0, True)
    assert int8.passed  # whatever it changes
    assert full.passed
    with Classifier(bundle, "int8.tflite", "numpy", kernels="reference") as classifier:
        assert int8.errors == metrics.errors(classifier.logits(x), labels)


def test_other_unseen_digits_are_refused(tmp_path: Path) -> None:
    with np.load(ROOT / "data" / "unseen.npz") as arrays:
        np.savez_compressed(tmp_path / "unseen.npz", images=arrays["images"][::-1], labels=arrays["labels"])
    with pytest.raises(InputError, match=r"not the digits that .* was exported with"):
        check_parity(Bundle(), runtimes=["numpy"], unseen=tmp_path)
