"""Kits on emulated Raspberry Pis that have Python and no network: install.sh, an answer, a picture, parity."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pi_kits import APART, CASES, INSTALLED, MB, Journey, Offline

from edgedigits.kit.make import Kit

every_installed = pytest.mark.parametrize("case", INSTALLED)


@pytest.mark.parametrize("made", CASES)
def test_a_kit_holds_all_that_its_pi_needs(made: str, made_kit: Kit) -> None:
    assert (made_kit.runtime, made_kit.needs) == (CASES[made].runtime, ())
    assert made_kit.bytes < CASES[made].most_bytes


@every_installed
def test_it_installs_without_a_network_and_reads_the_2(case: str, journey: Journey) -> None:
    machine = journey.machine.pi
    print(
        f"\n{machine.model}, {machine.system.name}, kit of {journey.kit.bytes / MB:.1f} MB, no network: {bool(APART)}"
    )
    print(journey.installed.stdout)
    assert journey.installed.returncode == 0, journey.installed.stderr
    assert "X[1015]: 2 " in journey.installed.stdout
    found = [(f["digit"], f["runtime"]) for f in json.loads(journey.picture.stdout)]
    assert found == [(2, CASES[case].runtime)], journey.picture.stderr


@every_installed
def test_parity_holds_there(case: str, journey: Journey) -> None:
    print(f"\n{journey.machine.pi.model}, {journey.machine.pi.system.name}\n{journey.parity.stdout}")
    assert journey.parity.returncode == 0, journey.parity.stdout + journey.parity.stderr
    rows = json.loads((journey.machine.folder / "parity.json").read_text(encoding="utf-8"))["rows"]
    assert {row["artifact"] for row in rows} == {"float32.tflite", "int8.tflite"}
    assert {(row["runtime"], row["kernels"]) for row in rows} == {(CASES[case].runtime, CASES[case].kernels)}
    assert [(row["status"], row["images"], row["mismatches"]) for row in rows] == [("ok", 5000, 0)] * 2


@pytest.mark.parametrize(
    ("made_for", "on", "machine"),
    [
        ("pi2-tflite-runtime", "pi4-litert", r"aarch64 with Python 3.11 (cpython-311-aarch64-linux-gnu)"),
        ("pi4-litert", "pi2-tflite-runtime", r"armv7l with Python 3.11 (cpython-311-arm-linux-gnueabihf)"),
        ("pi4-litert", "pi5-trixie-litert", r"aarch64 with Python 3.13 (cpython-313-aarch64-linux-gnu)"),
    ],
)
def test_a_kit_for_another_pi_is_refused_before_anything_is_written(
    made_for: str, on: str, machine: str, unpacked: Callable[[str, str], Offline], tmp_path: Path
) -> None:
    device = unpacked(made_for, on)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = device.install()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"this machine is {machine}; make one for it" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
