"""Kits on emulated Raspberry Pis that have Python and no network: install.sh, an answer, a picture, parity."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import REQUIRED
from pi_debian import UnavailableError
from pis import BASE, PIS, Machine, Pi, draw_digit, guest_environment, set_up

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.make import Kit, make_kit

# A namespace of its own has no network; for an ordinary user that takes another one, which not all systems give.
NAMESPACES = (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"])
APART = next((n for n in NAMESPACES if shutil.which(n[0]) and not subprocess.run([*n, "true"]).returncode), [])
MB = 1_000_000


def bare(pi: Pi, suite: str, python: str) -> Pi:
    """The 32-bit Pi of that release without Debian's NumPy, Pillow and click."""
    return replace(pi, system=replace(pi.system, suite=suite, python=python, packages=BASE, from_debian=()))


@dataclass(frozen=True)
class Case:
    """A kit, the Pi that it is for, the runtime that it must hold, and its greatest size."""

    pi: Pi
    target: str
    runtime: str
    most_bytes: int
    asked: str | None = None

    @property
    def python(self) -> str:
        return self.pi.system.python


CASES = {
    "pi4-litert": Case(PIS["pi4"], "pi-64", "litert", 60 * MB),
    "pi3-tflite-runtime": Case(PIS["pi3"], "pi-64", "tflite-runtime", 40 * MB, asked="tflite-runtime"),
    "pi4-onnxruntime": Case(PIS["pi4"], "pi-64", "onnxruntime", 60 * MB, asked="onnxruntime"),
    "pi5-trixie-litert": Case(PIS["pi5-trixie"], "pi-64", "litert", 60 * MB),
    "pi2-tflite-runtime": Case(bare(PIS["pi2"], "bookworm", "3.11"), "pi-32", "tflite-runtime", 40 * MB),
    "pi2-trixie-numpy": Case(bare(PIS["pi2"], "trixie", "3.13"), "pi-32", "numpy", 40 * MB),
}


@dataclass(frozen=True)
class Offline:
    """A Pi without a network, and a kit that was copied to it and unpacked."""

    machine: Machine
    made: Kit

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = guest_environment()
        folder = self.machine.folder
        return subprocess.run([*APART, *command], capture_output=True, text=True, cwd=folder, env=environment)

    def install(self) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "kit/install.sh", "--python", str(self.machine.python), "--prefix", "installed")


def unavailable(why: Exception) -> None:
    if REQUIRED:
        pytest.fail(f"EDGEDIGITS_EMULATED=required, and {why}", pytrace=False)
    pytest.skip(str(why))


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Kit]:
    """The kit for a case, made once."""
    made: dict[tuple[str, str, str], Kit] = {}

    def get(case: Case) -> Kit:
        key = case.target, case.python, case.runtime
        if key not in made:
            output = tmp_path_factory.mktemp("kit") / "kit.zip"
            try:
                made[key] = make_kit(case.target, output, python=case.python, runtime=case.asked)
            except EdgeDigitsError as error:
                if "cannot reach" not in str(error):
                    raise
                unavailable(error)
        return made[key]

    return get


def unpack(case: Case, kit: Kit, folder: Path) -> Offline:
    try:
        machine = set_up(case.pi, folder)
    except UnavailableError as why:
        unavailable(why)
    device = Offline(machine, kit)
    done = device.run(str(machine.python), "-m", "zipfile", "-e", kit.path, "kit")
    assert done.returncode == 0, done.stderr
    return device


@pytest.mark.parametrize("name", CASES)
def test_a_kit_installs_on_its_pi_and_parity_holds_there(
    name: str, kits: Callable[[Case], Kit], tmp_path: Path
) -> None:
    case = CASES[name]
    kit = kits(case)
    assert (kit.runtime, kit.needs) == (case.runtime, ())
    assert kit.bytes < case.most_bytes
    device = unpack(case, kit, tmp_path)
    installed = device.install()
    assert installed.returncode == 0, installed.stderr
    assert "X[1015]: 2 " in installed.stdout
    draw_digit(tmp_path / "digit.png")
    picture = device.run("installed/bin/edgedigits", "predict", "digit.png", "--json", "-")
    assert [(f["digit"], f["runtime"]) for f in json.loads(picture.stdout)] == [(2, case.runtime)], picture.stderr
    workers = str(os.cpu_count() or 1)
    batch = "500" if case.runtime == "numpy" else "1"
    parity = device.run(
        "installed/bin/edgedigits", "parity", "--runtime", case.runtime, "--batch", batch, "--workers", workers,
        "--json", "parity.json",
    )  # fmt: skip
    print(f"\n{case.pi.model}, {case.pi.system.name}, kit of {kit.bytes / MB:.1f} MB, no network: {bool(APART)}")
    print(installed.stdout + parity.stdout)
    assert parity.returncode == 0, parity.stdout + parity.stderr
    rows = [r for r in json.loads((tmp_path / "parity.json").read_text())["rows"] if r["status"] != "missing"]
    assert len(rows) == {"numpy": 5, "onnxruntime": 2}.get(case.runtime, 6)
    assert [(row["status"], row["images"], row["mismatches"]) for row in rows] == [("ok", 5000, 0)] * len(rows)


@pytest.mark.parametrize(
    ("made_for", "name", "machine"),
    [
        ("pi2-tflite-runtime", "pi4-litert", r"aarch64 with Python 3.11 (cpython-311-aarch64-linux-gnu)"),
        ("pi4-litert", "pi2-tflite-runtime", r"armv7l with Python 3.11 (cpython-311-arm-linux-gnueabihf)"),
        ("pi4-litert", "pi5-trixie-litert", r"aarch64 with Python 3.13 (cpython-313-aarch64-linux-gnu)"),
    ],
)
def test_a_kit_for_another_pi_is_refused_before_anything_is_written(
    made_for: str, name: str, machine: str, kits: Callable[[Case], Kit], tmp_path: Path
) -> None:
    device = unpack(CASES[name], kits(CASES[made_for]), tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = device.install()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"this machine is {machine}; make one for it" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
