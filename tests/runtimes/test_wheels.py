"""The table of wheels: its advice for each platform, compared with pip, the pinned versions and the README."""

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

from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES
from edgedigits.runtimes.wheels import (
    TABLE_DATE,
    WHEELS,
    Platform,
    Wheel,
    advice_for,
    python_machine,
    this_platform,
    wheel_for,
)

LITERT = "pip install ai-edge-litert==2.3.0"
TFLITE = "pip install tflite-runtime==2.14.0 'numpy<2'"
ONNX, OLD_ONNX = "pip install onnxruntime==1.31.1", "pip install onnxruntime==1.23.2"
NO_ARM32 = "no wheel for armv7l on Linux"
TOO_NEW = "its wheels are for Python 3.8 to 3.11, not {}; use litert or onnxruntime"
APT = (
    f"{NO_ARM32}; use Debian's package, which a virtual environment sees only if made with --system-site-packages; "
    "sudo apt install python3-onnxruntime"
)
NO_MUSL = "its wheels are for glibc (manylinux), not for musl; use the numpy runtime"
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
        f"{NO_ARM32}; use onnxruntime or the numpy runtime",
        "its wheels are for Python 3.8 to 3.11, not 3.13; use onnxruntime or the numpy runtime",
        APT,
    ),
    "Pi Zero": (Platform((3, 11), "armv6l"), *["no wheel for armv6l on Linux; use the numpy runtime"] * 3),
    "glibc too old": (
        Platform((3, 10), "aarch64", release=BULLSEYE),
        LITERT,
        "its wheels need glibc 2.34 or newer, not 2.31; use litert or onnxruntime",
        OLD_ONNX,
    ),
    "x86-64, 3.15": (
        Platform((3, 15), "x86_64", release=TRIXIE),
        "its wheels are for Python 3.10 to 3.14, not 3.15; use the numpy runtime",
        "its wheels are for Python 3.8 to 3.11, not 3.15; use the numpy runtime",
        "its wheels are for Python 3.10 to 3.14, not 3.15; use the numpy runtime",
    ),
    "Alpine": (Platform((3, 12), "x86_64", libc="musl"), NO_MUSL, NO_MUSL, NO_MUSL),
    "macOS": (
        Platform((3, 12), "arm64", "Darwin", (15, 1)),
        LITERT,
        "no wheel for arm64 on macOS; use litert or onnxruntime",
        ONNX,
    ),
    "macOS 11": (
        Platform((3, 12), "arm64", "Darwin", (11, 7)),
        "its wheels need macOS 12.0 or newer, not 11.7; use the numpy runtime",
        "no wheel for arm64 on macOS; use the numpy runtime",
        "its wheels need macOS 13.0 or newer, not 11.7; use the numpy runtime",
    ),
    "Windows": (
        Platform((3, 12), "amd64", "Windows"),
        LITERT,
        "no wheel for amd64 on Windows; use litert or onnxruntime",
        ONNX,
    ),
    "PyPy": (
        Platform((3, 11), "x86_64", implementation="PyPy"),
        *["its wheels are for CPython, not for PyPy; use the numpy runtime"] * 3,
    ),
}
RUNTIMES_WITH_WHEELS = ("litert", "tflite-runtime", "onnxruntime")
NEWEST_PYTHON = max(wheel.newest for wheel in WHEELS)


@pytest.mark.parametrize("name", EXPECTED)
def test_advice(name: str) -> None:
    where, *expected = EXPECTED[name]
    for runtime, text in zip(RUNTIMES_WITH_WHEELS, expected, strict=True):
        install, why, instead = advice_for(runtime, where)
        assert "; ".join(part for part in (why, instead, install) if part) == text


