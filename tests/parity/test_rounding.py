from __future__ import annotations

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.parity import metrics
from edgedigits.parity.rounding import Recomputed
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import FloatArray

INT8 = Bundle().artifact("int8.tflite")


class Asked:
    """The numpy runtime on 100 images, by kernel set, and which sets it was asked for."""

    def __init__(self, x: FloatArray, failing: tuple[str, ...] = ()) -> None:
        self.x, self.failing = x[:100], failing
        self.sets: list[str] = []

    def __call__(self, kernels: str) -> FloatArray | None:
        self.sets.append(kernels)
        if kernels in self.failing:
            return None
        with Session(Bundle().read("int8.tflite"), "tflite", "numpy", kernels=kernels) as session:
            return session.run(self.x)


def test_a_kernel_set_is_computed_when_it_is_asked_for_and_once(x: FloatArray) -> None:
    asked, scale = Asked(x), INT8.output.scale
    recomputed = Recomputed(INT8, asked)
    assert asked.sets == []
    assert scale is not None
    exact = asked("exact")
    assert exact is not None
    for _ in range(2):
        assert metrics.arithmetic(exact, recomputed, scale) == "exact"
    assert asked.sets == ["exact", "exact"]  # the one above, and one of its own
    assert metrics.arithmetic(recomputed["xnnpack"], recomputed, scale) in RUNTIMES["numpy"].kernels
    assert dict(recomputed).keys() == set(RUNTIMES["numpy"].kernels)
    assert sorted(asked.sets[1:]) == sorted(RUNTIMES["numpy"].kernels)


def test_the_likely_ones_are_computed_first(x: FloatArray) -> None:
    asked, scale = Asked(x), INT8.output.scale
    assert scale is not None
    ruy = asked("ruy")
    assert ruy is not None
    assert metrics.arithmetic(ruy, Recomputed(INT8, asked), scale) == "ruy"
    assert asked.sets == ["ruy", "exact", "ruy"]  # the first is the one above


def test_nothing_is_told_where_it_cannot_be_recomputed(x: FloatArray) -> None:
    recomputed = Recomputed(INT8, Asked(x, failing=("exact",)))
    assert len(recomputed) == 0
    assert metrics.arithmetic(x[:100, :10], recomputed, 0.3) is None


def test_a_set_that_fails_is_no_answer(x: FloatArray) -> None:
    recomputed = Recomputed(INT8, Asked(x, failing=("ruy",)))
    said = metrics.arithmetic(np.zeros((100, 10), np.float32), recomputed, 0.3)
    assert said is not None
    assert said.startswith("unknown: ")


@pytest.mark.parametrize("name", ["float32.tflite", "float32.onnx"])
def test_float_artifacts_have_no_rounding_to_tell(name: str, x: FloatArray) -> None:
    asked = Asked(x)
    recomputed = Recomputed(Bundle().artifact(name), asked)
    assert len(recomputed) == 0
    assert metrics.arithmetic(x, recomputed, 1.0) is None
    assert asked.sets == []
