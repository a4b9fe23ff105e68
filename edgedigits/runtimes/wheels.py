"""Which runtime has a wheel for which platform: data with a date, in this one place, and what follows from it.

A release stands here once it has been run with edgedigits; where several fit, the first is taken.
"""

from __future__ import annotations

import platform
import re
import struct
import sys
import sysconfig
from dataclasses import dataclass

#: When the table was last held against the package index.
CHECKED = "2026-11-22"

Version = tuple[int, int]
_TAG = re.compile(r"(?P<system>manylinux|macosx|win)(?P<old>2014)?(?:_(?P<major>\d+)_(?P<minor>\d+))?_(?P<machine>\w+)")
_SYSTEMS = {"manylinux": "Linux", "macosx": "Darwin", "win": "Windows"}


@dataclass(frozen=True)
class Platform:
    """What decides which wheels fit.

    Attributes:
        python: such as ``(3, 11)``.
        machine: the processor as this Python uses it, as wheels name it: ``"x86_64"``, ``"aarch64"``, ``"armv7l"``;
            ``"arm64"`` on macOS, ``"amd64"`` on Windows. A 32-bit Python under a 64-bit kernel is ``"armv7l"``.
        system: ``"Linux"``, ``"Darwin"`` or ``"Windows"``.
        release: of glibc or of macOS, such as ``(2, 36)``; None if unknown, which counts as new enough.
        libc: on Linux ``"glibc"``, ``"musl"`` or another; it says nothing elsewhere.
        implementation: ``"CPython"``, ``"PyPy"`` or ``"free-threaded CPython"``.
    """

    python: Version
    machine: str
    system: str = "Linux"
    release: Version | None = None
    libc: str = "glibc"
    implementation: str = "CPython"

    @property
    def python_text(self) -> str:
        """Such as ``3.11``."""
        return _text(self.python)

    @property
    def release_text(self) -> str:
        """Such as ``2.36``; empty if unknown."""
        return _text(self.release) if self.release else ""

    @property
    def arm32(self) -> bool:
        """Whether it is a 32-bit ARM, for which the package index has no wheel of NumPy or Pillow either."""
        return self.machine.startswith("armv")


@dataclass(frozen=True)
class Wheel:
    """One release of a runtime, for some Pythons, on one platform.

    Attributes:
        runtime, distribution: the name in :data:`edgedigits.runtimes.RUNTIMES`, and what pip calls it.
        oldest, newest: the first and the last CPython that it has a wheel for.
        tag: the platform as the file's name and ``pip --platform`` have it, such as ``manylinux_2_34_armv7l``.
        needs: what must stand beside it and would not come by itself, such as ``"numpy<2"``.
    """

    runtime: str
    distribution: str
    version: str
    oldest: Version
    newest: Version
    tag: str
    needs: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """Such as ``ai-edge-litert==2.3.0``."""
        return f"{self.distribution}=={self.version}"

    @property
    def install(self) -> str:
        """The line to type."""
        return " ".join(["pip install", self.requirement, *(f"'{need}'" for need in self.needs)])

    @property
    def system(self) -> str:
        """As :attr:`Platform.system`."""
        return _SYSTEMS[self._parts["system"]]

    @property
    def machine(self) -> str:
        """As :attr:`Platform.machine`."""
        return self._parts["machine"]

    @property
    def release(self) -> Version | None:
        """The oldest glibc or macOS that it runs on; None on Windows."""
        if self._parts["old"]:
            return (2, 17)  # manylinux2014, by PEP 599
        return (int(self._parts["major"]), int(self._parts["minor"])) if self._parts["major"] else None

    @property
    def _parts(self) -> dict[str, str]:
        found = _TAG.fullmatch(self.tag)
        assert found is not None, self.tag
        return found.groupdict()

    def runs_on(self, where: Platform) -> bool:
        """Whether pip would take it there."""
        same = (self.system, self.machine) == (where.system, where.machine) and where.implementation == "CPython"
        new_enough = self.release is None or where.release is None or where.release >= self.release
        glibc = where.system != "Linux" or where.libc == "glibc"
        return same and glibc and new_enough and self.oldest <= where.python <= self.newest


@dataclass(frozen=True)
class Advice:
    """How to get a runtime on a platform.

    Attributes:
        runtime: its name.
        install: the line to type; None where there is none.
        why: what stands against a wheel; empty where there is one.
        instead: what to use where there is no line.
    """

    runtime: str
    install: str | None
    why: str = ""
    instead: str = ""

    def __str__(self) -> str:
        return "; ".join(part for part in (self.why, self.instead, self.install) if part)


def _release(
    runtime: str, distribution: str, version: str, pythons: tuple[Version, Version], tags: str, *needs: str
) -> list[Wheel]:
    return [Wheel(runtime, distribution, version, *pythons, tag, needs) for tag in tags.split()]


