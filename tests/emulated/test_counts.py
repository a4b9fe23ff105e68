"""The device's path has not become dearer: instructions, counted again and held against benchmarks/results."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from emulated import MOST
from pis import PROJECT

if TYPE_CHECKING:
    from conftest import Visit

    Visits = Callable[[str], Visit]

STORED = json.loads((PROJECT / "benchmarks" / "results" / "emulated.json").read_text(encoding="utf-8"))["pis"]
AGAIN = "python benchmarks/emulated.py"
ROWS = [
    ("pi4", "float32.tflite in litert"),
    ("pi4", "int8.tflite in litert"),
    ("pi4", "float32.onnx in onnxruntime"),
    ("pi2", "int8.tflite in tflite-runtime"),
]


@pytest.mark.parametrize(("name", "case"), ROWS)
def test_what_was_counted_is_what_it_costs(name: str, case: str, visit: Visits) -> None:
    seen, stored = visit(name), STORED[name]
    off = {
        what: f"{count:,} instructions, {stored['cases'][case][what]:,} are stored"
        for what, count in seen.counts[case].items()
        if abs(count / stored["cases"][case][what] - 1) > 0.02
    }
    others = {what: (version, stored["versions"].get(what)) for what, version in seen.versions.items()}
    moved = {what: versions for what, versions in others.items() if versions[0] != versions[1]}
    assert off == {}, f"if that is meant, or comes of other versions (now, then: {moved}), store it: {AGAIN}"


@pytest.mark.parametrize(("name", "case"), ROWS)
def test_a_call_costs_little_more_than_the_bare_loop(name: str, case: str, visit: Visits) -> None:
    counts = visit(name).counts[case]
    assert counts["logits"] <= MOST * counts["bare"]


def test_predict_costs_little_more_than_the_bare_imports(visit: Visits) -> None:
    counts = visit("pi4").counts["float32.tflite in litert"]
    assert counts["picture"] <= MOST * counts["picture_imports"]
    assert counts["index"] <= MOST * counts["index_imports"]
