"""Our wheel on emulated Raspberry Pis, by its own commands. How long anything takes there says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pi_visits import ALL, NO_PI, THOROUGH, Visit, only_of_all
from pis import PIS

# Every artifact in every runtime that has a wheel there.
OPENED_BY = {
    "litert": ("float32.tflite", "int8.tflite"),
    "tflite-runtime": ("float32.tflite", "int8.tflite"),
    "onnxruntime": ("float32.onnx",),
}
RUNTIMES = {
    "pi3": ("litert", "tflite-runtime", "onnxruntime"),
    "pi4": ("litert", "tflite-runtime", "onnxruntime"),
    "pi5": ("litert", "tflite-runtime", "onnxruntime"),
    "pi5-trixie": ("litert", "onnxruntime"),
    "pi2": ("tflite-runtime",),
}
KERNELS = {
    "litert": ("default", "no-delegates", "reference"),
    "tflite-runtime": ("default", "no-delegates", "reference"),
    "onnxruntime": ("default", "unoptimized"),
}
# Whose rounding each shows, bit for bit, on every Pi: the same as on x86-64.
ROUNDING = {
    ("litert", "default"): "exact",
    ("litert", "no-delegates"): "ruy",
    ("litert", "reference"): "exact",
    ("tflite-runtime", "default"): "ruy",
    ("tflite-runtime", "no-delegates"): "ruy",
    ("tflite-runtime", "reference"): "reference",
}
# The other bundle's sums are such that ruy and reference round them alike.
ROBUST_ROUNDING = {("litert", "default"): "exact", ("tflite-runtime", "default"): "ruy"}
every_pi = pytest.mark.parametrize("pi", PIS)


@every_pi
def test_the_guest_is_that_pi(pi: str, visited: Visit) -> None:
    machine = visited.machine
    architecture, version, executable = visited.done["who"].stdout.split()
    assert architecture == ("armv7l" if pi == "pi2" else "aarch64")
    assert version == machine.pi.system.python
    assert Path(executable) == machine.venv / "bin" / "python3"


@every_pi
def test_the_doctor_finds_every_runtime_with_a_wheel_at_work(pi: str, visited: Visit) -> None:
    done = visited.done["doctor"]
    assert done.returncode == 0, done.stdout + done.stderr
    works = {check["name"] for check in json.loads(done.stdout)["runtimes"] if check["status"] == "works"}
    assert works == {"numpy", *RUNTIMES[pi]}


@every_pi
def test_inspect(pi: str, visited: Visit) -> None:
    done = visited.done["inspect"]
    assert done.returncode == 0, done.stderr
    assert "float32 [n, 400]" in done.stdout


@every_pi
def test_predict_reads_the_2_from_the_picture_and_from_the_bundle(pi: str, visited: Visit) -> None:
    done = visited.done["predict"]
    assert done.returncode == 0, done.stderr
    runtime = RUNTIMES[pi][0]
    found = [(row["source"], row["digit"], row["runtime"]) for row in json.loads(done.stdout)]
    assert found == [("digit.png", 2, runtime), ("X[1015]", 2, runtime)]


@every_pi
def test_parity_holds_on_every_image_in_every_runtime_with_a_wheel(pi: str, visited: Visit) -> None:
    rows = _rows(visited, "parity")
    assert {_key(row) for row in rows} == _expected(pi, thorough=ALL and pi in THOROUGH)
    assert _rounding(rows).items() <= ROUNDING.items()


@only_of_all
@pytest.mark.parametrize("pi", THOROUGH)
def test_so_it_does_for_the_bundle_that_reads_pictures(pi: str, visited: Visit) -> None:
    rows = _rows(visited, "robust")
    assert {_key(row) for row in rows} == _expected(pi, thorough=False)
    assert _rounding(rows).items() <= ROBUST_ROUNDING.items()
    assert {row["sha256"] for row in rows}.isdisjoint(row["sha256"] for row in _rows(visited, "parity"))


def _expected(pi: str, thorough: bool) -> set[tuple[str, str, str]]:
    return {
        (artifact, runtime, kernels)
        for runtime in RUNTIMES[pi]
        for artifact in OPENED_BY[runtime]
        for kernels in (KERNELS[runtime] if thorough else ("default",))
    }


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["artifact"], row["runtime"], row["kernels"]


def _rounding(rows: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {_key(row)[1:]: row["arithmetic"] for row in rows if row["artifact"] == "int8.tflite"}


def _rows(seen: Visit, command: str) -> list[dict[str, Any]]:
    """The rows of a parity, all of which ran and hold."""
    done = seen.done[command]
    print(f"\n{seen.machine.pi.model}, {seen.machine.pi.system.name}\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads((seen.machine.folder / f"{command}.json").read_text(encoding="utf-8"))[
        "rows"
    ]
    assert [(row["status"], row["images"], row["mismatches"]) for row in rows] == [("ok", 5000, 0)] * len(rows)
    assert all(row["min_lead_quanta"] >= 3 for row in rows if row["artifact"] == "int8.tflite")
    assert all(row["max_abs_diff"] < 1e-4 for row in rows if row["artifact"] != "int8.tflite")
    return rows


@only_of_all
@pytest.mark.parametrize("pi", NO_PI)
def test_parity_finds_what_a_processor_no_pi_has_does_to_int8(pi: str, visited: Visit) -> None:
    """QEMU's default has SVE, under which LiteRT's int8 kernels answer the same digit to every image."""
    done = visited.done["no pi"]
    assert done.returncode == 1, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["mismatches"] > 4000
    assert row["arithmetic"].startswith("unknown")
