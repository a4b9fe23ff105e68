"""Which row is recommended, and with what reasons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgedigits.benchmark.result import BenchmarkReport
from edgedigits.parity.result import ParityReport
from edgedigits.report.recommendation import recommend
from edgedigits.system.text import duration

FLOAT, INT8, FULL, ONNX = "float32.tflite", "int8.tflite", "int8_full.tflite", "float32.onnx"
FAST, TIED = {"window_p50_ns": (4900, 5000, 5100)}, {"window_p50_ns": (9900, 10_050, 10_200)}
FAILED, MISSING = {"mismatches": 7, "allowed": 0}, {"status": "missing", "message": "install it"}


def alter(report: Any, changes: dict[str, dict[str, Any]]) -> Any:
    """The report with fields of its rows changed, by artifact or by kernel set."""
    names = ((row.artifact, getattr(row, "kernels", "")) for row in report.rows)
    changed = [changes.get(artifact) or changes.get(kernels) or {} for artifact, kernels in names]
    return replace(report, rows=tuple(replace(r, **c) for r, c in zip(report.rows, changed, strict=True)))


@pytest.mark.parametrize(
    ("benchmark", "checked", "artifact", "reason"),
    [
        (
            {},
            {},
            FLOAT,
            "of the rows that passed parity. Float is the better choice from Python here: int8 takes 2.00 times",
        ),
        ({}, {}, FLOAT, "It predicts what the trained model predicts on every image, with every kernel set."),
        (
            {INT8: FAST},
            {},
            INT8,
            "int8 is the better choice from Python here: float takes 2.00 times as long (float32.tflite in",
        ),
        (
            {FULL: {"invoke_p50_ns": 1}},
            {},
            FLOAT,
            "with its own buffers, ship int8_full.tflite in litert: the model alone",
        ),
        ({FULL: {"invoke_p50_ns": 1}}, {FULL: FAILED}, FLOAT, "with its own buffers, ship int8.tflite in litert: the"),
        ({INT8: FAST}, {}, INT8, "3 predictions differ from the trained model's, within the allowed number."),
        ({INT8: FAST}, {INT8: FAILED}, FLOAT, "is faster (5.00 µs) but not recommended: parity failed: 7 of 5,000"),
        ({}, {"no-delegates": FAILED}, ONNX, "float32.tflite in litert is faster (10.0 µs) but not recommended"),
        ({}, {FLOAT: {"status": "crashed"}}, INT8, "not recommended: it crashed in the parity run"),
        ({}, {FLOAT: {"version": "0.1"}}, INT8, "parity was checked with litert 0.1, the benchmark ran"),
        ({}, {FLOAT: {"sha256": "0" * 64}}, INT8, "parity was checked with another float32.tflite"),
        ({}, {FLOAT: {"status": "missing"}}, INT8, "the parity run does not include it"),
        ({INT8: TIED}, {}, FLOAT, "the row that changes fewer predictions is preferred"),
        ({INT8: TIED}, {}, FLOAT, "int8 takes the same time within the spread"),
        ({INT8: TIED}, {INT8: {"mismatches": 0}}, FLOAT, "float is preferred to int8"),
        ({ONNX: TIED}, {}, ONNX, "the smaller file is preferred"),
        ({FLOAT: {"window_p50_ns": (9900, 10_000, 90_000)}}, {}, FLOAT, "It has the lowest median"),
        ({FLOAT: {"runtime": "tensorflow"}}, {}, INT8, "It has the lowest median of the rows that passed parity."),
    ],
)
def test_recommended_row(
    bench: BenchmarkReport, parity: ParityReport, benchmark: Any, checked: Any, artifact: str, reason: str
) -> None:
    found = recommend(alter(bench, benchmark), alter(parity, checked))
    assert found.row is not None
    assert found.headline.startswith(f"Ship {artifact} in {found.row.runtime}: ")
    assert reason in " ".join(found.reasons)
    assert (found.row.artifact, found.tone) == (artifact, "good")


def test_no_recommendation(bench: BenchmarkReport, parity: ParityReport) -> None:
    failed = recommend(bench, alter(parity, dict.fromkeys((FLOAT, INT8, FULL, ONNX), FAILED)))
    assert failed.headline == "Ship none of these yet: no measured row has passed parity."
    assert failed.reasons[0].startswith("float32.tflite in litert takes 10.0 µs, but parity failed: 7 of 5,000")
    invalid = recommend(replace(bench, invalid="the device was throttled"), parity)
    assert invalid.headline == "INVALID: this run does not support a recommendation."
    assert invalid.reasons[0] == "The device was throttled."
    missing = recommend(alter(bench, dict.fromkeys((FLOAT, INT8, FULL, ONNX), MISSING)))
    assert missing.headline == "No row that a device could run was measured."
    assert missing.reasons[0] == "float32.tflite in litert: missing: install it."
    assert {(r.row, r.tone) for r in (failed, invalid, missing)} == {(None, "bad")}


def test_reservations(bench: BenchmarkReport, parity: ParityReport) -> None:
    """The fastest row is recommended, but with doubt."""
    noisy = alter(bench, {FLOAT: {"noisy": True, "spread": 0.25}})
    single = alter(bench, {FLOAT: {"window_p50_ns": (10_000,)}})
    for run, checked, reason in (
        (bench, None, "Its parity was not checked: add a file"),
        (bench, replace(parity, unseen=True), "Parity was run on held-out inputs"),
        (single, parity, "ties cannot be detected; use --windows 5"),
        (replace(single, cut_short=True), parity, "The run was interrupted; this row has 1 finished window."),
        (noisy, parity, "Its window medians differ by 25%, which is noisy"),
    ):
        found = recommend(run, checked)
        assert reason in " ".join(found.reasons)
        assert (found.row, found.tone) == (run.rows[0], "doubt")


def test_duration() -> None:
    expected = {0: "0.00 ns", 999: "999 ns", 999.6: "1.00 µs", 9735: "9.73 µs", 999_600_000: "1.00 s", 36e11: "3,600 s"}
    assert {ns: duration(ns) for ns in expected} == expected