@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: f"{wheel.requirement} {wheel.system} {wheel.machine}")
def test_each_row_covers_its_pythons_and_releases_only(wheel: Wheel) -> None:
    where = Platform(wheel.oldest, wheel.machine, wheel.system, wheel.release)
    assert wheel.runs_on(where)
    assert wheel.runs_on(replace(where, python=wheel.newest, release=None))
    assert not wheel.runs_on(replace(where, python=(3, wheel.oldest[1] - 1)))
    assert not wheel.runs_on(replace(where, python=(3, wheel.newest[1] + 1)))
    if wheel.release is not None:
        assert not wheel.runs_on(replace(where, release=(wheel.release[0] - 1, 99)))


@pytest.mark.parametrize(
    ("arguments", "machine"),
    [
        (("Linux", "aarch64", 8, "linux-aarch64"), "aarch64"),
        (("Linux", "aarch64", 4, "linux-aarch64"), "armv7l"),  # 32-bit Raspberry Pi OS on its usual 64-bit kernel
        (("Linux", "x86_64", 4, "linux-x86_64"), "i686"),
        (("Darwin", "arm64", 8, "macosx-11.0-universal2"), "arm64"),
        (("Windows", "AMD64", 8, "win-amd64"), "amd64"),
        (("Windows", "ARM64", 8, "win-amd64"), "amd64"),  # an x64 Python, emulated
    ],
)
def test_the_processor_is_that_of_python_not_of_the_kernel(arguments: tuple[Any, ...], machine: str) -> None:
    assert python_machine(*arguments) == machine


def test_the_table_has_a_date_and_all_runtimes_of_a_device() -> None:
    assert date(2026, 11, 1) <= date.fromisoformat(TABLE_DATE)
    assert {wheel.runtime for wheel in WHEELS} == {*RUNTIMES} - {"numpy", *CHOSEN_ONLY_BY_NAME}


def test_the_versions_are_those_that_the_tests_run(root: Path) -> None:
    pinned = (root / "constraints.txt").read_text()
    for runtime in RUNTIMES_WITH_WHEELS:
        found = wheel_for(runtime, Platform((3, 11), "x86_64", release=BOOKWORM))
        assert found is not None
        assert re.search(rf"^{re.escape(found.requirement)}\b", pinned, re.MULTILINE)


def test_the_readme_says_where_each_has_wheels(root: Path) -> None:
    table = re.findall(r"^\| `([\w-]+)` \| [\w-]+ \| (.+) \|$", (root / "README.md").read_text(), re.MULTILINE)
    message = {extra: text for extra, text in table if extra in {wheel.runtime for wheel in WHEELS}}
    assert len(message) == 3
    for runtime, text in message.items():
        rows = [wheel for wheel in WHEELS if wheel.runtime == runtime]
        for system, name in {"Linux": "Linux", "Darwin": "macOS", "Windows": "Windows"}.items():
            assert (name in text) == any(wheel.system == system for wheel in rows), (runtime, name)
        assert ("32-bit" in text) == any(wheel.machine == "armv7l" for wheel in rows)
        newest = max(wheel.newest for wheel in rows)
        assert re.findall(r"Python (\S+) or older", text) == (
            [] if newest == NEWEST_PYTHON else ["{}.{}".format(*newest)]
        )
        assert ("NumPy 1" in text) == any("numpy<2" in wheel.needs for wheel in rows)


@pytest.mark.parametrize("runtime", RUNTIMES_WITH_WHEELS)
def test_pip_would_install_what_the_line_says(runtime: str) -> None:
    """On this machine, without downloading a wheel."""
    wheel = wheel_for(runtime, this_platform())
    if wheel is None:
        pytest.skip(advice_for(runtime, this_platform()).why)
    _, verb, *requirements = shlex.split(wheel.install)
    command = [sys.executable, "-m", "pip", verb, "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    command += ["--only-binary=:all:", "--report", "-", *requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    if "connection" in done.stderr.lower() and os.environ.get("CI") != "true":
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    found = {f"{i['metadata']['name']}=={i['metadata']['version']}" for i in json.loads(done.stdout)["install"]}
    assert wheel.requirement in found
    assert len(found) == 1 + len(wheel.needs)
