"""What the numbers depend on: processor, clock, heat, load, system, versions.

What cannot be read is None, never guessed.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgedigits import __version__
from edgedigits.runtimes import RUNTIMES

_CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def describe() -> dict[str, Any]:
    """The machine in plain types; keys end in their unit."""
    cpu = _cpu_facts()
    return {
        "model": _text(Path("/proc/device-tree/model")),
        "cpu": cpu.get("model name") or _text(Path("/proc/device-tree/model")) or platform.processor() or None,
        "architecture": platform.machine() or None,
        "cores": os.cpu_count(),
        "frequency_khz": _number(_CPU / "scaling_cur_freq"),
        "governor": _text(_CPU / "scaling_governor"),
        "temperature_millicelsius": _number(Path("/sys/class/thermal/thermal_zone0/temp")),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "memory_bytes": _memory_bytes(),
        "kernel": platform.release() or None,
        "os": _os_name(),
        "python": platform.python_version(),
        "python_build": sys.version.partition("[")[2].rstrip("]") or None,
        "packages": _packages(),
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _cpu_facts() -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    first = (_text(Path("/proc/cpuinfo")) or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return platform.platform() or None


def _packages() -> dict[str, str | None]:
    found: dict[str, str | None] = {"edgedigits": __version__}
    for name in ("numpy", *(info.distribution for info in RUNTIMES.values())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
