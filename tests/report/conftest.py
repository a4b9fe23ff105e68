"""A benchmark and a parity report with known figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgedigits.benchmark.result import BenchmarkReport
from edgedigits.parity.result import Flip, ParityReport
from edgedigits.report.loading import load_benchmark, load_parity

MEDIANS = {"float32.tflite": 10_000, "int8.tflite": 20_000, "int8_full.tflite": 25_000, "float32.onnx": 30_000}
FLIP = Flip(image=2087, label=6, int8_label=4, lead_quanta=0.43, int8_lead_quanta=0, kind="tie")
NEAR_FLIP = Flip(image=675, label=1, int8_label=1, lead_quanta=2.61, int8_lead_quanta=1, kind="near-tie")


@pytest.fixture
def bench(bench_file: Path) -> BenchmarkReport:
    """A real run with steady windows: float 10 µs, int8 20 and 25 µs, ONNX 30 µs."""
    report = load_benchmark(bench_file)
    windows = [(ns - 100, ns, ns + 100) for ns in (MEDIANS[row.artifact] for row in report.rows)]
    rows = [replace(r, window_p50_ns=w, spread=0.02, noisy=False) for r, w in zip(report.rows, windows, strict=True)]
    return replace(report, threats=(), rows=tuple(rows))


@pytest.fixture
def parity(parity_file: Path) -> ParityReport:
    """A real run in which int8 changes three predictions and is allowed to."""
    report = load_parity(parity_file)
    flipped = [replace(row, mismatches=3, allowed=3, ledger=(NEAR_FLIP, FLIP)) for row in report.rows]
    rows = [f if f.artifact.startswith("int8") else row for row, f in zip(report.rows, flipped, strict=True)]
    return replace(report, rows=tuple(rows))
