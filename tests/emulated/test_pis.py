"""Our wheel's commands on emulated Raspberry Pis. Times measured there say nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pi_visits import ALL, NO_PI, THOROUGH, Visit, only_of_all
from pis import PIS

from edgedigits.bundle.bundle import Bundle
from edgedigits.runtimes.table import RUNTIMES

# The rounding that each reproduces bit for bit on every Pi, as on x86-64.
ROUNDING = {
    ("litert", "default"): "xnnpack",
    ("litert", "no-delegates"): "ruy",
    ("litert", "reference"): "exact",
    ("tflite-runtime", "default"): "ruy",
    ("tflite-runtime", "no-delegates"): "ruy",
    ("tflite-runtime", "reference"): "reference",
}
every_pi = pytest.mark.parametrize("pi", PIS)


@every_pi
def test_the_guest_is_that_pi(pi: str, visited: Visit) -> None:
    machine = visited.machine
    architecture, version, executable = visited.done["who"].stdout.split()
    assert architecture == ("armv7l" if pi == "pi2" else "aarch64")
    assert version == machine.pi.system.python
    assert Path(executable) == machine.venv / "bin" / "python3"


@every_pi
def test_every_runtime_with_a_wheel_works(pi: str, visited: Visit) -> None:
    done = visited.done["doctor"]
    assert done.returncode == 0, done.stdout + done.stderr
    works = {check["name"] for check in json.loads(done.stdout)["runtimes"] if check["status"] == "works"}
    assert works == {"numpy", *PIS[pi].system.runtimes}


@every_pi
def test_inspect(pi: str, visited: Visit) -> None:
    done = visited.done["inspect"]
    assert done.returncode == 0, done.stderr
    assert "float32 [n, 400]" in done.stdout


@every_pi
def test_predict_reads_the_2_from_the_picture_and_from_the_bundle(pi: str, visited: Visit) -> None:
    done = visited.done["predict"]
    assert done.returncode == 0, done.stderr
    runtime = PIS[pi].system.runtimes[0]
    found = [(row["source"], row["digit"], row["runtime"]) for row in json.loads(done.stdout)]
    assert found == [("digit.png", 2, runtime), ("X[1015]", 2, runtime)]


@every_pi
def test_parity_holds_on_every_image_in_every_runtime_with_a_wheel(pi: str, visited: Visit) -> None:
    rows = _rows(visited, "parity")
    assert {_key(row) for row in rows} == _expected(pi, thorough=ALL and pi in THOROUGH)
    assert _rounding(rows).items() <= ROUNDING.items()


@only_of_all
@pytest.mark.parametrize("pi", THOROUGH)
def test_parity_holds_for_the_other_packaged_bundle(pi: str, visited: Visit) -> None:
    rows = _rows(visited, "robust")
    assert {_key(row) for row in rows} == _expected(pi, thorough=False)
    assert _rounding(rows).items() <= ROUNDING.items()
    assert {row["sha256"] for row in rows}.isdisjoint(row["sha256"] for row in _rows(visited, "parity"))


def _expected(pi: str, thorough: bool) -> set[tuple[str, str, str]]:
    return {
        (artifact, runtime, kernels)
        for runtime in PIS[pi].system.runtimes
        for artifact in Bundle().names
        if artifact.rpartition(".")[2] in RUNTIMES[runtime].formats
        for kernels in (RUNTIMES[runtime].kernels if thorough else ("default",))
    }


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["artifact"], row["runtime"], row["kernels"]


def _rounding(rows: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {_key(row)[1:]: row["arithmetic"] for row in rows if row["artifact"] == "int8_full.tflite"}


def _rows(seen: Visit, command: str) -> list[dict[str, Any]]:
    """The rows of a parity check that passed."""
    done = seen.done[command]
    print(f"\n{seen.machine.pi.model}, {seen.machine.pi.system.name}\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (seen.machine.folder / f"{command}.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)["rows"]
    assert [(row["status"], row["images"], row["mismatches"]) for row in rows] == [("ok", 5000, 0)] * len(rows)
    assert all(row["min_lead_quanta"] >= 3 for row in rows if row["artifact"].startswith("int8"))
    assert all(row["max_abs_diff"] < 1e-4 for row in rows if not row["artifact"].startswith("int8"))
    return rows


@only_of_all
@pytest.mark.parametrize("pi", [NO_PI])
def test_parity_detects_wrong_int8_kernels(pi: str, visited: Visit) -> None:
    """QEMU's default processor has SVE, with which LiteRT's int8 kernels return the same digit for every image."""
    done = visited.done["no pi"]
    assert done.returncode == 1, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["mismatches"] > 4000
    assert row["arithmetic"].startswith("unknown")
