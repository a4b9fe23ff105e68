"""Emulated Raspberry Pis: Debian's packages for their processors in QEMU's user mode; needs no root.

    python tests/emulated/pis.py pi4      # set one up in build/pis/pi4, with our wheel, and print how to use it

A Pi is a folder that QEMU lays over ``/``. Its ``bin/python3`` is a script for this machine, which starts QEMU with the
guest's Python under the script's own path. So the guest takes the script for its interpreter: child processes, virtual
environments and the programs that pip installs work without binfmt_misc. Everything but our wheel comes from a cache.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pi_cache import CACHE, cached, copy_tree
from pi_debian import System, UnavailableError

PROJECT = Path(__file__).parents[2]
# "required": tests fail instead of being skipped if a Pi cannot be emulated. "all": so they do, and there are more.
ASKED = os.environ.get("EDGEDIGITS_EMULATED", "")
BASE = ("base-files", "python3", "python3-pip", "libstdc++6")
ARM64 = ("arm64", "aarch64-linux-gnu", "qemu-aarch64")
ALL_RUNTIMES = ("litert", "tflite-runtime", "onnxruntime")
BOOKWORM = System("bookworm", *ARM64, "3.11", BASE, "runtimes", ALL_RUNTIMES)
TRIXIE = System("trixie", *ARM64, "3.13", BASE, "runtimes", ("litert", "onnxruntime"), pins=("numpy==2.3.5",))
BOOKWORM_32 = System(
    "bookworm",
    "armhf",
    "arm-linux-gnueabihf",
    "qemu-arm",
    python="3.11",
    packages=(*BASE, "python3-numpy", "python3-pil", "python3-click"),
    extra="tflite-runtime",
    runtimes=("tflite-runtime",),
    from_debian=("numpy", "pillow", "click"),
)


@dataclass(frozen=True)
class Pi:
    """A model of Pi: a system on a processor.

    Attributes:
        cpu: QEMU's name of the processor. Never its default: that has SVE, which no Pi has, and with which LiteRT's
            int8 results are silently wrong.
        part, features: in /proc/cpuinfo, by which XNNPACK and onnxruntime choose their kernels.
    """

    name: str
    model: str
    system: System
    cpu: str
    part: str
    features: str

    def cpuinfo(self) -> str:
        """Its /proc/cpuinfo; QEMU 7 would show that of this machine, on which the runtimes crash."""
        generation = "7" if self.system.architecture == "armhf" else "8"
        block = f"BogoMIPS\t: 108.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
        block += f"CPU architecture: {generation}\nCPU variant\t: 0x0\nCPU part\t: {self.part}\nCPU revision\t: 3\n\n"
        return "".join(f"processor\t: {core}\n{block}" for core in range(4)) + f"Model\t\t: {self.model}\n"


OLD = "fp asimd evtstrm crc32 cpuid"
NEW = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
OLD_32 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
PIS = {
    pi.name: pi
    for pi in (
        Pi("pi3", "Raspberry Pi 3 Model B Rev 1.2", BOOKWORM, "cortex-a53", "0xd03", OLD),
        Pi("pi4", "Raspberry Pi 4 Model B Rev 1.4", BOOKWORM, "cortex-a72", "0xd08", OLD),
        Pi("pi5", "Raspberry Pi 5 Model B Rev 1.0", BOOKWORM, "cortex-a76", "0xd0b", NEW),
        Pi("pi5-trixie", "Raspberry Pi 5 Model B Rev 1.0", TRIXIE, "cortex-a76", "0xd0b", NEW),
        Pi("pi2", "Raspberry Pi 2 Model B Rev 1.1", BOOKWORM_32, "cortex-a7", "0xc07", OLD_32),
    )
}


@dataclass(frozen=True)
class Machine:
    """A Pi set up in a folder, which is its ``/``."""

    pi: Pi
    folder: Path

    @property
    def python(self) -> Path:
        """The script that runs the guest's interpreter."""
        return self.folder / "bin" / "python3"

    @property
    def elf(self) -> Path:
        """The guest's own interpreter."""
        return self.folder / "usr" / "bin" / f"python{self.pi.system.python}"

    @property
    def venv(self) -> Path:
        """Where our wheel is installed."""
        return self.folder / "venv"

    def qemu(self, *options: str, called: str) -> list[str]:
        """The command line that runs the guest's Python as ``called``, without its arguments."""
        qemu = shutil.which(self.pi.system.qemu) or self.pi.system.qemu
        return [qemu, *options, "-cpu", self.pi.cpu, "-L", str(self.folder), "-0", called, str(self.elf)]

    def write_script(self) -> None:
        """Write :attr:`python`."""
        command = shlex.join(self.qemu(called="CALLED")).replace("CALLED", '"$0"')
        self.python.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        self.python.chmod(0o755)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the virtual environment, or else of the system, in the Pi's folder."""
        program = next(p for folder in (self.venv, self.folder) if (p := folder / "bin" / command[0]).exists())
        line = [str(program), *command[1:]]
        return subprocess.run(
            line, capture_output=True, text=True, cwd=self.folder, env=guest_environment(), timeout=300, check=False
        )

    def install(self, wheel: Path) -> None:
        """Install our wheel with its extra as a user does: in a virtual environment, with the Pi's own pip.

        The dependencies come from the cache, where the same pip put them for a wheel with the same requirements, since
        resolving them takes most of the time. UnavailableError if pip could not download a package.
        """
        _make_venv(self)
        parts = (*_requirements(wheel), *self.pi.system.packages, self.pi.system.extra, self.pi.system.constraints())
        copy_tree(cached(f"site-{self.pi.system.name}", parts, lambda at: _fill(self, wheel, at)), _site(self))
        _pip(self, wheel, "--no-index", "--no-deps")


