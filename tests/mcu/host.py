"""The generated library on this computer: compile it strictly, and run its example or its sketch."""

from __future__ import annotations

import os
import pty
import select
import shutil
import socket
import subprocess
import threading
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest

from edgedigits.runtimes.tensors import AnyArray

REQUIRED = os.environ.get("EDGEDIGITS_MCU") == "required"
ARDUINO = Path(__file__).parent / "arduino"
WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
SANITIZED = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
MISSING = [name for name in ("gcc", "g++") if shutil.which(name) is None]
needs_gcc = pytest.mark.skipif(
    bool(MISSING) and not REQUIRED, reason="no gcc or g++; Debian: apt-get install --no-install-recommends g++"
)


def compile_c(sources: Sequence[Path], output: Path, *options: str) -> Path:
    """Compile and link C99 with every warning as an error."""
    command = ["gcc", "-std=c99", *WARNINGS, *options, *map(str, sources), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


def compile_example(library: Path, output: Path, *options: str) -> Path:
    """The example for a computer, with the library."""
    sources = [library / "examples/host/main.c", *(library / "src").glob("*.c")]
    return compile_c(sources, output, "-I", str(library / "src"), *options)


def compile_sketch(sketch: Path, library: Path, output: Path, *options: str) -> Path:
    """A sketch, which is C++, with the library, which is C."""
    folder = output.parent
    objects = [
        compile_c([source], folder / f"{source.stem}.o", "-c", "-O2") for source in (library / "src").glob("*.c")
    ]
    command = [
        "g++",
        *WARNINGS,
        "-O1",
        "-I",
        str(ARDUINO),
        "-I",
        str(library / "src"),
        f'-DSKETCH="{sketch}"',
        *options,
    ]
    command += [str(ARDUINO / "board.cpp"), *map(str, objects), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


def run_example(program: Path, x: AnyArray) -> AnyArray:
    """What the example prints for inputs (n, inputs) int8: (n, classes + 1), the logits and the class."""
    done = subprocess.run([str(program)], input=x.tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert b"self-test passed" in done.stderr
    lines = done.stdout.decode().replace("->", "").split("\n")[:-1]
    return np.array([line.split() for line in lines], int).reshape(len(x), -1)


class PluggedIn:
    """A board on a serial port of this computer: a sketch's program behind a pseudo-terminal.

    Args:
        program: None for a board that stays silent.
        tamper: called with this, whether the bytes go to the board, and the bytes; returns what arrives.
    """

    def __init__(
        self,
        program: Path | None,
        tamper: Callable[[PluggedIn, bool, bytes], bytes] = lambda line, to_board, data: data,
    ) -> None:
        self.program, self._tamper = program, tamper
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._stop, self._stopped = os.pipe()
        self._process: subprocess.Popen[bytes] | None = None
        self.reset()
        self._thread = threading.Thread(target=self._carry)

    def reset(self) -> None:
        """Start the program again."""
        self._end_program()
        self._ours, theirs = socket.socketpair()
        if self.program is not None:
            self._process = subprocess.Popen([str(self.program)], stdin=theirs.fileno())
        theirs.close()

    def unplug(self) -> None:
        """Take the port away, as if the cable was pulled."""
        for descriptor in (self._master, self._slave):
            os.close(descriptor)
        self._master = -1

    def _end_program(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._ours.close()

    def _carry(self) -> None:
        while self._master >= 0:
            sources = [self._master, self._stop, *([self._ours.fileno()] if self._process else [])]
            ready = select.select(sources, [], [])[0]
            if self._stop in ready:
                return
            if self._master in ready:
                data = self._tamper(self, True, os.read(self._master, 4096))
                if self._process:
                    self._ours.sendall(data)
            elif self._ours.fileno() in ready:
                data = self._tamper(self, False, self._ours.recv(4096))
                if self._master >= 0:
                    os.write(self._master, data)

    def __enter__(self) -> PluggedIn:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._stopped, b"x")
        self._thread.join()
        self._end_program()
        self._ours.close()
        for descriptor in (self._stop, self._stopped, *([self._master, self._slave] if self._master >= 0 else [])):
            os.close(descriptor)
