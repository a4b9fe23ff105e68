"""What is done on each emulated Pi with our wheel: its own commands, and instructions counted again."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from emulated import Counter, build_plugin
from pis import PIS, Machine, draw_digit, set_up

Done = subprocess.CompletedProcess[str]
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
# Where it is done once a word size: every kernel set, and the other bundle that is inside the package. Most of the time
# goes into the start of a process, and every row has one of its own.
THOROUGH = ("pi4", "pi2")
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


def visit(name: str, folder: Path, wheel: Path) -> Visit:
    """Set the Pi up in a folder and do everything; UnavailableError where it cannot be had."""
    pi = PIS[name]
    machine = set_up(pi, folder)
    machine.install(wheel)
    draw_digit(folder / "digit.png")
    done = {command: machine.run("edgedigits", *arguments) for command, arguments in COMMANDS.items()}
    wheels = [option for runtime in WHEELS[pi.system.name] for option in ("--runtime", runtime)]
    default = ("--kernels", "default")
    every: dict[str, tuple[str, ...]] = {"parity": (), "robust": ("robust", *default)}
    for command, options in (every if name in THOROUGH else {"parity": default}).items():
        # One worker: the other cores run other Pis.
        arguments = ("parity", *options, *wheels, "--workers", "1", "--json", f"{command}.json")
        done[command] = machine.run("edgedigits", *arguments)
    counts, versions = {}, {}
    if name in COUNTED:
        plugin = folder / "plugin"
        plugin.mkdir()
        counter = Counter(machine, build_plugin(plugin))
        versions = counter.versions
        for (runtime, artifact), whole in COUNTED[name].items():
            count = counter.all if whole else counter.calls
            counts[f"{artifact} in {runtime}"] = count(runtime, artifact)
    return Visit(machine, done, counts, versions)
