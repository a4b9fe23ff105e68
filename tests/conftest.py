from __future__ import annotations

from pathlib import Path

import pytest

from edgedigits.benchmark import measure
from edgedigits.bundle import Bundle
from edgedigits.parity import check_parity
from edgedigits.report import to_json

RUNTIMES = ["litert", "onnxruntime"]


@pytest.fixture(scope="session")
def bench_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short real benchmark, as `edgedigits benchmark --json` writes it."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    report = measure(Bundle(), runtimes=RUNTIMES, windows=2, min_seconds=0.1, starts=1)
    path.write_text(to_json(report.to_json()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def parity_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real parity run of the same rows, which lets int8 pass."""
    path = tmp_path_factory.mktemp("parity") / "parity.json"
    report = check_parity(Bundle(), runtimes=RUNTIMES, allow_mismatches=50, batch=5000)
    assert report.passed
    path.write_text(to_json(report.to_json()), encoding="utf-8")
    return path