_LITERT = ("litert", "ai-edge-litert")
_TFLITE = ("tflite-runtime", "tflite-runtime")
_ONNX = ("onnxruntime", "onnxruntime")
#: Newest first within a runtime; runtimes in their order of preference.
WHEELS = (
    *_release(
        *_LITERT, "2.3.0", ((3, 10), (3, 14)),
        "manylinux_2_27_x86_64 manylinux_2_27_aarch64 macosx_12_0_arm64 win_amd64",
    ),
    *_release(
        *_TFLITE, "2.14.0", ((3, 8), (3, 11)),
        "manylinux2014_x86_64 manylinux_2_34_aarch64 manylinux_2_34_armv7l", "numpy<2",
    ),
    *_release(
        *_ONNX, "1.31.1", ((3, 11), (3, 14)),
        "manylinux_2_28_x86_64 manylinux_2_28_aarch64 macosx_14_0_arm64 win_amd64 win_arm64",
    ),
    *_release(
        *_ONNX, "1.23.2", ((3, 10), (3, 13)),
        "manylinux_2_27_x86_64 manylinux_2_27_aarch64 macosx_13_0_arm64 macosx_13_0_x86_64 win_amd64",
    ),
)  # fmt: skip
#: Debian's own packages where the index has no wheel: (runtime, machine, python) -> the package.
DEBIAN = {("onnxruntime", "armv7l", (3, 13)): "python3-onnxruntime"}
#: The same for what edgedigits itself needs, on a 32-bit ARM: distribution -> the package.
DEBIAN_ARM32 = {"numpy": "python3-numpy", "Pillow": "python3-pil"}
SEEN_BY = "an environment sees it only if made with `python3 -m venv --system-site-packages`"


def wheel_for(runtime: str, where: Platform) -> Wheel | None:
    """The newest wheel of that runtime that runs there, None where there is none."""
    return next((wheel for wheel in WHEELS if wheel.runtime == runtime and wheel.runs_on(where)), None)


def advice_for(runtime: str, where: Platform) -> Advice:
    """The exact line for that runtime there, or why there is none and what to use instead.

    Args:
        runtime: one that stands in :data:`WHEELS`.
    """
    wheel = wheel_for(runtime, where)
    if wheel is not None:
        return Advice(runtime, wheel.install)
    why = _why_not(runtime, where)
    package = DEBIAN.get((runtime, where.machine, where.python))
    if package is not None:
        return Advice(runtime, f"sudo apt install {package}", why, f"Debian has its own, and {SEEN_BY}")
    others = dict.fromkeys(other.runtime for other in WHEELS if other.runs_on(where))
    if others:
        return Advice(runtime, None, why, f"use {' or '.join(others)}")
    system = [name for name, machine, python in DEBIAN if (machine, python) == (where.machine, where.python)]
    return Advice(runtime, None, why, f"use {' or '.join([*system, 'the runtime numpy'])}")


def dependency_line(distribution: str, where: Platform) -> str:
    """The line to type for something that edgedigits itself needs, such as ``"numpy"`` or ``"Pillow"``."""
    if where.arm32 and distribution in DEBIAN_ARM32:
        return f"sudo apt install {DEBIAN_ARM32[distribution]}"
    return f"pip install {distribution}"


def _why_not(runtime: str, where: Platform) -> str:
    """What stands against it: the first of the implementation, the libc, the processor, the Python, the release."""
    rows = [wheel for wheel in WHEELS if wheel.runtime == runtime]
    if where.implementation != "CPython":
        return f"its wheels are for CPython, not for {where.implementation}"
    if where.system == "Linux" and where.libc != "glibc":
        return f"its wheels are for glibc (manylinux), not for {where.libc}"
    rows = [wheel for wheel in rows if (wheel.system, wheel.machine) == (where.system, where.machine)]
    if not rows:
        return f"no wheel for {where.machine} on {'macOS' if where.system == 'Darwin' else where.system}"
    oldest, newest = min(wheel.oldest for wheel in rows), max(wheel.newest for wheel in rows)
    if not oldest <= where.python <= newest:
        return f"its wheels are for Python {_text(oldest)} to {_text(newest)}, not {where.python_text}"
    needed = min(w.release for w in rows if w.release is not None and w.oldest <= where.python <= w.newest)
    assert where.release is not None
    library = "macOS" if where.system == "Darwin" else "glibc"
    return f"its wheels need {library} {_text(needed)} or newer, not {_text(where.release)}"


def here() -> Platform:
    """The platform of this very Python."""
    system = platform.system()
    libc, release = platform.libc_ver() if system == "Linux" else ("", platform.mac_ver()[0])
    if system == "Linux" and libc != "glibc":
        libc, release = "musl" if "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE")) else libc or "its libc", ""
    free = "free-threaded " if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return Platform(
        python=sys.version_info[:2],
        machine=machine_of(system, platform.machine(), struct.calcsize("P"), sysconfig.get_platform()),
        system=system,
        release=_version(release),
        libc=libc,
        implementation=free + platform.python_implementation(),
    )


def machine_of(system: str, kernel: str, pointer_bytes: int, built_for: str) -> str:
    """The processor as a Python uses it, which need not be the kernel's.

    Args:
        system: as :attr:`Platform.system`.
        kernel: ``platform.machine()``; under a 64-bit kernel a 32-bit Raspberry Pi OS shows ``aarch64`` all the same.
        pointer_bytes: 4 or 8, of this Python.
        built_for: ``sysconfig.get_platform()``; on Windows it is what the interpreter was built for.
    """
    if system == "Windows":
        return built_for.removeprefix("win-")
    if pointer_bytes == 4:
        return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(kernel, kernel)
    return kernel


def _version(text: str) -> Version | None:
    found = re.match(r"(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _text(version: Version) -> str:
    return "{}.{}".format(*version)
