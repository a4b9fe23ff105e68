"""What a kit can be made for: processors, Python versions and their Debian releases, and the runtime for each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgedigits.errors import InputError
from edgedigits.runtimes.wheels import WHEELS, Platform, Wheel, advice_for, version_text, wheel_for

#: The release of Raspberry Pi OS (and Debian) by its Python: code name and glibc.
RELEASES = {(3, 11): ("bookworm", (2, 36)), (3, 13): ("trixie", (2, 41))}
WITHOUT_WHEEL = "numpy"  # this runtime is part of edgedigits


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        machine: the processor as wheels name it.
        kernels: possible values of ``platform.machine()``. A 32-bit system often has a 64-bit kernel. armv6l (Pi 1 and
            Zero) is not one, since it cannot run armv7l code.
        triplet: in the file names of its Python's extension modules.
        debian: Debian's name of the architecture.
        glibc: the newest that a wheel may need; None if the release of Raspberry Pi OS decides.
    """

    name: str
    description: str
    machine: str
    kernels: tuple[str, ...]
    triplet: str
    debian: str
    glibc: tuple[int, int] | None = None

    def platform(self, python: tuple[int, int]) -> Platform:
        """The device as the table of wheels describes it; an unknown release counts as the oldest one."""
        return Platform(python, self.machine, release=self.glibc or RELEASES.get(python, RELEASES[3, 11])[1])


_ARM32 = ("armv7l", "armv8l", "aarch64")
_TARGETS = (
    Target("pi-64", "64-bit ARM (aarch64)", "aarch64", ("aarch64",), "aarch64-linux-gnu", "arm64"),
    Target("pi-32", "32-bit ARM (armv7l)", "armv7l", _ARM32, "arm-linux-gnueabihf", "armhf"),
    Target("linux-64", "64-bit x86 (x86_64)", "x86_64", ("x86_64",), "x86_64-linux-gnu", "amd64", glibc=(2, 28)),
)
TARGETS = {target.name: target for target in _TARGETS}


def parse_python(text: str) -> tuple[int, int]:
    """``"3.11"`` to ``(3, 11)``; InputError for anything else, or a Python that edgedigits does not run on."""
    found = re.fullmatch(r"([0-9]+)\.([0-9]+)", text)
    if not found:
        raise InputError(f"--python {text}: not a Python version; expected one such as 3.11")
    version = int(found[1]), int(found[2])
    if version < (3, 10):
        raise InputError(f"--python {text}: edgedigits needs Python 3.10 or newer")
    return version


def choose_runtime(target: Target, python: tuple[int, int], wanted: str | None) -> tuple[str, Wheel | None]:
    """The name and wheel of the runtime for the kit; the numpy runtime has no wheel.

    ``wanted`` is as for :func:`edgedigits.kit.make.make_kit`. InputError if that runtime has no wheel for the device.
    """
    where = target.platform(python)
    names = tuple(dict.fromkeys(wheel.runtime for wheel in WHEELS))
    available = {name: wheel for name in names if (wheel := wheel_for(name, where))}
    if wanted is None:
        wanted = next((name for name in available if name != "onnxruntime"), WITHOUT_WHEEL)
    if wanted in available or wanted == WITHOUT_WHEEL:
        return wanted, available.get(wanted)
    if wanted not in names:
        raise InputError(f"a kit cannot contain {wanted!r}; choose one of {', '.join((*names, WITHOUT_WHEEL))}")
    raise InputError(
        f"{wanted} has no wheel for {target.name} with Python {version_text(python)}: {advice_for(wanted, where).why}; "
        f"use --runtime {' or '.join((*available, WITHOUT_WHEEL))}, or another --python"
    )
