"""Which runtime has a wheel for which platform: a dated table, and the install command that follows from it.

The table lists only releases that have been run with edgedigits. `packaging.tags` could say whether a wheel fits this
machine, but neither why not nor what fits another one: both need the system, processor and versions as listed here.
"""

from __future__ import annotations

import platform
import re
import struct
import sys
import sysconfig
from dataclasses import dataclass
from typing import NamedTuple

from edgedigits.runtimes.table import RUNTIMES

#: When the table was last compared with the package index.
TABLE_DATE = "2026-11-22"

Version = tuple[int, int]


@dataclass(frozen=True)
class Platform:
    """What decides which wheels fit.

    Attributes:
        machine: the processor as wheels name it, such as ``"aarch64"``; ``"arm64"`` on macOS, ``"amd64"`` on Windows.
        release: of glibc or macOS, such as ``(2, 36)``; None if unknown, which counts as new enough.
        libc: such as ``"glibc"`` or ``"musl"``; only used on Linux.
        implementation: ``"CPython"``, ``"PyPy"`` or ``"free-threaded CPython"``.
    """

    python: Version
    machine: str
    system: str = "Linux"
    release: Version | None = None
    libc: str = "glibc"
    implementation: str = "CPython"

    @property
    def arm32(self) -> bool:
        """Whether it is a 32-bit ARM, for which the package index has no wheel of NumPy or Pillow."""
        return self.machine.startswith("armv")


class Wheel(NamedTuple):
    """A release of a runtime for one system and processor.

    ``oldest`` and ``newest`` are the first and last CPython that it has a wheel for, ``release`` is the oldest glibc or
    macOS that it runs on (None on Windows), ``needs`` are requirements that its metadata lacks.
    """

    runtime: str
    version: str
    oldest: Version
    newest: Version
    system: str
    machine: str
    release: Version | None
    needs: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """Such as ``ai-edge-litert==2.3.0``."""
        return f"{RUNTIMES[self.runtime].distribution}=={self.version}"

    @property
    def install(self) -> str:
        """The pip command."""
        return " ".join(["pip install", self.requirement, *(f"'{need}'" for need in self.needs)])

    def runs_on(self, where: Platform) -> bool:
        """Whether pip would install it there."""
        if where.implementation != "CPython" or (where.system == "Linux" and where.libc != "glibc"):
            return False
        same = (self.system, self.machine) == (where.system, where.machine)
        new_enough = self.release is None or where.release is None or where.release >= self.release
        return same and new_enough and self.oldest <= where.python <= self.newest


#: Runtimes in order of preference, the newest release first.
WHEELS = (
    Wheel("litert", "2.3.0", (3, 10), (3, 14), "Linux", "x86_64", (2, 27)),
    Wheel("litert", "2.3.0", (3, 10), (3, 14), "Linux", "aarch64", (2, 27)),
    Wheel("litert", "2.3.0", (3, 10), (3, 14), "Darwin", "arm64", (12, 0)),
    Wheel("litert", "2.3.0", (3, 10), (3, 14), "Windows", "amd64", None),
    Wheel("tflite-runtime", "2.14.0", (3, 8), (3, 11), "Linux", "x86_64", (2, 17), ("numpy<2",)),
    Wheel("tflite-runtime", "2.14.0", (3, 8), (3, 11), "Linux", "aarch64", (2, 34), ("numpy<2",)),
    Wheel("tflite-runtime", "2.14.0", (3, 8), (3, 11), "Linux", "armv7l", (2, 34), ("numpy<2",)),
    Wheel("onnxruntime", "1.31.1", (3, 11), (3, 14), "Linux", "x86_64", (2, 28)),
    Wheel("onnxruntime", "1.31.1", (3, 11), (3, 14), "Linux", "aarch64", (2, 28)),
    Wheel("onnxruntime", "1.31.1", (3, 11), (3, 14), "Darwin", "arm64", (14, 0)),
    Wheel("onnxruntime", "1.31.1", (3, 11), (3, 14), "Windows", "amd64", None),
    Wheel("onnxruntime", "1.31.1", (3, 11), (3, 14), "Windows", "arm64", None),
    Wheel("onnxruntime", "1.23.2", (3, 10), (3, 13), "Linux", "x86_64", (2, 27)),
    Wheel("onnxruntime", "1.23.2", (3, 10), (3, 13), "Linux", "aarch64", (2, 27)),
    Wheel("onnxruntime", "1.23.2", (3, 10), (3, 13), "Darwin", "arm64", (13, 0)),
    Wheel("onnxruntime", "1.23.2", (3, 10), (3, 13), "Darwin", "x86_64", (13, 0)),
    Wheel("onnxruntime", "1.23.2", (3, 10), (3, 13), "Windows", "amd64", None),
)
#: Debian packages of runtimes without a wheel: (runtime, machine, python) -> package.
DEBIAN = {("onnxruntime", "armv7l", (3, 13)): "python3-onnxruntime"}
#: Debian packages of our own dependencies that have no wheel for a 32-bit ARM: distribution -> package.
DEBIAN_ARM32 = {"numpy": "python3-numpy", "Pillow": "python3-pil"}


