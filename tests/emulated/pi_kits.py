"""What the tests do with a kit on an emulated Pi that has Python and no network: install.sh, a picture, parity."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from kits import Device
from pi_visits import only_of_all
from pis import BASE, PIS, Machine, Pi, draw_digit, set_up

from edgedigits.kit.make import Kit

Done = subprocess.CompletedProcess[str]
MB = 1_000_000


def bare(pi: Pi, suite: str, python: str) -> Pi:
    """The 32-bit Pi with that release, without Debian's NumPy, Pillow and click."""
    return replace(pi, system=replace(pi.system, suite=suite, python=python, packages=BASE, from_debian=()))


@dataclass(frozen=True)
class Case:
    """A kit: the Pi that it is for, the runtime that it must contain, and its maximum size.

    ``kernels`` is the kernel set for parity; None if the kit is only made, because others show the rest.
    """

    pi: Pi
    target: str
    runtime: str
    most_bytes: int
    kernels: str | None


CASES = {
    "pi2-trixie-numpy": Case(bare(PIS["pi2"], "trixie", "3.13"), "pi-32", "numpy", 40 * MB, "reference"),
    "pi2-tflite-runtime": Case(bare(PIS["pi2"], "bookworm", "3.11"), "pi-32", "tflite-runtime", 40 * MB, "default"),
    "pi4-litert": Case(PIS["pi4"], "pi-64", "litert", 60 * MB, "default"),
    "pi5-trixie-litert": Case(PIS["pi5-trixie"], "pi-64", "litert", 60 * MB, None),
}
# A kit and the case whose Pi refuses it, and what the message calls that Pi.
STRANGERS = {
    ("pi2-tflite-runtime", "pi4-litert"): "aarch64 with Python 3.11 (cpython-311-aarch64-linux-gnu)",
    ("pi4-litert", "pi2-tflite-runtime"): "armv7l with Python 3.11 (cpython-311-arm-linux-gnueabihf)",
    ("pi4-litert", "pi5-trixie-litert"): "aarch64 with Python 3.13 (cpython-313-aarch64-linux-gnu)",
}
_ONLY_OF_ALL = ("pi2-trixie-numpy", "pi5-trixie-litert")
MADE = [pytest.param(name, marks=only_of_all) if name in _ONLY_OF_ALL else name for name in CASES]
INSTALLED = [made for made, case in zip(MADE, CASES.values(), strict=True) if case.kernels]


@dataclass(frozen=True)
class Installation:
    """What install.sh did with a kit on a Pi, and the commands after it."""

    machine: Machine
    device: Device
    installed: Done
    picture: Done | None = None
    parity: Done | None = None


def install(case: Case, kit: Kit, folder: Path) -> Installation:
    """Unpack a kit on the case's Pi and run install.sh; UnavailableError if the Pi cannot be emulated."""
    machine = set_up(case.pi, folder)
    device = Device(folder / "kit", folder / "home")
    device.home.mkdir()
    device.offline(str(machine.python), "-m", "zipfile", "-e", kit.path, str(device.kit)).check_returncode()
    return Installation(machine, device, device.install(python=machine.python))


def install_and_use(case: Case, kit: Kit, folder: Path) -> Installation:
    """Install a kit and run what it contains."""
    found = install(case, kit, folder)
    draw_digit(found.device.home / "digit.png")
    command = "edgedigits/bin/edgedigits"
    picture = found.device.offline(command, "predict", "digit.png", "--json", "-")
    batch = "500" if case.runtime == "numpy" else "1"  # the numpy runtime takes half a minute for one image at a time
    options = ("--runtime", case.runtime, "--kernels", str(case.kernels), "--batch", batch, "--workers", "1")
    parity = found.device.offline(command, "parity", *options, "--json", "parity.json")
    return replace(found, picture=picture, parity=parity)
