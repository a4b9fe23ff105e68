"""What a kit can be made for: the processors, and what the Debian release below each Python brings."""

from __future__ import annotations

from dataclasses import dataclass

from edgedigits.errors import InputError
from edgedigits.runtimes.wheels import WHEELS, Platform, Wheel, advice_for, wheel_for

#: The release of Raspberry Pi OS (and of Debian) by its Python: code name and glibc.
RELEASES = {(3, 11): ("bookworm", (2, 36)), (3, 13): ("trixie", (2, 41))}
OLDEST_PYTHON = (3, 10)
WITHOUT_WHEEL = "numpy"  # this runtime is part of edgedigits


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: as ``--target`` has it.
        words: for a message.
        machine: in the words of wheels.
        kernels: what ``platform.machine()`` may say there. A 32-bit system often has a 64-bit kernel; an armv6l
            (Pi 1 and Zero) runs a 32-bit system too, but nothing that was built for armv7l.
        triplet: how its Python's extension modules are named.
        debian: what Debian calls it.
        glibc: the newest that a wheel may need; None where the release of Raspberry Pi OS decides.
    """

    name: str
    words: str
    machine: str
    kernels: tuple[str, ...]
    triplet: str
    debian: str
    glibc: tuple[int, int] | None = None

    def platform(self, python: tuple[int, int]) -> Platform:
        """The device in the words of the table of wheels."""
        oldest = RELEASES[3, 11][1]  # of a Python that the user installed, nothing is known
        return Platform(python, self.machine, release=self.glibc or RELEASES.get(python, ("", oldest))[1])

    def suffix(self, python: tuple[int, int]) -> str:
        """How that Python's extension modules end: processor, word size, libc and version in one."""
        return f".cpython-{python[0]}{python[1]}-{self.triplet}.so"


TARGETS = {
    target.name: target
    for target in (
        Target("pi-64", "64-bit ARM (aarch64)", "aarch64", ("aarch64",), "aarch64-linux-gnu", "arm64"),
        Target(
            "pi-32", "32-bit ARM (armv7l)", "armv7l", ("armv7l", "armv8l", "aarch64"), "arm-linux-gnueabihf", "armhf"
        ),
        Target("linux-64", "64-bit x86 (x86_64)", "x86_64", ("x86_64",), "x86_64-linux-gnu", "amd64", glibc=(2, 28)),
    )
}


def parse_target(name: str) -> Target:
    """The target of that name; InputError otherwise."""
    try:
        return TARGETS[name]
    except KeyError:
        raise InputError(f"no target is called {name!r}; choose one of {', '.join(TARGETS)}") from None


def parse_python(text: str) -> tuple[int, int]:
    """``"3.11"`` to ``(3, 11)``; InputError for what is no version, or one that edgedigits does not run on."""
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal() and text.isascii()):
        raise InputError(f"--python {text}: not a version of Python; expected such as 3.11")
    version = int(major), int(minor)
    if version[0] != 3 or version < OLDEST_PYTHON:
        raise InputError(f"--python {text}: edgedigits needs Python 3.10 or newer")
    return version


def choose_runtime(target: Target, python: tuple[int, int], wanted: str | None) -> tuple[str, Wheel | None]:
    """The runtime for the kit and its wheel; the runtime numpy has none.

    Args:
        wanted: its name; None for the first that has a wheel there, else numpy.

    Raises:
        InputError: there is no such runtime, or no wheel of it for that device and Python.
    """
    where = target.platform(python)
    names = tuple(dict.fromkeys(wheel.runtime for wheel in WHEELS))
    if wanted is None:
        # Only what opens .tflite is chosen unasked, as a Classifier does.
        for name in names:
            wheel = wheel_for(name, where)
            if wheel is not None and name != "onnxruntime":
                return name, wheel
        return WITHOUT_WHEEL, None
    if wanted == WITHOUT_WHEEL:
        return wanted, None
    if wanted not in names:
        raise InputError(f"a kit has no runtime {wanted!r}; choose one of {', '.join((*names, WITHOUT_WHEEL))}")
    wheel = wheel_for(wanted, where)
    if wheel is None:
        others = [name for name in names if wheel_for(name, where)]
        why = advice_for(wanted, where).why
        raise InputError(
            f"{wanted} has no wheel for {target.name} with Python {where.python_text}: {why}; "
            f"make the kit with --runtime {' or '.join((*others, WITHOUT_WHEEL))}, or with another --python"
        )
    return wanted, wheel
