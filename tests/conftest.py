from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgedigits.benchmark import measure
from edgedigits.bundle import Bundle
from edgedigits.parity import check_parity
from edgedigits.report import to_json

RUNTIMES = ["litert", "onnxruntime"]
# Whoever starts the tests in the background of a shell has Ctrl-C ignored, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Put first on PYTHONPATH as sitecustomize.py: Python then finds the named packages no more than if they were not there.
HIDE = """
import sys
import threading
from importlib.machinery import PathFinder


class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names!r} else super().find_spec(name, path, target)


sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""


# What a test counted is printed once all tests are through, by whichever process it ran in.
FIGURES = "counted figures"


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """``counted("140 interrupted writes, 0 losses")`` prints that line at the end of the run, passed or failed."""
    return partial(record_property, FIGURES)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    lines = [
        f"{report.nodeid.split('/')[-1]}: {line}"
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, line in report.user_properties
        if name == FIGURES
    ]
    if lines:
        terminalreporter.section(FIGURES)
        for line in sorted(lines):
            terminalreporter.line(line)


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


@pytest.fixture
def hidden(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """An environment for a child process in which these packages are not installed."""

    def environment(*packages: str) -> dict[str, str]:
        folder = tmp_path / "hide"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(HIDE.format(names=set(packages)), encoding="utf-8")
        search = filter(None, (str(folder), os.environ.get("PYTHONPATH")))
        return {**os.environ, "PYTHONPATH": os.pathsep.join(search)}

    return environment
