"""What the tests do on each emulated Pi with our wheel: run its commands, and count instructions."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from emulated import Counter, build_plugin
from pis import ASKED, PIS, Machine, draw_digit, set_up

Done = subprocess.CompletedProcess[str]
WHO = "import platform, sys; print(platform.machine(), '%d.%d' % sys.version_info[:2], sys.executable)"
ALL = ASKED == "all"
only_of_all = pytest.mark.skipif(not ALL, reason="takes long: EDGEDIGITS_EMULATED=all runs it, as CI does")
# With EDGEDIGITS_EMULATED=all, one Pi of each word size runs every kernel set, and the other packaged bundle.
THOROUGH = ("pi4", "pi2")
# With EDGEDIGITS_EMULATED=all, this one also runs parity on QEMU's own processor, which has SVE, unlike any Pi.
NO_PI = "pi4"
# Runtime and artifact of which instructions are counted, and whether those of whole commands are too.
COUNTED = {
    "pi4": {
        ("litert", "float32.tflite"): True,
        ("litert", "int8.tflite"): False,
        ("onnxruntime", "float32.onnx"): False,
    },
    "pi2": {("tflite-runtime", "int8_full.tflite"): False},
}


@dataclass(frozen=True)
class Visit:
    """A Pi with our wheel, its results by command, and the instructions by ``"ARTIFACT in RUNTIME"``."""

    machine: Machine
    done: dict[str, Done]
    counts: dict[str, dict[str, float]]


def visit(name: str, folder: Path, wheel: Path) -> Visit:
    """Set the Pi up in a folder and run everything; UnavailableError if it cannot be emulated."""
    pi = PIS[name]
    machine = set_up(pi, folder)
    machine.install(wheel)
    draw_digit(folder / "digit.png")
    done = {
        "who": machine.run("python3", "-c", WHO),
        "inspect": machine.run("edgedigits", "inspect"),
        "predict": machine.run("edgedigits", "predict", "digit.png", "--index", "1015", "--json", "-"),
        "doctor": machine.run("edgedigits", "doctor", "--json", "-"),
    }
    default = ("--kernels", "default")
    parities = {"parity": (), "robust": ("robust", *default)} if ALL and name in THOROUGH else {"parity": default}
    runtimes = [option for runtime in pi.system.runtimes for option in ("--runtime", runtime)]
    for parity, options in parities.items():
        # One worker: the other cores run other Pis.
        arguments = (*options, *runtimes, "--workers", "1", "--json", f"{parity}.json")
        done[parity] = machine.run("edgedigits", "parity", *arguments)
    counts = {}
    if name in COUNTED:
        (folder / "plugin").mkdir()
        counter = Counter(machine, build_plugin(folder / "plugin"))
        for (runtime, artifact), whole in COUNTED[name].items():
            commands = counter.commands(runtime, artifact) if whole else {}
            counts[f"{artifact} in {runtime}"] = {**counter.calls(runtime, artifact), **commands}
    if ALL and name == NO_PI:
        other = replace(machine, pi=replace(pi, cpu="max"))
        other.write_script()
        chosen = ("--artifact", "int8", "--runtime", "litert", *default)
        done["no pi"] = other.run("edgedigits", "parity", *chosen, "--json", "-")
    return Visit(machine, done, counts)
