"""Kits on emulated Raspberry Pis that have Python and no network."""

from __future__ import annotations

import json

import pytest
from kits import APART, refused
from pi_kits import CASES, INSTALLED, MADE, STRANGERS, Installation

from edgedigits.kit.make import Kit

every_installed = pytest.mark.parametrize("case", INSTALLED)


@pytest.mark.parametrize("made", MADE)
def test_a_kit_contains_everything_for_its_pi(made: str, made_kit: Kit) -> None:
    assert (made_kit.runtime, made_kit.needs) == (CASES[made].runtime, ())
    assert made_kit.bytes < CASES[made].most_bytes


@every_installed
def test_it_installs_without_a_network_and_reads_the_2(case: str, installation: Installation) -> None:
    pi, done, picture = installation.machine.pi, installation.installed, installation.picture
    print(f"\n{pi.model}, {pi.system.name}, no network: {bool(APART)}\n{done.stdout}")
    assert done.returncode == 0, done.stderr
    assert "X[1015]: 2 " in done.stdout
    assert picture is not None
    found = [(f["digit"], f["runtime"]) for f in json.loads(picture.stdout)]
    assert found == [(2, CASES[case].runtime)], picture.stderr


@every_installed
def test_parity_holds_there(case: str, installation: Installation) -> None:
    pi, parity = installation.machine.pi, installation.parity
    assert parity is not None
    print(f"\n{pi.model}, {pi.system.name}\n{parity.stdout}")
    assert parity.returncode == 0, parity.stdout + parity.stderr
    rows = json.loads((installation.device.home / "parity.json").read_text(encoding="utf-8"))["rows"]
    assert {row["artifact"] for row in rows} == {"float32.tflite", "int8.tflite", "int8_full.tflite"}
    assert {(row["runtime"], row["kernels"]) for row in rows} == {(CASES[case].runtime, CASES[case].kernels)}
    assert [(row["status"], row["images"], row["mismatches"]) for row in rows] == [("ok", 5000, 0)] * 3


@pytest.mark.parametrize("stranger", STRANGERS, ids=" on ".join)
def test_another_pi_refuses_a_kit_before_anything_is_written(stranger: tuple[str, str], refusal: Installation) -> None:
    assert f"this machine is {STRANGERS[stranger]}; make a kit for it" in refused(refusal.installed)
    assert refusal.device.written == []
