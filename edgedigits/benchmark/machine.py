"""What a timing depends on: processor, clock, temperature, power supply, load, system and package versions.

A fact that cannot be read is None. Files are read below a root folder: ``/``, or another one in tests.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedigits import __version__
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.system.resources import total_memory

ROOT = Path("/")
# Processor features by which the runtimes choose their kernels, on x86-64 and on ARM.
FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "neon", "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip
# vcgencmd get_throttled, Raspberry Pi documentation: bits 0-3 show the current state, bits 16-19 the same since boot.
THROTTLE_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
MOST_LOAD = 0.5


@dataclass(frozen=True)
class Throttling:
    """A reading of the Raspberry Pi's ``get_throttled``; ``raw`` is None on other machines."""

    raw: int | None

    @property
    def now(self) -> tuple[str, ...]:
        """The conditions that are active at the time of the reading."""
        return tuple(name for bit, name in THROTTLE_BITS.items() if (self.raw or 0) >> bit & 1)

    @property
    def since_boot(self) -> tuple[str, ...]:
        """The conditions that have been active since the machine started."""
        return Throttling((self.raw or 0) >> 16).now

    def to_json(self) -> dict[str, Any]:
        """The bits and their names."""
        return {"raw": self.raw, "now": list(self.now), "since_boot": list(self.since_boot)}


@dataclass(frozen=True)
class MachineWarning:
    """A condition that makes timings unreliable, and how to remove it."""

    what: str
    remedy: str


def describe(root: Path = ROOT) -> dict[str, Any]:
    """The machine as JSON types; keys end in their unit."""
    cpu = _cpu_facts(root)
    board = _text(root / "proc/device-tree/model")
    versions = {info.distribution: info.version for info in RUNTIMES.values()}  # None if it is not installed
    return {
        "host": platform.node() or None,
        "model": board,
        "cpu": cpu.get("model name") or board or platform.processor() or None,
        "cpu_features": [f for f in FEATURES if f in cpu.get("flags", cpu.get("Features", "")).split()] or None,
        "architecture": platform.machine() or None,
        "cores": os.cpu_count(),
        **conditions(root),
        "governor": _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": total_memory(),
        "kernel": platform.release() or None,
        "os": _os_name(),
        "container": _container(root),
        "on_battery": _on_battery(root),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {"edgedigits": __version__, "numpy": versions.pop("numpy"), **versions},
    }


def conditions(root: Path = ROOT) -> dict[str, Any]:
    """What changes during a benchmark: frequency, temperature, load."""
    load = _text(root / "proc/loadavg")
    return {
        "frequency_khz": _number(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
        "temperature_millicelsius": _number(root / "sys/class/thermal/thermal_zone0/temp"),
        "load_1min": float(load.split()[0]) if load else None,
    }


def throttling(root: Path = ROOT) -> Throttling:
    """Read ``get_throttled`` from the firmware's file, or with ``vcgencmd`` if it is installed."""
    text = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if text is None and root == ROOT and (command := shutil.which("vcgencmd")):
        done = subprocess.run([command, "get_throttled"], capture_output=True, text=True, timeout=10)
        text = done.stdout if done.returncode == 0 else None
    try:
        return Throttling(None if text is None else int(text.rpartition("=")[2], 16))
    except ValueError:
        return Throttling(None)


def why_invalid(readings: Sequence[Throttling]) -> str | None:
    """Why a run with these readings, first to last, is invalid: the device was throttled. None if it was not.

    A condition counts if it is active at any reading, or if its since-boot bit was set between first and last.
    """
    seen = [name for reading in readings for name in reading.now]
    seen += [name for name in readings[-1].since_boot if name not in readings[0].since_boot]
    if not seen:
        return None
    return f"the device was {' and '.join(dict.fromkeys(seen))} during the run; use its own power supply and cool it"


def find_warnings(described: dict[str, Any], reading: Throttling) -> list[MachineWarning]:
    """Conditions of this machine that make its timings unreliable."""
    found = []
    governor, load = described["governor"], described["load_1min"]
    if governor is not None and governor != "performance":
        command = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        found.append(MachineWarning(f"the frequency governor is {governor}, so the clock speed varies", command))
    if load is not None and load > MOST_LOAD:
        found.append(MachineWarning(f"the load is {load}: other programs are running", "find them with `top`"))
    if described["on_battery"]:
        found.append(MachineWarning("the machine runs on battery, which lowers the clock speed", "plug it in"))
    if reading.since_boot:
        what = f"since boot the device has been {' and '.join(reading.since_boot)}"
        found.append(MachineWarning(what, "use its own power supply and cool it; `sudo reboot` clears this record"))
    return found


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.removeprefix("-").isdecimal() else None


def _cpu_facts(root: Path) -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    first = (_text(root / "proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:  # not Linux
        return platform.platform() or None


def _container(root: Path) -> str | None:
    """The kind of container; None outside of one."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    return _text(root / "run/systemd/container")


def _on_battery(root: Path) -> bool | None:
    """Whether a battery is discharging; None if the system lists no power supply."""
    supplies = list((root / "sys/class/power_supply").glob("*/type"))
    if not supplies:
        return None
    batteries = [path.parent for path in supplies if _text(path) == "Battery"]
    return any(_text(path / "status") == "Discharging" for path in batteries)
