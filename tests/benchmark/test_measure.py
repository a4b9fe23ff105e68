"""What a benchmark measures and how it counts; no test depends on how long anything takes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark.measure import measure
from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.benchmark.text import benchmark_text
from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import BundleError, InputError, RuntimeUnavailableError

QUICK: dict[str, Any] = {"windows": 2, "min_seconds": 0.05, "starts": 1}


@pytest.fixture(scope="module")
def report() -> BenchmarkReport:
    return measure(
        Bundle(),
        artifacts=["int8", "float32.onnx"],
        runtimes=["litert", "onnxruntime"],
        sustained_minutes=0.001,
        **QUICK,
    )


@pytest.fixture(params=[0, 1], ids=["int8", "float32"])
def row(request: pytest.FixtureRequest, report: BenchmarkReport) -> LatencyRow:
    found: LatencyRow = report.rows[request.param]
    return found


def positive(*values: int | None) -> list[int]:
    assert all(value is not None and value > 0 for value in values), values
    return [value for value in values if value is not None]


def test_rows(report: BenchmarkReport) -> None:
    assert [(row.artifact, row.runtime, row.status, row.threads) for row in report.rows] == [
        ("int8.tflite", "litert", "ok", 1),
        ("float32.onnx", "onnxruntime", "ok", 1),
    ]
    assert [row.bytes for row in report.rows] == [len(Bundle().read(row.artifact)) for row in report.rows]
    assert report.passed is (report.invalid is None)


def test_percentiles_are_in_order(row: LatencyRow) -> None:
    times = positive(row.min_ns, row.p50_ns, row.p90_ns, row.p95_ns, row.max_ns)
    assert times == sorted(times)
    for value, upper in ((row.p50_ns, row.p50_upper_ns), (row.p90_ns, row.p90_upper_ns)):
        assert positive(value) <= positive(upper) <= times[-1:]


def test_histogram_contains_every_sample(row: LatencyRow) -> None:
    assert row.samples >= 500  # two windows of at least 256 calls
    assert sum(count for _, count in row.histogram) == row.samples
    edges = [edge for edge, _ in row.histogram]
    assert edges == sorted(set(edges))
    assert edges[0] <= positive(row.min_ns)[0] <= edges[0] * 1.03


def test_model_clock_batches_and_threads(row: LatencyRow) -> None:
    positive(row.invoke_samples, row.invoke_p50_ns, row.timer_ns, *row.batch_ns.values(), *row.threads_p50_ns.values())
    assert {"1", "10", "100", "1000", "5000"} <= set(row.batch_ns)
    assert str(row.knee) in row.batch_ns
    assert "1" in row.threads_p50_ns


def test_spread_is_of_the_window_medians(row: LatencyRow) -> None:
    low, high = sorted(row.window_p50_ns)
    assert row.spread == pytest.approx((high - low) / ((high + low) / 2))
    assert row.noisy is (row.spread is not None and row.spread > 0.1)


def test_cold_starts_and_sustained_run(report: BenchmarkReport) -> None:
    assert {start.runtime for start in report.starts} == {"litert", "onnxruntime"}
    for start in report.starts:
        assert (start.status, start.samples) == ("ok", 1)
        positive(start.interpreter_ns, start.imports_ns, start.load_ns, start.first_ns, start.peak_rss_bytes)
    (point,) = report.sustained
    assert (point.artifact, point.runtime) == ("int8.tflite", "litert")
    positive(point.samples, point.p50_ns)


def test_json_and_text(report: BenchmarkReport) -> None:
    facts = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert facts["machine"]["cores"] > 0
    assert facts["valid"] is (report.invalid is None)
    assert facts["rows"][0]["p50_ns"] == report.rows[0].p50_ns
    text = benchmark_text(report)
    for row in report.rows:
        assert all(part in text for part in (row.artifact, f"{row.p50_ns:,}", f"{row.samples:,}"))
    assert "sustained, int8.tflite in litert" in text


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, True),
        ({"rows": (LatencyRow("a", "b", 1, "missing", 5),)}, True),
        ({"rows": (LatencyRow("a", "b", 1, "timeout", 5),)}, False),
        ({"invalid": "the device was throttled"}, False),
        ({"cut_short": True}, False),
    ],
    ids=["unchanged", "missing", "timeout", "throttled", "interrupted"],
)
def test_passed(report: BenchmarkReport, change: dict[str, Any], passed: bool) -> None:
    valid = dataclasses.replace(report, invalid=None)
    assert dataclasses.replace(valid, **change).passed is passed


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"windows": 0}, InputError, "0 windows of .* expected 1 or more windows"),
        ({"min_seconds": float("nan")}, InputError, "windows of nan s .* expected .* more than 0 s"),
        ({"threads": 0}, InputError, "on 0 threads.* expected 1 or more windows and threads"),
        ({"runtimes": ["torch"]}, RuntimeUnavailableError, "torch"),
        ({"artifacts": ["int8"], "runtimes": ["onnxruntime"]}, RuntimeUnavailableError, "opens int8.tflite"),
        ({"artifacts": ["int4"]}, BundleError, "int4"),
    ],
)
def test_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        measure(Bundle(), **{**QUICK, **options})


def test_inputs_of_three_axes(own_bundles: dict[str, Path]) -> None:
    (row,) = measure(Bundle(own_bundles["softmax"]), windows=1, min_seconds=0.05, starts=0).rows
    assert (row.status, row.artifact, "100" in row.batch_ns) == ("ok", "float32.tflite", True)


def test_damaged_bundle(bundle_copy: Path) -> None:
    (bundle_copy / "golden.npz").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"golden\.npz is damaged"):
        measure(Bundle(bundle_copy), **QUICK)
