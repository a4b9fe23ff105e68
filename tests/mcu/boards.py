"""Emulated boards: build a generated library into firmware, and run it on all images by QEMU's semihosting."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedigits.runtimes.tensors import AnyArray

FIRMWARE = Path(__file__).parent / "firmware"
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffreestanding", "-ffunction-sections"]
FLAGS += ["-fdata-sections"]


@dataclass(frozen=True)
class Board:
    """A core, QEMU's board that has it, and where that board's flash and RAM are.

    A wrong address is not noticed by QEMU: the code runs, and gives garbage.
    """

    core: str
    machine: str
    flags: tuple[str, ...]
    flash: tuple[str, str] = ("0x0", "4M")
    ram: tuple[str, str] = ("0x20000000", "4M")

    @property
    def arm(self) -> bool:
        return "virt" not in self.machine

    @property
    def prefix(self) -> str:
        return "arm-none-eabi-" if self.arm else "riscv64-unknown-elf-"

    @property
    def qemu(self) -> str:
        return "qemu-system-arm" if self.arm else "qemu-system-riscv32"


HARD = "-mfloat-abi=hard"
BOARDS = {
    "m0": Board("Cortex-M0", "microbit", ("-mcpu=cortex-m0", "-mthumb"), ("0x0", "256K"), ("0x20000000", "16K")),
    "m4": Board("Cortex-M4", "mps2-an386", ("-mcpu=cortex-m4", "-mthumb", HARD, "-mfpu=fpv4-sp-d16")),
    "m7": Board("Cortex-M7", "mps2-an500", ("-mcpu=cortex-m7", "-mthumb", HARD, "-mfpu=fpv5-sp-d16")),
    "m55": Board(
        "Cortex-M55",
        "mps3-an547",
        ("-mcpu=cortex-m55", "-mthumb", HARD),
        ("0x10000000", "512K"),
        ("0x30000000", "512K"),
    ),
    "rv32": Board("RV32IMC", "virt -bios none", ("-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany")),
}


def missing_tools(board: Board) -> str:
    """What has to be installed to build for the board and to run it; empty if nothing."""
    packages = {
        "arm-none-eabi-gcc": "gcc-arm-none-eabi",
        "qemu-system-arm": "qemu-system-arm",
        "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
        "qemu-system-riscv32": "qemu-system-misc",
    }
    missing = [packages[tool] for tool in (f"{board.prefix}gcc", board.qemu) if shutil.which(tool) is None]
    return f"Debian: apt-get install --no-install-recommends {' '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Result:
    """What a board computed, (images, classes + 1) int8, its exit status, and the bytes of flash and stack it took."""

    status: int
    answers: AnyArray
    flash: int
    stack: int
    elf: Path


def build(
    board: Board,
    sources: Sequence[Path],
    include: Path,
    folder: Path,
    options: Sequence[str] = ("-O2",),
    libraries: Sequence[str] = (),
) -> Path:
    """Compile the sources and the firmware; the objects and firmware.elf go to the folder.

    Without ``libraries`` only the compiler's own helpers are linked, such as the M0's 64-bit multiplication.
    """
    common = [f"{board.prefix}gcc", *board.flags]
    start = FIRMWARE / ("start_arm.c" if board.arm else "start_riscv.S")
    objects = []
    for source in (start, FIRMWARE / "main.c", *sources):
        objects.append(folder / f"{source.name}.o")
        flags = FLAGS if source.suffix == ".c" else []
        command = [*common, *flags, *options, "-I", str(include), "-c", str(source), "-o", str(objects[-1])]
        subprocess.run(command, check=True)
    script = (FIRMWARE / ("arm.ld" if board.arm else "riscv.ld")).read_text()
    for name, value in zip(("FLASH", "FLASH_SIZE", "RAM", "RAM_SIZE"), (*board.flash, *board.ram), strict=True):
        script = script.replace(f"@{name}@", value)
    (folder / "link.ld").write_text(script)
    elf = folder / "firmware.elf"
    link = ["-nostdlib", "-Wl,--gc-sections", "-T", str(folder / "link.ld"), *map(str, objects)]
    link += ["-Wl,--start-group", *libraries, "-lgcc", "-Wl,--end-group", "-o", str(elf)]
    subprocess.run([*common, *link], check=True)
    return elf


def run(board: Board, elf: Path, x: AnyArray, classes: int, options: Sequence[str] = ()) -> Result:
    """Run the firmware on inputs (images, inputs) int8."""
    folder = elf.parent
    x.tofile(folder / "x.bin")
    command = [board.qemu, "-M", *board.machine.split(), "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf), *options]
    status = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, timeout=300).returncode
    content = (folder / "y.bin").read_bytes() if (folder / "y.bin").exists() else b""
    answers = np.frombuffer(content[: len(content) // (classes + 1) * (classes + 1)], np.int8).reshape(-1, classes + 1)
    stack = int.from_bytes(content[-4:], "little")
    return Result(status, answers[: len(x)], flash_bytes(board, folder / "digits.c.o", ram=True), stack, elf)


def flash_bytes(board: Board, file: Path, ram: bool = False) -> int:
    """The bytes of code and constants; AssertionError if there is static RAM, unless ``ram`` allows it."""
    shown = subprocess.run([f"{board.prefix}size", "-A", str(file)], capture_output=True, text=True, check=True).stdout
    sections = re.findall(r"^\.(text|rodata|srodata|data|sdata|bss|sbss|ARM)\S*\s+(\d+)", shown, re.MULTILINE)
    in_ram = {name for name, size in sections if name in ("data", "sdata", "bss", "sbss") and int(size)}
    assert ram or not in_ram, shown
    return sum(int(size) for name, size in sections if "bss" not in name)


def symbol(board: Board, elf: Path, name: str) -> int:
    """The address of a symbol."""
    shown = subprocess.run([f"{board.prefix}nm", str(elf)], capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[0], 16) for line in shown.splitlines() if line.split()[-1] == name)
