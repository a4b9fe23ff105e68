"""Fixtures that tests of more than one package use."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from edgedigits.benchmark.measure import measure
from edgedigits.bundle.bundle import INPUTS, MANIFEST, Bundle
from edgedigits.bundle.dataset import Labels
from edgedigits.parity.check import check_parity
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.files import sha256
from edgedigits.system.text import to_json

ROOT = Path(__file__).parents[1]
RUNTIMES = ["litert", "onnxruntime"]
# A shell starts background jobs with SIGINT ignored, and everything that the tests start would inherit that.
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
def own_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of other models: ``rows``, ``softmax``, ``sigmoid`` and ``many``; see tests/helpers/own_bundles.py."""
    from own_bundles import write_all

    return write_all(tmp_path_factory.mktemp("own"))


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


# A busy machine is no reason to fail, and what failed once is found again without a store on disk.
settings.register_profile("edgedigits", deadline=None, database=None, derandomize=True)
settings.load_profile("edgedigits")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def x() -> FloatArray:
    """The bundle's 5000 inputs, (5000, 400)."""
    return Bundle().inputs()[0]


@pytest.fixture(scope="session")
def y() -> Labels:
    return Bundle().inputs()[1]


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    """The bundle inside the package, copied to where a test may damage it."""
    folder = tmp_path / "bundle"
    shutil.copytree(Bundle().path, folder)
    return folder


@pytest.fixture
def replace_in_bundle(bundle_copy: Path) -> Callable[[str, bytes], Path]:
    """Put other content into the copy under the same name, with the manifest made to fit."""

    def replace(name: str, content: bytes) -> Path:
        (bundle_copy / name).write_bytes(content)
        facts = json.loads((bundle_copy / MANIFEST).read_text(encoding="utf-8"))
        for artifact in facts["artifacts"]:
            if artifact["file"] == name:
                artifact["sha256"], artifact["bytes"] = sha256(content), len(content)
        if name in facts["files"]:
            facts["files"][name] = sha256(content)
        if name == INPUTS:
            del facts["rows"]  # it has blocks of the former content
        (bundle_copy / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")
        return bundle_copy

    return replace


@pytest.fixture
def edgedigits(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a user does, in an empty folder."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgedigits", *map(str, arguments)]
        folder = tmp_path / "here"
        folder.mkdir(exist_ok=True)
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)

    return run


@pytest.fixture(scope="session")
def unseen() -> AnyArray:
    """100 of the digits that no training saw, ten of each class, (100, 28, 28) uint8."""
    with np.load(ROOT / "data" / "unseen.npz") as arrays:
        images: AnyArray = arrays["images"][::50]
    return images


def _children(pid: str) -> list[str]:
    """The processes that this one has started."""
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [child for path in paths for child in path.read_text().split()]
    return []


@pytest.fixture
def kill_next_child() -> Iterator[Callable[..., None]]:
    """Arm it: the next process that this one starts for a runtime is killed, as the system does when memory is out.

    Or it gets another signal: that of a processor that lacks an instruction, or the one that stops it for good.
    """
    stop = threading.Event()
    hunters: list[threading.Thread] = []

    def hunt(sent: int) -> None:
        while not stop.is_set():
            for child in _children("self"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended by itself in between
                    if b"edgedigits.system.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(int(child), sent)
                        return

    def arm(sent: int = signal.SIGKILL) -> None:
        hunters.append(threading.Thread(target=hunt, args=(sent,)))
        hunters[-1].start()

    yield arm
    stop.set()
    for hunter in hunters:
        hunter.join()
