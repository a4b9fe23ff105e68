"""What is done on each emulated Pi with our wheel: its own commands, and instructions counted again."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from emulated import Counter, build_plugin
from pis import ASKED, PIS, Machine, draw_digit, set_up

Done = subprocess.CompletedProcess[str]
WHO = "import platform, sys; print(platform.machine(), '%d.%d' % sys.version_info[:2], sys.executable)"
COMMANDS = {
    "inspect": ("inspect",),
    "predict": ("predict", "digit.png", "--index", "1015", "--json", "-"),
    "doctor": ("doctor", "--json", "-"),
}
# Every runtime that has a wheel there; constraints.txt pins them.
WHEELS = {
    "bookworm-arm64": ("litert", "tflite-runtime", "onnxruntime"),
    "trixie-arm64": ("litert", "onnxruntime"),
    "bookworm-armhf": ("tflite-runtime",),
}
ALL = ASKED == "all"
only_of_all = pytest.mark.skipif(not ALL, reason="takes long: EDGEDIGITS_EMULATED=all runs it, as CI does")
# One Pi of each word size, where all also means: every kernel set, and the other bundle that is inside the package.
THOROUGH = ("pi4", "pi2")
# Where it means: parity as no Pi would run it, on QEMU's own processor, which has SVE.
NO_PI = ("pi4",)
# What is counted again: runtime and artifact, and whether the commands are.
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

    ``counts`` is for each ``"ARTIFACT in RUNTIME"`` as benchmarks/emulated.py has it.
    """

    machine: Machine
    done: dict[str, Done]
    counts: dict[str, dict[str, float]]
    counter: Counter | None


def visit(name: str, folder: Path, wheel: Path) -> Visit:
    """Set the Pi up in a folder and do everything; UnavailableError where it cannot be had."""
    pi = PIS[name]
    machine = set_up(pi, folder)
    machine.install(wheel)
    draw_digit(folder / "digit.png")
    done = {command: machine.run("edgedigits", *arguments) for command, arguments in COMMANDS.items()}
    done["who"] = machine.run("python3", "-c", WHO)
    wheels = [option for runtime in WHEELS[pi.system.name] for option in ("--runtime", runtime)]
    default = ("--kernels", "default")
    every: dict[str, tuple[str, ...]] = {"parity": (), "robust": ("robust", *default)}
    for command, options in (every if ALL and name in THOROUGH else {"parity": default}).items():
        # One worker: the other cores run other Pis.
        arguments = ("parity", *options, *wheels, "--workers", "1", "--json", f"{command}.json")
        done[command] = machine.run("edgedigits", *arguments)
    counts, counter = {}, None
    if name in COUNTED:
        plugin = folder / "plugin"
        plugin.mkdir()
        counter = Counter(machine, build_plugin(plugin))
        for (runtime, artifact), whole in COUNTED[name].items():
            commands = counter.commands(runtime, artifact) if whole else {}
            counts[f"{artifact} in {runtime}"] = {**counter.calls(runtime, artifact), **commands}
    if ALL and name in NO_PI:
        chosen = ("--artifact", "int8", "--runtime", "litert", *default)
        with machine.on("max") as other:
            done["no pi"] = other.run("edgedigits", "parity", *chosen, "--json", "-")
    return Visit(machine, done, counts, counter)
