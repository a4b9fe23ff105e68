"""Ask a device what it is: one small shell script, before anything is copied to it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from edgedigits.kit.targets import TARGETS, Target
from edgedigits.remote.ssh import HostError
from edgedigits.runtimes.wheels import version_text
from edgedigits.system.limits import RefusedError, parse_json
from edgedigits.system.schema import validate

OLDEST = (3, 10)
MARK = "edgedigits-probe "
# Runs in any Python 3, prints JSON, and fails in one that is too old.
_PYTHON = """
import importlib.machinery, json, os, platform, shutil, sys
folder = os.path.expanduser(sys.argv[1])
place = folder
while not os.path.isdir(place):
    place = os.path.dirname(place)
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (AttributeError, OSError, ValueError):
    libc = ""
try:
    with open(os.path.join(folder, "kit.sha256")) as file:
        installed = file.read()
except OSError:
    installed = ""
print("MARK" + json.dumps({
    "executable": sys.executable, "python": sys.version_info[:2], "suffix": importlib.machinery.EXTENSION_SUFFIXES[0],
    "system": platform.system(), "machine": platform.machine(), "libc": libc,
    "free_bytes": shutil.disk_usage(place).free, "installed": installed,
    "bundles": [name for name in os.listdir(folder) if name.startswith("bundle-")] if installed else [],
}))
sys.exit(sys.version_info < OLDEST)
""".replace("MARK", MARK).replace("OLDEST", str(OLDEST))
_SHELL = """
echo "MARK$(uname -s) $(uname -m)"
for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    command -v $python >/dev/null && $python -I -c CODE FOLDER </dev/null 2>/dev/null && break
done
exit 0
""".replace("MARK", MARK)


@dataclass(frozen=True)
class DeviceFacts:
    """What decides which kit fits a device, and what is there already.

    Attributes:
        suffix: of its Python's extension modules, which names processor, word size and C library.
        machine: the kernel's; a 32-bit system often has a 64-bit kernel.
        libc: such as ``"glibc 2.36"``; empty if it is another one.
        installed: the SHA-256 of the kit that is installed; empty if none is.
        bundles: the folders of bundles that were copied before.
    """

    executable: str
    python: tuple[int, int]
    suffix: str
    system: str
    machine: str
    libc: str
    free_bytes: int
    installed: str
    bundles: tuple[str, ...]

    @property
    def glibc(self) -> tuple[int, ...]:
        """Such as ``(2, 36)``; empty if it is another library."""
        name, _, version = self.libc.partition(" ")
        numbers = version.split(".")
        return tuple(map(int, numbers)) if name == "glibc" and all(n.isdecimal() for n in numbers) else ()

    def target(self) -> Target:
        """What a kit for it is made for; HostError if none can be."""
        python = version_text(self.python)
        for target in TARGETS.values():
            suffix = f".cpython-{python.replace('.', '')}-{target.triplet}.so"
            if self.suffix == suffix and self.machine in target.kernels and self.glibc:
                return target
        kind = f"{self.system} on {self.machine} with Python {python} ({self.suffix.strip('.').partition('.')[0]})"
        if self.machine.startswith("armv6"):
            raise HostError(f"it is {kind}; no runtime is built for a Pi 1 or Zero, use a Pi 2 or newer")
        kits = "kits are for CPython and glibc on Linux, x86_64, aarch64 or armv7l"
        raise HostError(
            f"it is {kind}; {kits}; copy the wheel of edgedigits there and run: python3 -m pip install *.whl"
        )


def probe_script(folder: str) -> bytes:
    """The script for a POSIX shell's standard input; ``folder`` is where we install."""
    return _SHELL.replace("CODE", shlex.quote(_PYTHON)).replace("FOLDER", shlex.quote(folder)).encode()


def read_probe(lines: Iterable[str]) -> DeviceFacts:
    """The facts that the script printed; HostError if there is no usable Python."""
    lines = [line for line in lines if line.strip()]
    answers = [line.partition(MARK)[2] for line in lines if MARK in line]
    if not answers:
        words = f" ({lines[-1].strip()[:200]})" if lines else ""
        raise HostError(f"it has no POSIX shell{words}; expected a device with Linux")
    try:
        found = [validate(DeviceFacts, parse_json(answer)) for answer in answers[1:]]
    except RefusedError as cause:
        raise HostError(f"its Python prints something else than expected ({cause}); reinstall it") from cause
    install = "on the device run: sudo apt install python3"
    if not found:
        raise HostError(f"it has no Python ({answers[0]}); {install}")
    if found[-1].python < OLDEST:
        has, needs = version_text(found[-1].python), version_text(OLDEST)
        raise HostError(f"it has Python {has}, edgedigits needs {needs} or newer; upgrade its system")
    return found[-1]
