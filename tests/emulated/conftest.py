"""What is done on each Pi, once a session and on as many at a time as there are cores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from emulated import Counter, build_plugin
from pi_debian import UnavailableError
from pis import PIS, Machine, Pi, build_wheel, draw_digit, set_up

REQUIRED = os.environ.get("EDGEDIGITS_EMULATED") == "required"
Done = subprocess.CompletedProcess[str]
COMMANDS = {
    "inspect": ("inspect",),
    "index": ("predict", "--index", "1015", "--json", "-"),
    "picture": ("predict", "digit.png", "--json", "-"),
    "doctor": ("doctor", "--json", "-"),
}
# Every runtime that has a wheel there; constraints.txt pins them.
WHEELS = {
    "bookworm-arm64": ("litert", "tflite-runtime", "onnxruntime"),
    "trixie-arm64": ("litert", "onnxruntime"),
    "bookworm-armhf": ("tflite-runtime",),
}
# One of each system first, so that no two wait for the same download.
ORDER = ("pi3", "pi5-trixie", "pi2", "pi4", "pi5")
# Where the numpy runtime runs too: once a word size, for its arithmetic is NumPy's.
ORACLE = ("pi2", "pi4")
# What is counted again: runtime and artifact, and whether whole processes are.
COUNTED = {
    "pi4": {
        ("litert", "float32.tflite"): True,
        ("litert", "int8.tflite"): False,
        ("onnxruntime", "float32.onnx"): False,
    },
    "pi2": {("tflite-runtime", "int8.tflite"): False},
}


@dataclass(frozen=True)
class Visit:
    """A Pi with our wheel, what each command did there, and instructions by artifact and runtime.

    ``counts`` is for each ``"ARTIFACT in RUNTIME"`` as benchmarks/emulated.py has it, ``versions`` what was counted.
    """

    machine: Machine
    done: dict[str, Done]
    counts: dict[str, dict[str, float]]
    versions: dict[str, str]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def visit(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Visit]]:
    """A Pi by name, after all commands have run; where it cannot be had the test is skipped, or fails if required."""
    plugins = tmp_path_factory.mktemp("plugin")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        visits = {name: pool.submit(_visit, PIS[name], tmp_path_factory.mktemp(name), wheel, plugins) for name in ORDER}

        def wait(name: str) -> Visit:
            try:
                return visits[name].result()
            except UnavailableError as why:
                if REQUIRED:
                    pytest.fail(f"EDGEDIGITS_EMULATED=required, and {why}", pytrace=False)
                pytest.skip(str(why))

        yield wait
        pool.shutdown(cancel_futures=True)


def _visit(pi: Pi, folder: Path, wheel: Path, plugins: Path) -> Visit:
    machine = set_up(pi, folder)
    machine.install(wheel)
    draw_digit(folder / "digit.png")
    wheels = [option for runtime in WHEELS[pi.system.name] for option in ("--runtime", runtime)]
    parity = ("parity", "--workers", "1")  # the other cores run other Pis
    commands = {**COMMANDS, "parity": (*parity, *wheels, "--json", "parity.json")}
    if pi.name in ORACLE:  # in batches: one image at a time takes half a minute
        commands["oracle"] = (*parity, "--runtime", "numpy", "--batch", "500", "--json", "oracle.json")
    done = {name: machine.run("edgedigits", *command) for name, command in commands.items()}
    counts, versions = {}, {}
    if pi.name in COUNTED:
        folder = plugins / pi.name
        folder.mkdir()
        counter = Counter(machine, build_plugin(folder))
        versions = counter.versions
        for (runtime, artifact), whole in COUNTED[pi.name].items():
            count = counter.all if whole else counter.calls
            counts[f"{artifact} in {runtime}"] = count(runtime, artifact)
    return Visit(machine, done, counts, versions)
