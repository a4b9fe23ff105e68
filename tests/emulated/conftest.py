"""What is done on each Pi, once a session and on as many at a time as there are cores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pi_debian import UnavailableError
from PIL import Image
from pis import PIS, PROJECT, Machine, Pi, build_wheel, set_up

REQUIRED = os.environ.get("EDGEDIGITS_EMULATED") == "required"
Done = subprocess.CompletedProcess[str]
COMMANDS = {
    "inspect": ("inspect",),
    "index": ("predict", "--index", "1015", "--json", "-"),
    "picture": ("predict", "digit.png", "--json", "-"),
    "doctor": ("doctor",),
}
# Every runtime that has a wheel there; constraints.txt pins them.
WHEELS = {
    "bookworm-arm64": ("litert", "tflite-runtime", "onnxruntime"),
    "trixie-arm64": ("litert", "onnxruntime"),
    "bookworm-armhf": ("tflite-runtime",),
}


@dataclass(frozen=True)
class Visit:
    """A Pi with our wheel, and what each command did there."""

    machine: Machine
    done: dict[str, Done]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def visit(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Visit]]:
    """A Pi by name, after all commands have run; where it cannot be had the test is skipped, or fails if required."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        visits = {name: pool.submit(_visit, pi, tmp_path_factory.mktemp(name), wheel) for name, pi in PIS.items()}

        def wait(name: str) -> Visit:
            try:
                return visits[name].result()
            except UnavailableError as why:
                if REQUIRED:
                    pytest.fail(f"EDGEDIGITS_EMULATED=required, and {why}", pytrace=False)
                pytest.skip(str(why))

        yield wait
        pool.shutdown(cancel_futures=True)


def _visit(pi: Pi, folder: Path, wheel: Path) -> Visit:
    machine = set_up(pi, folder)
    machine.install(wheel)
    draw_digit(folder / "digit.png")
    wheels = [option for runtime in WHEELS[pi.system.name] for option in ("--runtime", runtime)]
    parity = ("parity", "--workers", "1")  # the other cores run other Pis
    commands = {
        **COMMANDS,
        "parity": (*parity, *wheels, "--json", "parity.json"),
        # In batches: one image at a time takes half a minute, and it is the same arithmetic.
        "oracle": (*parity, "--runtime", "numpy", "--batch", "500", "--json", "oracle.json"),
    }
    return Visit(machine, {name: machine.run("edgedigits", *command) for name, command in commands.items()})


def draw_digit(path: Path) -> None:
    """The 28x28 picture that X[1015], a 2, was made from."""
    with np.load(PROJECT / "data" / "source.npz") as source:
        Image.fromarray(source["images"][1015]).save(path)
