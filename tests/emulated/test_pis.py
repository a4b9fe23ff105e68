"""Our wheel on emulated Raspberry Pis, by its own commands. How long anything takes there says nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pis import PIS

if TYPE_CHECKING:
    from conftest import Visit

    Visits = Callable[[str], Visit]

TFLITE, KERNELS = ("float32.tflite", "int8.tflite"), ("default", "no-delegates", "reference")
LITERT = {(artifact, "litert", kernels) for artifact in TFLITE for kernels in KERNELS}
TFLITE_RUNTIME = {(artifact, "tflite-runtime", kernels) for artifact in TFLITE for kernels in KERNELS}
ONNX = {("float32.onnx", "onnxruntime", kernels) for kernels in ("default", "unoptimized")}
ORACLE = {("float32.tflite", "numpy", "reference")}
ORACLE |= {("int8.tflite", "numpy", kernels) for kernels in ("reference", "ruy", "xnnpack", "exact")}
# Every artifact in every runtime that has a wheel there.
EXPECTED = {
    "pi3": LITERT | TFLITE_RUNTIME | ONNX,
    "pi4": LITERT | TFLITE_RUNTIME | ONNX,
    "pi5": LITERT | TFLITE_RUNTIME | ONNX,
    "pi5-trixie": LITERT | ONNX,
    "pi2": TFLITE_RUNTIME,
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
every_pi = pytest.mark.parametrize("name", PIS)


@every_pi
def test_the_guest_is_that_pi(name: str, visit: Visits) -> None:
    machine = visit(name).machine
    ask = "import platform, sys; print(platform.machine(), '%d.%d' % sys.version_info[:2], sys.executable)"
    architecture, version, executable = machine.run("python3", "-c", ask).stdout.split()
    assert architecture == ("armv7l" if name == "pi2" else "aarch64")
    assert version == machine.pi.system.python
    assert Path(executable) == machine.venv / "bin" / "python3"


@every_pi
def test_the_doctor_finds_every_runtime_with_a_wheel_at_work(name: str, visit: Visits) -> None:
    done = visit(name).done["doctor"]
    assert done.returncode == 0, done.stdout + done.stderr
    works = {check["name"] for check in json.loads(done.stdout)["runtimes"] if check["status"] == "works"}
    assert works == {"numpy", *(runtime for _, runtime, _ in EXPECTED[name])}


@every_pi
def test_inspect(name: str, visit: Visits) -> None:
    done = visit(name).done["inspect"]
    assert done.returncode == 0, done.stderr
    assert "float32 [n, 400]" in done.stdout


@every_pi
@pytest.mark.parametrize("command", ["index", "picture"])
def test_predict_reads_the_2(command: str, name: str, visit: Visits) -> None:
    done = visit(name).done[command]
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["digit"] == 2
    assert found["runtime"] == ("tflite-runtime" if name == "pi2" else "litert")


@every_pi
def test_parity_holds_on_every_image_in_every_runtime_with_a_wheel(name: str, visit: Visits) -> None:
    rows = _rows(visit(name), "parity")
    assert {_key(row) for row in rows} == EXPECTED[name]
    found = {_key(row)[1:]: row["arithmetic"] for row in rows if row["artifact"] == "int8.tflite"}
    assert found == {key: rounding for key, rounding in ROUNDING.items() if key in found}


@pytest.mark.parametrize("name", ["pi2", "pi4"])
def test_parity_holds_in_numpy_for_where_there_is_no_wheel(name: str, visit: Visits) -> None:
    assert {_key(row) for row in _rows(visit(name), "oracle")} == ORACLE


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["artifact"], row["runtime"], row["kernels"]


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


def test_parity_finds_what_a_processor_no_pi_has_does_to_int8(visit: Visits, tmp_path: Path) -> None:
    """QEMU's default has SVE, under which LiteRT's int8 kernels answer the same digit to every image."""
    machine = visit("pi4").machine
    script = machine.python.read_text(encoding="utf-8")
    machine.python.write_text(script.replace(f"-cpu {machine.pi.cpu}", "-cpu max"), encoding="utf-8")
    try:
        done = machine.run("edgedigits", "parity", "--runtime", "litert", "--kernels", "default", "--json", "-")
    finally:
        machine.python.write_text(script, encoding="utf-8")
    assert done.returncode == 1, done.stderr
    rows = {row["artifact"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["float32.tflite"]["mismatches"] == 0
    assert rows["int8.tflite"]["mismatches"] > 4000
    assert rows["int8.tflite"]["arithmetic"].startswith("unknown")
