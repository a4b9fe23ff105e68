"""Raspberry Pis made from nothing: Debian's packages for their processors, run by QEMU's user mode, without being root.

    python tests/emulated/pis.py pi4      # set one up in build/pis/pi4, with our wheel, and say how to use it

A Pi is a folder that QEMU lays over ``/``. Its ``bin/python3`` is a script of this machine that starts QEMU with the
guest's Python, under the script's own path, so that the guest takes the script for its interpreter: child processes,
virtual environments and the programs that pip installs work, without binfmt_misc. Everything but our wheel comes from a
cache, by a hash of what it was made from.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pi_cache import CACHE, cached, copy_tree
from pi_debian import System, UnavailableError

PROJECT = Path(__file__).parents[2]
# "required": where a Pi cannot be had the tests fail instead of being skipped. "all": so they do, and there are more.
ASKED = os.environ.get("EDGEDIGITS_EMULATED", "")
BASE = ("base-files", "python3", "python3-pip", "libstdc++6")
ARM64 = ("arm64", "aarch64-linux-gnu", "qemu-aarch64")
BOOKWORM = System("bookworm", *ARM64, python="3.11", packages=BASE, extra="runtimes")
TRIXIE = System("trixie", *ARM64, python="3.13", packages=BASE, extra="runtimes", pins=("numpy==2.3.5",))
BOOKWORM_32 = System(
    "bookworm",
    "armhf",
    "arm-linux-gnueabihf",
    "qemu-arm",
    python="3.11",
    packages=(*BASE, "python3-numpy", "python3-pil", "python3-click"),
    extra="tflite-runtime",
    from_debian=("numpy", "pillow", "click"),
)


@dataclass(frozen=True)
class Pi:
    """A model of Pi: a system on a processor.

    Attributes:
        cpu: QEMU's name of the processor. Never its default: that has SVE, which no Pi has, and under it LiteRT's int8
            answers are silently wrong.
        part: the processor's number in /proc/cpuinfo, by which XNNPACK and onnxruntime choose their kernels.
        features: its features there.
    """

    name: str
    model: str
    system: System
    cpu: str
    part: str
    features: str

    def cpuinfo(self) -> str:
        """What /proc/cpuinfo says on it; QEMU 7 would show that of this machine, and the runtimes crash on it."""
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
    """A Pi that is set up in a folder, which is its ``/``."""

    pi: Pi
    folder: Path

    @property
    def python(self) -> Path:
        """The system's interpreter, a script of this machine."""
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
        """The command line that runs the guest's Python, called by that name; its arguments follow."""
        qemu = shutil.which(self.pi.system.qemu) or self.pi.system.qemu
        return [qemu, *options, "-cpu", self.pi.cpu, "-L", str(self.folder), "-0", called, str(self.elf)]

    def script(self) -> str:
        """What stands in :attr:`python`."""
        command = shlex.join(self.qemu(called="CALLED")).replace("CALLED", '"$0"')
        return f'#!/bin/sh\nexec {command} "$@"\n'

    @contextmanager
    def on(self, cpu: str) -> Iterator[Machine]:
        """The same with another of QEMU's processors, for a while; /proc/cpuinfo stays as it is."""
        other = replace(self, pi=replace(self.pi, cpu=cpu))
        self.python.write_text(other.script(), encoding="utf-8")
        try:
            yield other
        finally:
            self.python.write_text(self.script(), encoding="utf-8")

    def run(self, *command: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run a program of the virtual environment, or else of the system, in the Pi's folder."""
        program = next(p for folder in (self.venv, self.folder) if (p := folder / "bin" / command[0]).exists())
        line = [str(program), *command[1:]]
        environment = guest_environment()
        return subprocess.run(
            line, capture_output=True, text=True, cwd=self.folder, env=environment, timeout=timeout, check=False
        )

    def install(self, wheel: Path) -> None:
        """Install our wheel with its extra as a user does: a virtual environment, and the Pi's own pip.

        What it depends on comes from the cache, where the same pip put it for a wheel of the same requirements;
        to resolve those again would take most of the time.

        Raises:
            UnavailableError: pip could not have a package.
        """
        _make_venv(self)
        parts = (*_requirements(wheel), *self.pi.system.packages, self.pi.system.extra, self.pi.system.constraints())
        copy_tree(cached(f"site-{self.pi.system.name}", parts, lambda at: _fill(self, wheel, at)), _site(self))
        _pip(self, wheel, "--no-index", "--no-deps")


def set_up(pi: Pi, folder: Path) -> Machine:
    """A bare Pi in an empty folder: Python and pip as Debian has them, and nothing installed.

    Raises:
        UnavailableError: there is no QEMU, or Debian's packages cannot be had.
    """
    if shutil.which(pi.system.qemu) is None:
        raise UnavailableError(f"no {pi.system.qemu}; Debian: apt-get install --no-install-recommends qemu-user")
    root = pi.system.root()
    machine = Machine(pi, folder.absolute())
    for name, text in {
        "bin/python3": machine.script(),
        "proc/cpuinfo": pi.cpuinfo(),
        "proc/device-tree/model": pi.model + "\0",
        "etc/os-release": (root / "usr/lib/os-release").read_text(encoding="utf-8"),
    }.items():
        path = machine.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    machine.python.chmod(0o755)
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
    """This process's environment, without what is meant for its own Python, libraries and emulator."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LD_", "QEMU_"))}


def _make_venv(machine: Machine) -> None:
    done = machine.run("python3", "-m", "venv", "--system-site-packages", "--without-pip", str(machine.venv))
    if done.returncode:
        raise RuntimeError(f"{machine.pi.name}: no virtual environment: {done.stderr.strip()}")


def _site(machine: Machine) -> Path:
    return machine.venv / "lib" / f"python{machine.pi.system.python}" / "site-packages"


def _pip(machine: Machine, wheel: Path, *options: str) -> None:
    """``pip install WHEEL[EXTRA]`` in the virtual environment.

    pip reads from its interpreter's file which wheels a 32-bit ARM takes, so while it runs that is the guest's own
    and not the script: pip starts no child processes here.
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
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=machine.folder, check=False)
    finally:
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
    """What pip installs beside our wheel, in a folder of its own; ours is taken out again.

    Compiled is only what a prediction imports: the rest, tests above all, would take as long as all else here.
    """
    _pip(machine, wheel, "--no-compile")
    for runtime in ("litert", "tflite-runtime", "onnxruntime", "numpy"):  # one that is not there says so, no more
        machine.run("edgedigits", "predict", "--index", "0", "--runtime", runtime)
    site = _site(machine)
    for ours in site.glob("edgedigits*"):
        shutil.rmtree(ours)
    shutil.copytree(site, at)
    shutil.rmtree(machine.venv)
    _make_venv(machine)


def main(arguments: Sequence[str] | None = None) -> None:
    """Set up one Pi with our wheel, in build/pis."""
    parser = argparse.ArgumentParser(description="Set up an emulated Raspberry Pi with our wheel, in build/pis.")
    parser.add_argument("pi", choices=PIS)
    name = parser.parse_args(arguments).pi
    folder = PROJECT / "build" / "pis" / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        machine = set_up(PIS[name], folder)
        with tempfile.TemporaryDirectory() as wheels:
            machine.install(build_wheel(Path(wheels)))
    except UnavailableError as why:
        raise SystemExit(str(why)) from why
    print(f"{folder.relative_to(PROJECT)}/venv/bin/edgedigits predict --index 1015")


if __name__ == "__main__":
    main()