class Advice(NamedTuple):
    """How to get a runtime: the command, or None; why there is no wheel; what to use instead."""

    install: str | None
    why: str = ""
    instead: str = ""


def wheel_for(runtime: str, where: Platform) -> Wheel | None:
    """The newest wheel of that runtime that runs there; None if there is none."""
    return next((wheel for wheel in WHEELS if wheel.runtime == runtime and wheel.runs_on(where)), None)


def advice_for(runtime: str, where: Platform) -> Advice:
    """The install command for a runtime in :data:`WHEELS`, or why there is none and what to use instead."""
    wheel = wheel_for(runtime, where)
    if wheel is not None:
        return Advice(wheel.install)
    why = _why_not(runtime, where)
    package = DEBIAN.get((runtime, where.machine, where.python))
    if package is not None:
        instead = "use Debian's package, which a virtual environment sees only if made with --system-site-packages"
        return Advice(f"sudo apt install {package}", why, instead)
    others = dict.fromkeys(other.runtime for other in WHEELS if other.runs_on(where))
    packaged = [name for name, machine, python in DEBIAN if (machine, python) == (where.machine, where.python)]
    return Advice(None, why, f"use {' or '.join(others or (*packaged, 'the numpy runtime'))}")


def _why_not(runtime: str, where: Platform) -> str:
    if where.implementation != "CPython":
        return f"its wheels are for CPython, not for {where.implementation}"
    if where.system == "Linux" and where.libc != "glibc":
        return f"its wheels are for glibc (manylinux), not for {where.libc}"
    machine = runtime, where.system, where.machine
    wheels = [wheel for wheel in WHEELS if (wheel.runtime, wheel.system, wheel.machine) == machine]
    if not wheels:
        return f"no wheel for {where.machine} on {'macOS' if where.system == 'Darwin' else where.system}"
    oldest, newest = min(wheel.oldest for wheel in wheels), max(wheel.newest for wheel in wheels)
    if not oldest <= where.python <= newest:
        first, last, here = map(version_text, (oldest, newest, where.python))
        return f"its wheels are for Python {first} to {last}, not {here}"
    needed = min(w.release for w in wheels if w.release and w.oldest <= where.python <= w.newest)
    library = "macOS" if where.system == "Darwin" else "glibc"
    return f"its wheels need {library} {version_text(needed)} or newer, not {version_text(where.release)}"


def this_platform() -> Platform:
    """The platform of the running Python."""
    system = platform.system()
    libc, release = platform.libc_ver() if system == "Linux" else ("", platform.mac_ver()[0])
    if system == "Linux" and libc != "glibc":
        libc, release = "musl" if "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE")) else libc or "its libc", ""
    numbers = re.match(r"(\d+)(?:\.(\d+))?", release)
    free_threaded = "free-threaded " if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return Platform(
        python=sys.version_info[:2],
        machine=python_machine(system, platform.machine(), struct.calcsize("P"), sysconfig.get_platform()),
        system=system,
        release=(int(numbers[1]), int(numbers[2] or 0)) if numbers else None,
        libc=libc,
        implementation=free_threaded + platform.python_implementation(),
    )


def python_machine(system: str, kernel: str, pointer_bytes: int, built_for: str) -> str:
    """The processor that a Python was built for, from ``platform.machine()`` and ``sysconfig.get_platform()``.

    A 32-bit Raspberry Pi OS usually has a 64-bit kernel, whose machine is ``aarch64``.
    """
    if system == "Windows":
        return built_for.removeprefix("win-")
    if pointer_bytes == 4:
        return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(kernel, kernel)
    return kernel


def version_text(version: Version | None) -> str:
    """Such as ``3.11``; empty if unknown."""
    return "{}.{}".format(*version) if version else ""
