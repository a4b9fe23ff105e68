from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.parity.check import KERNELS, check_parity, identify_rounding, list_flips
from edgedigits.parity.result import kernel_text
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import FloatArray

INT8 = Bundle().artifact("int8.tflite")
SCALE = INT8.quantum or 0.0


class Oracle:
    """The numpy runtime on the images whose roundings differ most, and which kernel sets it was asked for."""

    def __init__(self, x: FloatArray, failing: tuple[str, ...] = ()) -> None:
        self.x, self.failing = x, failing
        self.asked: list[str] = []

    def __call__(self, kernels: str) -> FloatArray | None:
        self.asked.append(kernels)
        return None if kernels in self.failing else self.logits(kernels)

    def logits(self, kernels: str) -> FloatArray:
        with Session(Bundle().read("int8.tflite"), "tflite", "numpy", kernels=kernels) as session:
            return session.run(self.x)


@pytest.fixture(scope="module")
def images(x: FloatArray) -> FloatArray:
    return x[:1000]


def test_every_kernel_set_is_known() -> None:
    assert set(KERNELS) == set(RUNTIMES["numpy"].kernels)


def test_a_row_is_named_after_the_set_it_equals(images: FloatArray) -> None:
    oracle = Oracle(images)
    ruy, reference = oracle.logits("ruy"), oracle.logits("reference")
    assert identify_rounding([ruy, reference], SCALE, {}, oracle) == ["ruy", "reference"]
    assert oracle.asked == ["exact", "ruy", "reference"]  # and no further


def test_a_set_that_is_known_is_not_computed_again(images: FloatArray) -> None:
    oracle = Oracle(images)
    known: dict[str, FloatArray | None] = {kernels: oracle.logits(kernels) for kernels in KERNELS}
    assert identify_rounding([oracle.logits("exact")], SCALE, known, oracle) == ["exact"]
    assert oracle.asked == []


def test_a_row_that_equals_none_shows_the_difference_in_quanta(images: FloatArray) -> None:
    broken = Oracle(images).logits("exact")
    broken[3, 4] -= 3 * np.float32(SCALE)
    expected = "unknown: 1 logits differ from exact, by up to 3 quanta"
    assert identify_rounding([broken], SCALE, {}, Oracle(images)) == [expected]
    assert identify_rounding([broken], SCALE, {}, Oracle(images, failing=("ruy",))) == [expected]


def test_a_model_that_the_numpy_runtime_cannot_run_has_no_name(images: FloatArray) -> None:
    oracle = Oracle(images, failing=("exact",))
    assert identify_rounding([oracle.logits("ruy")], SCALE, {}, oracle) == [None]
    assert oracle.asked == ["exact"]


def test_how_far_kernels_differ_is_measured_on_this_model() -> None:
    """The leads of this bundle exceed it; where they do not, parity says so, and more images count as near-ties."""
    bundle = Bundle("robust")
    report = check_parity(bundle, artifacts=["int8.tflite"], runtimes=["numpy"], batch=5000)
    content, scale = bundle.read("int8.tflite"), bundle.artifact("int8.tflite").quantum
    found = []
    for kernels in RUNTIMES["numpy"].kernels:
        with Session(content, "tflite", "numpy", kernels=kernels) as session:
            found.append(session.run(bundle.inputs()[0]) / np.float32(scale or 0))
    quanta = max(np.abs(a - b).max() for a in found for b in found)
    assert {row.kernel_quanta for row in report.rows} == {round(quanta)}
    (line,) = kernel_text(report.rows)
    assert f"its 4 rows: logits differ by up to {quanta:.0f} quanta, leads by up to " in line
    assert line.endswith("exceeds that")
    close = [replace(row, min_lead_quanta=row.kernel_lead_quanta) for row in report.rows]
    assert kernel_text(close)[0].endswith("does not exceed that, so other kernels may change a prediction")
    assert kernel_text(check_parity(bundle, runtimes=["numpy"], kernels=["exact"], batch=5000).rows) == []


def test_a_near_tie_is_within_what_kernels_differ_by() -> None:
    golden = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0]], np.float32)
    logits = np.array([[3.0, 0.0], [2.0, 0.0], [0.0, 4.0]], np.float32)
    assert [(flip.image, flip.kind) for flip in list_flips(logits, golden, 1.0)] == [(2, "real")]
    kinds = [(flip.image, flip.kind) for flip in list_flips(logits, golden, 1.0, near=3)]
    assert kinds == [(0, "near-tie"), (1, "near-tie"), (2, "real")]
