"""Kits on emulated Raspberry Pis that have Python and no network: install.sh, an answer, a picture, parity."""

from __future__ import annotations

import json

import pytest
from pi_kits import APART, CASES, INSTALLED, MADE, MB, STRANGERS, Journey, Refusal

from edgedigits.kit.make import Kit

every_installed = pytest.mark.parametrize("case", INSTALLED)


@pytest.mark.parametrize("made", MADE)
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


@pytest.mark.parametrize("stranger", STRANGERS, ids=" on ".join)
def test_a_kit_for_another_pi_is_refused_before_anything_is_written(
    stranger: tuple[str, str], refusal: Refusal
) -> None:
    done = refusal.installed
    assert (done.returncode, done.stdout) == (2, "")
    assert f"this machine is {STRANGERS[stranger]}; make a kit for it" in done.stderr
    assert refusal.after == refusal.before