def set_up(pi: Pi, folder: Path) -> Machine:
    """A Pi in an empty folder, with nothing but Debian's Python and pip.

    UnavailableError if QEMU is missing or Debian's packages cannot be downloaded.
    """
    if shutil.which(pi.system.qemu) is None:
        raise UnavailableError(f"no {pi.system.qemu}; Debian: apt-get install --no-install-recommends qemu-user")
    root = pi.system.root()
    machine = Machine(pi, folder.absolute())
    for name, text in {
        "proc/cpuinfo": pi.cpuinfo(),
        "proc/device-tree/model": pi.model + "\0",
        "etc/os-release": (root / "usr/lib/os-release").read_text(encoding="utf-8"),
    }.items():
        path = machine.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (machine.folder / "bin").mkdir()
    machine.write_script()
    (machine.folder / "usr").symlink_to(root / "usr")
    (machine.folder / "lib").symlink_to("usr/lib")
    return machine


def build_wheel(folder: Path) -> Path:
    """Our wheel, as ``pip wheel`` builds it."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, str(folder), str(PROJECT)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def draw_digit(path: Path) -> None:
    """The 28x28 picture that X[1015], a 2, was made from."""
    import numpy as np
    from PIL import Image

    with np.load(PROJECT / "data" / "source.npz") as source:
        Image.fromarray(source["images"][1015]).save(path)


def guest_environment() -> dict[str, str]:
    """Our environment without the variables for Python, the dynamic linker and QEMU."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LD_", "QEMU_"))}


def _make_venv(machine: Machine) -> None:
    done = machine.run("python3", "-m", "venv", "--system-site-packages", "--without-pip", str(machine.venv))
    if done.returncode:
        raise RuntimeError(f"{machine.pi.name}: no virtual environment: {done.stderr.strip()}")


def _site(machine: Machine) -> Path:
    return machine.venv / "lib" / f"python{machine.pi.system.python}" / "site-packages"


def _pip(machine: Machine, wheel: Path, *options: str) -> None:
    """``pip install WHEEL[EXTRA]`` in the virtual environment.

    pip finds out from its interpreter's file which wheels a 32-bit ARM takes, so while it runs that file is the guest's
    own and not the script: pip starts no child processes here.
    """
    interpreter = machine.venv / "bin" / "python3"
    script = interpreter.readlink()
    constraints = machine.folder / "constraints.txt"
    constraints.write_text(machine.pi.system.constraints(), encoding="utf-8")
    environment = {**guest_environment(), "PIP_CACHE_DIR": str(CACHE / "pip"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [*machine.qemu(called=str(interpreter)), "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    command += ["--constraint", str(constraints), *options, f"{wheel}[{machine.pi.system.extra}]"]
    interpreter.unlink()
    interpreter.symlink_to(machine.elf)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=machine.folder, check=False)
    interpreter.unlink()
    interpreter.symlink_to(script)
    if done.returncode:
        raise UnavailableError(f"{machine.pi.name}: pip: {' '.join((done.stderr or done.stdout).split())}")


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode("utf-8").splitlines()
    return [line for line in lines if line.startswith("Requires-")]


def _fill(machine: Machine, wheel: Path, at: Path) -> None:
    """Write what pip installs next to our wheel to the folder ``at``.

    Only what a prediction imports is compiled: the rest, mostly tests, would take longer than everything else here.
    """
    _pip(machine, wheel, "--no-compile")
    for runtime in (*machine.pi.system.runtimes, "numpy"):
        machine.run("edgedigits", "predict", "--index", "0", "--runtime", runtime)
    site = _site(machine)
    for ours in site.glob("edgedigits*"):
        shutil.rmtree(ours)
    shutil.copytree(site, at)
    shutil.rmtree(machine.venv)
    _make_venv(machine)


if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in PIS]:
        raise SystemExit(f"expected one of {', '.join(PIS)}")
    place = PROJECT / "build" / "pis" / sys.argv[1]
    shutil.rmtree(place, ignore_errors=True)
    with tempfile.TemporaryDirectory() as wheels:
        set_up(PIS[sys.argv[1]], place).install(build_wheel(Path(wheels)))
    print(f"{place.relative_to(PROJECT)}/venv/bin/edgedigits predict --index 1015")
