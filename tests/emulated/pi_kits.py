"""What is done with a kit on its emulated Pi, which has Python and no network: install.sh, a picture, parity."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pi_visits import only_of_all
from pis import BASE, PIS, Machine, Pi, draw_digit, guest_environment, set_up

from edgedigits.kit.make import Kit

Done = subprocess.CompletedProcess[str]
# A namespace of its own has no network; for an ordinary user that takes another one, which not all systems give.
NAMESPACES = (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"])
APART = next((n for n in NAMESPACES if shutil.which(n[0]) and not subprocess.run([*n, "true"]).returncode), [])
MB = 1_000_000


def bare(pi: Pi, suite: str, python: str) -> Pi:
    """The 32-bit Pi of that release without Debian's NumPy, Pillow and click."""
    return replace(pi, system=replace(pi.system, suite=suite, python=python, packages=BASE, from_debian=()))


@dataclass(frozen=True)
class Case:
    """A kit, the Pi that it is for, the runtime that it must hold, and its greatest size.

    ``kernels`` is the kernel set on which parity runs there; None where the kit is only made: what is in it and how it
    is installed is shown by the others.
    """

    pi: Pi
    target: str
    runtime: str
    most_bytes: int
    kernels: str | None

    @property
    def python(self) -> str:
        return self.pi.system.python


CASES = {
    "pi2-trixie-numpy": Case(bare(PIS["pi2"], "trixie", "3.13"), "pi-32", "numpy", 40 * MB, "reference"),
    "pi2-tflite-runtime": Case(bare(PIS["pi2"], "bookworm", "3.11"), "pi-32", "tflite-runtime", 40 * MB, "default"),
    "pi4-litert": Case(PIS["pi4"], "pi-64", "litert", 60 * MB, "default"),
    "pi5-trixie-litert": Case(PIS["pi5-trixie"], "pi-64", "litert", 60 * MB, None),
}
# Kits that are tried on a Pi of another case, and what is said of that.
STRANGERS = {
    ("pi2-tflite-runtime", "pi4-litert"): "aarch64 with Python 3.11 (cpython-311-aarch64-linux-gnu)",
    ("pi4-litert", "pi2-tflite-runtime"): "armv7l with Python 3.11 (cpython-311-arm-linux-gnueabihf)",
    ("pi4-litert", "pi5-trixie-litert"): "aarch64 with Python 3.13 (cpython-313-aarch64-linux-gnu)",
}
# Also made, and the first installed, where all is asked for.
_OF_ALL = ("pi2-trixie-numpy", "pi5-trixie-litert")
MADE = [pytest.param(name, marks=only_of_all) if name in _OF_ALL else name for name in CASES]
INSTALLED = [made for made, case in zip(MADE, CASES.values(), strict=True) if case.kernels]


@dataclass(frozen=True)
class Offline:
    """A Pi without a network, and a kit that was copied to it and unpacked."""

    machine: Machine

    def run(self, *command: str) -> Done:
        environment = guest_environment()
        folder = self.machine.folder
        return subprocess.run(
            [*APART, *command], capture_output=True, text=True, cwd=folder, env=environment, timeout=300.0
        )

    def install(self) -> Done:
        return self.run("sh", "kit/install.sh", "--python", str(self.machine.python), "--prefix", "installed")


@dataclass(frozen=True)
class Journey:
    """A kit, and what each step did."""

    kit: Kit
    machine: Machine
    installed: Done
    picture: Done
    parity: Done


def unpack(case: Case, kit: Kit, folder: Path) -> Offline:
    """A bare Pi in a folder with the kit unpacked; UnavailableError where it cannot be had."""
    device = Offline(set_up(case.pi, folder))
    done = device.run(str(device.machine.python), "-m", "zipfile", "-e", kit.path, "kit")
    assert done.returncode == 0, done.stderr
    return device


def travel(case: Case, kit: Kit, folder: Path) -> Journey:
    """Install the kit and use what it brought."""
    device = unpack(case, kit, folder)
    installed = device.install()
    draw_digit(folder / "digit.png")
    command = "installed/bin/edgedigits"
    picture = device.run(command, "predict", "digit.png", "--json", "-")
    batch = "500" if case.runtime == "numpy" else "1"  # one image at a time takes it half a minute
    options = ("--runtime", case.runtime, "--kernels", str(case.kernels), "--batch", batch, "--workers", "1")
    parity = device.run(command, "parity", *options, "--json", "parity.json")
    return Journey(kit, device.machine, installed, picture, parity)


@dataclass(frozen=True)
class Refusal:
    """What install.sh did on another Pi, and the names in the folder before and after."""

    installed: Done
    before: list[str]
    after: list[str]


def refuse(on: Case, kit: Kit, folder: Path) -> Refusal:
    """Try to install a kit on the Pi of another case."""
    device = unpack(on, kit, folder)
    before = sorted(path.name for path in folder.iterdir())
    installed = device.install()
    return Refusal(installed, before, sorted(path.name for path in folder.iterdir()))
