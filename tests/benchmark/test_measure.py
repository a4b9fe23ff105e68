"""What is measured and how it is counted; never how long anything takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark.measure import measure
from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.benchmark.text import benchmark_text
from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import BundleError, InputError, RuntimeUnavailableError

QUICK: dict[str, Any] = {"windows": 2, "min_seconds": 0.2, "starts": 1}
ROW_KEYS = {"artifact", "runtime", "threads", "samples", "p50_ns", "p90_ns", "p99_ns", "invoke_p50_ns", "bytes"}


@pytest.fixture(scope="module")
def report() -> BenchmarkReport:
    return measure(Bundle(), artifacts=["int8", "float32.onnx"], runtimes=["litert", "onnxruntime"], **QUICK)


@pytest.fixture(params=[0, 1], ids=["int8", "float32"])
def row(request: pytest.FixtureRequest, report: BenchmarkReport) -> LatencyRow:
    found: LatencyRow = report.rows[request.param]
    return found


def numbers(*values: int | None) -> list[int]:
    found = [value for value in values if value is not None]
    assert len(found) == len(values)
    return found


def test_one_row_for_each_artifact_and_runtime(report: BenchmarkReport) -> None:
    assert [(row.artifact, row.runtime, row.status) for row in report.rows] == [
        ("int8.tflite", "litert", "ok"),
        ("float32.onnx", "onnxruntime", "ok"),
    ]
    assert report.passed is (report.invalid is None)


def test_what_was_run(row: LatencyRow) -> None:
    assert row.threads == 1
    assert row.bytes == len(Bundle().read(row.artifact))
    assert len(row.window_p50_ns) == QUICK["windows"]


def test_percentiles_are_in_order(row: LatencyRow) -> None:
    times = numbers(row.min_ns, row.p50_ns, row.p90_ns, row.p95_ns, row.p99_ns, row.max_ns)
    assert times[0] > 0
    assert times == sorted(times)
    for value, upper in (
        (row.p50_ns, row.p50_upper_ns),
        (row.p90_ns, row.p90_upper_ns),
        (row.p99_ns, row.p99_upper_ns),
    ):
        at, bound = numbers(value, upper)
        assert at <= bound <= times[-1]


def test_no_sample_is_dropped(row: LatencyRow) -> None:
    """Two windows hold hundreds of calls, and every one of them is in the histogram."""
    assert row.samples > 200
    assert sum(count for _, count in row.histogram) == row.samples
    edges = [edge for edge, _ in row.histogram]
    assert edges == sorted(set(edges))
    assert edges[0] <= numbers(row.min_ns)[0] <= edges[0] * 1.03


def test_the_model_alone_and_the_clock(row: LatencyRow) -> None:
    assert row.invoke_samples > 0
    assert min(numbers(row.invoke_p50_ns, row.timer_ns)) > 0


def test_batches_and_threads(row: LatencyRow) -> None:
    assert {"1", "10", "100", "1000", "5000"} <= set(row.batch_ns)
    assert min(row.batch_ns.values()) > 0
    assert str(row.knee) in row.batch_ns
    assert "1" in row.threads_p50_ns


def test_spread_is_of_the_windows(row: LatencyRow) -> None:
    low, high = sorted(row.window_p50_ns)
    assert row.spread == pytest.approx((high - low) / ((high + low) / 2))
    assert row.noisy is (row.spread is not None and row.spread > 0.1)


def test_cold_starts(report: BenchmarkReport) -> None:
    assert {start.runtime for start in report.starts} == {"litert", "onnxruntime"}
    for start in report.starts:
        assert (start.status, start.samples) == ("ok", 1)
        assert min(numbers(start.interpreter_ns, start.imports_ns, start.load_ns, start.first_ns)) > 0
        assert numbers(start.peak_rss_bytes)[0] > 2**20


def test_json(report: BenchmarkReport) -> None:
    facts = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert facts["machine"]["cores"] > 0
    assert facts["valid"] is (report.invalid is None)
    for row in facts["rows"]:
        assert set(row) >= ROW_KEYS


def test_text_shows_every_row_in_nanoseconds(report: BenchmarkReport) -> None:
    text = benchmark_text(report)
    for row in report.rows:
        assert row.artifact in text
        assert f"{row.p50_ns:,}" in text
        assert f"{row.samples:,}" in text


def test_a_runtime_that_dies_is_a_row(kill_next_child: Callable[[], None]) -> None:
    kill_next_child()
    options = {**QUICK, "windows": 1, "starts": 0}
    found = measure(Bundle(), artifacts=["float32.onnx"], runtimes=["onnxruntime"], **options)
    (row,) = found.rows
    assert (row.status, row.signal, row.samples, row.p50_ns) == ("crashed", "SIGKILL", 0, None)
    assert not found.passed
    assert "float32.onnx in onnxruntime: crashed: the runtime crashed (SIGKILL)" in benchmark_text(found)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, True),
        ({"rows": (LatencyRow("a", "b", 1, "missing", 5),)}, True),
        ({"rows": (LatencyRow("a", "b", 1, "timeout", 5),)}, False),
        ({"invalid": "the device was throttled"}, False),
        ({"cut_short": True}, False),
    ],
    ids=["as it was", "missing", "timeout", "throttled", "interrupted"],
)
def test_verdict(report: BenchmarkReport, change: dict[str, Any], passed: bool) -> None:
    sound = dataclasses.replace(report, invalid=None)
    assert dataclasses.replace(sound, **change).passed is passed


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"windows": 0}, InputError, "0 windows of .* expected 1 or more windows"),
        ({"min_seconds": 0.0}, InputError, "windows of 0 s .* expected .* more than 0 s"),
        ({"min_seconds": float("nan")}, InputError, "windows of nan s .* expected"),
        ({"threads": 0}, InputError, "on 0 threads.* expected 1 or more windows and threads"),
        ({"runtimes": ["torch"]}, RuntimeUnavailableError, "no runtime is called 'torch'"),
        ({"artifacts": ["int8"], "runtimes": ["onnxruntime"]}, RuntimeUnavailableError, "opens int8.tflite"),
        ({"artifacts": ["int4"]}, BundleError, "no artifact 'int4'"),
    ],
)
def test_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        measure(Bundle(), **{**QUICK, **options})


def test_damaged_bundle(bundle_copy: Path) -> None:
    (bundle_copy / "golden.npz").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"golden\.npz is damaged"):
        measure(Bundle(bundle_copy), **QUICK)
