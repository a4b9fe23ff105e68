"""The table of wheels: what it says for each platform, and whether pip, the README and the extras say the same."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from edgedigits.runtimes import wheels
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES
from edgedigits.runtimes.wheels import WHEELS, Platform, Wheel, advice_for, dependency_line, here, machine_of, wheel_for

LITERT = "pip install ai-edge-litert==2.3.0"
TFLITE = "pip install tflite-runtime==2.14.0 'numpy<2'"
ONNX, OLD_ONNX = "pip install onnxruntime==1.31.1", "pip install onnxruntime==1.23.2"
NO_ARM32 = "no wheel for armv7l on Linux"
TOO_NEW = "its wheels are for Python 3.8 to 3.11, not {}; use litert or onnxruntime"
APT = (
    f"{NO_ARM32}; Debian has its own, and an environment sees it only if made with "
    "`python3 -m venv --system-site-packages`; sudo apt install python3-onnxruntime"
)
NO_MUSL = "its wheels are for glibc (manylinux), not for musl; use the runtime numpy"
BULLSEYE, BOOKWORM, TRIXIE = (2, 31), (2, 36), (2, 41)
# Where, and the whole advice for litert, tflite-runtime and onnxruntime there.
EXPECTED: dict[str, tuple[Any, ...]] = {
    "Pi OS bookworm": (Platform((3, 11), "aarch64", release=BOOKWORM), LITERT, TFLITE, ONNX),
    "Pi OS trixie": (Platform((3, 13), "aarch64", release=TRIXIE), LITERT, TOO_NEW.format("3.13"), ONNX),
    "Pi OS bookworm, 32-bit": (
        Platform((3, 11), "armv7l", release=BOOKWORM),
        f"{NO_ARM32}; use tflite-runtime",
        TFLITE,
        f"{NO_ARM32}; use tflite-runtime",
    ),
    "Pi OS trixie, 32-bit": (
        Platform((3, 13), "armv7l", release=TRIXIE),
        f"{NO_ARM32}; use onnxruntime or the runtime numpy",
        "its wheels are for Python 3.8 to 3.11, not 3.13; use onnxruntime or the runtime numpy",
        APT,
    ),
    "32-bit, between the two": (
        Platform((3, 12), "armv7l"),
        f"{NO_ARM32}; use the runtime numpy",
        "its wheels are for Python 3.8 to 3.11, not 3.12; use the runtime numpy",
        f"{NO_ARM32}; use the runtime numpy",
    ),
    "Pi Zero": (Platform((3, 11), "armv6l"), *["no wheel for armv6l on Linux; use the runtime numpy"] * 3),
    "glibc too old": (
        Platform((3, 10), "aarch64", release=BULLSEYE),
        LITERT,
        "its wheels need glibc 2.34 or newer, not 2.31; use litert or onnxruntime",
        OLD_ONNX,
    ),
    "glibc 2.27": (Platform((3, 11), "x86_64", release=(2, 27)), LITERT, TFLITE, OLD_ONNX),
    "x86-64": (Platform((3, 11), "x86_64", release=BOOKWORM), LITERT, TFLITE, ONNX),
    "x86-64, 3.10": (Platform((3, 10), "x86_64", release=BOOKWORM), LITERT, TFLITE, OLD_ONNX),
    "x86-64, 3.12": (Platform((3, 12), "x86_64", release=TRIXIE), LITERT, TOO_NEW.format("3.12"), ONNX),
    "x86-64, 3.14": (Platform((3, 14), "x86_64", release=TRIXIE), LITERT, TOO_NEW.format("3.14"), ONNX),
    "x86-64, 3.15": (
        Platform((3, 15), "x86_64", release=TRIXIE),
        "its wheels are for Python 3.10 to 3.14, not 3.15; use the runtime numpy",
        "its wheels are for Python 3.8 to 3.11, not 3.15; use the runtime numpy",
        "its wheels are for Python 3.10 to 3.14, not 3.15; use the runtime numpy",
    ),
    "Alpine": (Platform((3, 12), "x86_64", libc="musl"), NO_MUSL, NO_MUSL, NO_MUSL),
    "macOS": (
        Platform((3, 12), "arm64", "Darwin", (15, 1)),
        LITERT,
        "no wheel for arm64 on macOS; use litert or onnxruntime",
        ONNX,
    ),
    "macOS 13, x86-64": (
        Platform((3, 12), "x86_64", "Darwin", (13, 2)),
        "no wheel for x86_64 on macOS; use onnxruntime",
        "no wheel for x86_64 on macOS; use onnxruntime",
        OLD_ONNX,
    ),
    "macOS 11": (
        Platform((3, 12), "arm64", "Darwin", (11, 7)),
        "its wheels need macOS 12.0 or newer, not 11.7; use the runtime numpy",
        "no wheel for arm64 on macOS; use the runtime numpy",
        "its wheels need macOS 13.0 or newer, not 11.7; use the runtime numpy",
    ),
    "Windows": (
        Platform((3, 12), "amd64", "Windows"),
        LITERT,
        "no wheel for amd64 on Windows; use litert or onnxruntime",
        ONNX,
    ),
    "Windows on ARM": (
        Platform((3, 12), "arm64", "Windows"),
        "no wheel for arm64 on Windows; use onnxruntime",
        "no wheel for arm64 on Windows; use onnxruntime",
        ONNX,
    ),
    "PyPy": (
        Platform((3, 11), "x86_64", implementation="PyPy"),
        *["its wheels are for CPython, not for PyPy; use the runtime numpy"] * 3,
    ),
}
NEWEST_PYTHON = max(wheel.newest for wheel in WHEELS)


@pytest.mark.parametrize("name", EXPECTED)
def test_advice(name: str) -> None:
    where, *expected = EXPECTED[name]
    assert [str(advice_for(runtime, where)) for runtime in ("litert", "tflite-runtime", "onnxruntime")] == expected


@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: f"{wheel.requirement} {wheel.tag}")
def test_every_row_is_found_at_both_ends_and_no_further(wheel: Wheel) -> None:
    for python in (wheel.oldest, wheel.newest):
        where = Platform(python, wheel.machine, wheel.system, wheel.release)
        assert wheel.runs_on(where)
        found = wheel_for(wheel.runtime, where)
        assert found is not None
        assert advice_for(wheel.runtime, where).install == found.install
    for python in ((3, wheel.oldest[1] - 1), (3, wheel.newest[1] + 1)):
        assert not wheel.runs_on(replace(where, python=python))
    if wheel.release is not None:
        major, minor = wheel.release
        assert wheel.runs_on(replace(where, release=None))
        assert not wheel.runs_on(replace(where, release=(major, minor - 1) if minor else (major - 1, 9)))


def test_the_tags_are_read() -> None:
    read = {w.tag: (w.system, w.machine, w.release) for w in WHEELS}
    assert read["manylinux2014_x86_64"] == ("Linux", "x86_64", (2, 17))
    assert read["manylinux_2_34_armv7l"] == ("Linux", "armv7l", (2, 34))
    assert read["macosx_14_0_arm64"] == ("Darwin", "arm64", (14, 0))
    assert read["win_amd64"] == ("Windows", "amd64", None)


@pytest.mark.parametrize(
    ("arguments", "machine"),
    [
        (("Linux", "aarch64", 8, "linux-aarch64"), "aarch64"),
        (("Linux", "aarch64", 4, "linux-aarch64"), "armv7l"),  # 32-bit Raspberry Pi OS on its usual 64-bit kernel
        (("Linux", "armv7l", 4, "linux-armv7l"), "armv7l"),
        (("Linux", "armv6l", 4, "linux-armv6l"), "armv6l"),
        (("Linux", "x86_64", 4, "linux-x86_64"), "i686"),
        (("Darwin", "arm64", 8, "macosx-11.0-universal2"), "arm64"),
        (("Windows", "AMD64", 8, "win-amd64"), "amd64"),
        (("Windows", "AMD64", 4, "win32"), "win32"),
        (("Windows", "ARM64", 8, "win-amd64"), "amd64"),  # an x64 Python, emulated
    ],
)
def test_the_processor_is_that_of_python_not_of_the_kernel(arguments: tuple[Any, ...], machine: str) -> None:
    assert machine_of(*arguments) == machine


def test_dependencies() -> None:
    pi, other = Platform((3, 11), "armv7l"), Platform((3, 11), "aarch64")
    assert dependency_line("numpy", pi) == "sudo apt install python3-numpy"
    assert dependency_line("Pillow", pi) == "sudo apt install python3-pil"
    assert dependency_line("Pillow", other) == "pip install Pillow"


def test_the_table_has_a_date_and_every_runtime_that_a_device_installs() -> None:
    assert date(2026, 11, 1) <= date.fromisoformat(wheels.CHECKED)
    installed = {info.name: info.distribution for info in RUNTIMES.values() if info.name not in CHOSEN_ONLY_BY_NAME}
    del installed["numpy"]
    assert {wheel.runtime: wheel.distribution for wheel in WHEELS} == installed


def test_the_versions_are_those_that_the_tests_run(root: Path) -> None:
    pinned = (root / "constraints.txt").read_text()
    for runtime in dict.fromkeys(wheel.runtime for wheel in WHEELS):
        found = wheel_for(runtime, Platform((3, 11), "x86_64", release=BOOKWORM))
        assert found is not None
        assert re.search(rf"^{re.escape(found.requirement)}\b", pinned, re.MULTILINE)


def test_the_readme_says_where_each_has_wheels(root: Path) -> None:
    table = re.findall(r"^\| `([\w-]+)` \| [\w-]+ \| (.+) \|$", (root / "README.md").read_text(), re.MULTILINE)
    said = {extra: text for extra, text in table if extra in {wheel.runtime for wheel in WHEELS}}
    assert len(said) == 3
    for runtime, text in said.items():
        rows = [wheel for wheel in WHEELS if wheel.runtime == runtime]
        for system, name in {"Linux": "Linux", "Darwin": "macOS", "Windows": "Windows"}.items():
            assert (name in text) == any(wheel.system == system for wheel in rows), (runtime, name)
        assert ("32-bit" in text) == any(wheel.machine == "armv7l" for wheel in rows)
        newest = max(wheel.newest for wheel in rows)
        assert re.findall(r"Python (\S+) or older", text) == (
            [] if newest == NEWEST_PYTHON else ["{}.{}".format(*newest)]
        )
        assert ("NumPy 1" in text) == any("numpy<2" in wheel.needs for wheel in rows)


class TestPip:
    """Held against pip itself, which downloads no wheel for it."""

    def run(self, *arguments: str) -> list[dict[str, Any]]:
        """What pip would install; the test is skipped without a network, but in CI it fails."""
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
        command += ["--only-binary=:all:", "--report", "-", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if "connection" in done.stderr.lower() and os.environ.get("CI") != "true":
            pytest.skip("the package index cannot be reached")
        assert done.returncode == 0, done.stderr
        installs: list[dict[str, Any]] = json.loads(done.stdout)["install"]
        return installs

    @pytest.mark.parametrize("runtime", ["litert", "tflite-runtime", "onnxruntime"])
    def test_the_line_for_this_machine(self, runtime: str) -> None:
        wheel = wheel_for(runtime, here())
        if wheel is None:
            pytest.skip(str(advice_for(runtime, here())))
        program, verb, *what = shlex.split(wheel.install)
        assert (program, verb) == ("pip", "install")
        found = {f"{i['metadata']['name']}=={i['metadata']['version']}": i["download_info"] for i in self.run(*what)}
        assert wheel.tag in found[wheel.requirement]["url"]
        assert len(found) == 1 + len(wheel.needs)

    def test_a_row_for_another_machine(self, tmp_path: Path) -> None:
        wheel = wheel_for("tflite-runtime", Platform((3, 11), "armv7l", release=BOOKWORM))
        assert wheel is not None
        there = ["--python-version", "3.11", "--implementation", "cp", "--platform", wheel.tag]
        (found,) = self.run(*there, "--target", str(tmp_path), wheel.requirement)
        assert found["download_info"]["url"].endswith("cp311-cp311-manylinux_2_34_armv7l.whl")
