"""The wheel as a stranger meets it: what it holds, and that it works beside one runtime and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]
DATA_FILES = {
    f"edgedigits/models/notebook/{name}"
    for name in (
        "manifest.json",
        "inputs.npz",
        "golden.npz",
        "probes.npz",
        "float32.tflite",
        "int8.tflite",
        "int8_full.tflite",
        "float32.onnx",
    )
}
# What the two share is stored once.
DATA_FILES |= {name.replace("notebook", "robust") for name in DATA_FILES if not name.endswith("inputs.npz")}


def test_the_wheel_holds_both_packages_and_the_bundle_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "edgedigits").rglob("*.py")}
    sources |= {p.relative_to(ROOT / "export").as_posix() for p in (ROOT / "export").rglob("*.py")}
    others = {"edgedigits/py.typed", "edgedigits_export/py.typed", "edgedigits/models/README.md"}
    others |= {
        *(f"edgedigits/report/{name}.html.j2" for name in ("charts", "devices", "head", "parts", "report")),
        "edgedigits/report/report.css",
        "edgedigits/runtimes/oracle/tflite.fbs",
        "edgedigits/kit/install.sh",
        "edgedigits_export/targets/web/apache-2.0.txt",
    }
    others |= {p.relative_to(ROOT / "export").as_posix() for p in (ROOT / "export").rglob("*.j2")}
    static = ("index.html", "style.css", "sw.js")
    modules = ("app", "files", "litert", "parity", "pictures", "plausibility", "tflite")
    for name in (*static, *(f"{module}.js" for module in modules)):
        others.add(f"edgedigits_export/targets/web/static/{name}")
    assert names == sources | DATA_FILES | others


def test_the_wheel_is_under_6_mb(wheel: Path) -> None:
    assert wheel.stat().st_size < 6_000_000


def test_the_wheel_names_its_extras_and_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(info).decode()
        points = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    extras = {line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Provides-Extra: ")}
    assert extras == {"litert", "tflite-runtime", "onnxruntime", "runtimes", "serial", "sign", "export", "dev"}
    for command in ("run", "train", "export", "plot", "c", "web"):
        assert f"{command} = edgedigits_export.commands.{command}:{command}" in points


@pytest.fixture
def edgedigits(device: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the installed command, in an empty folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(device / "edgedigits"), *arguments], capture_output=True, text=True, cwd=tmp_path)

    return run


def test_a_device_has_no_tensorflow(device: Path) -> None:
    listed = subprocess.run(
        [str(device / "python"), "-m", "pip", "list", "--format=json"], capture_output=True, check=True
    )
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert {"edgedigits", "ai-edge-litert", "numpy", "click", "pillow"} <= names
    assert not names & {"tensorflow", "keras", "onnx", "tf2onnx", "matplotlib", "onnxruntime", "tflite-runtime"}


def test_predict_works_with_no_setting_up(edgedigits: Callable[..., Any], tmp_path: Path) -> None:
    page = Image.new("L", (120, 160), "white")
    ImageDraw.Draw(page).line([(60, 20), (60, 140)], fill="black", width=14)
    page.save(tmp_path / "one.png")
    done = edgedigits("predict", "one.png", "--index", "1015", "--json", "-")
    assert done.returncode == 0
    assert [(found["source"], found["digit"]) for found in json.loads(done.stdout)] == [("one.png", 1), ("X[1015]", 2)]


@pytest.mark.parametrize("bundle", [[], ["robust"]], ids=["notebook", "robust"])
def test_parity_works_and_says_what_is_not_installed(edgedigits: Callable[..., Any], bundle: list[str]) -> None:
    done = edgedigits("parity", *bundle, "--json", "-")
    rows = json.loads(done.stdout)["rows"]
    assert done.returncode == 0
    ran = [(row["artifact"], row["runtime"], row["mismatches"]) for row in rows if row["status"] == "ok"]
    expected = [("float32.tflite", "litert", 0)] * 3 + [("float32.tflite", "numpy", 0)]
    for int8 in ("int8.tflite", "int8_full.tflite"):
        expected += [(int8, "litert", 0)] * 3 + [(int8, "numpy", 0)] * 4
    assert ran == expected
    assert {row["runtime"] for row in rows if row["status"] == "missing"} >= {"tflite-runtime", "onnxruntime"}


def test_the_doctor_finds_the_one_runtime_and_what_could_be_added(edgedigits: Callable[..., Any]) -> None:
    done = edgedigits("doctor", "--json", "-")
    assert done.returncode == 0
    found = {row["name"]: (row["status"], row["line"]) for row in json.loads(done.stdout)["runtimes"]}
    assert found["litert"] == found["numpy"] == ("works", None)
    assert found["tensorflow"] == ("not installed", None)
    assert found["onnxruntime"][0] == "not installed"
    assert found["onnxruntime"][1].startswith("pip install onnxruntime==")


def test_benchmark_and_inspect_work(edgedigits: Callable[..., Any]) -> None:
    measured = edgedigits("benchmark", "--windows", "1", "--min-seconds", "0.1", "--json", "-")
    assert measured.returncode == 0
    assert all(row["p50_ns"] > 0 for row in json.loads(measured.stdout)["rows"] if row["status"] == "ok")
    assert "float32 [n, 400]" in edgedigits("inspect").stdout


def test_a_web_page_needs_nothing_else(edgedigits: Callable[..., Any], tmp_path: Path) -> None:
    assert edgedigits("web", "--draw-only", "-o", "page.html").returncode == 0
    assert (tmp_path / "page.html").stat().st_size < 200_000


def test_a_kit_of_the_installed_wheel_holds_the_same_files(edgedigits: Callable[..., Any], tmp_path: Path) -> None:
    """There is no wheel file on a user's machine: it is put together again, with the files of the source tree."""
    python = "{}.{}".format(*sys.version_info[:2])
    done = edgedigits("kit", "--target", "linux-64", "--python", python, "--runtime", "numpy", "--json", "-")
    if "cannot reach" in done.stderr and os.environ.get("CI") != "true":
        pytest.skip(f"making a kit needs a network: {done.stderr}")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "kit.zip") as kit:
        (own,) = (name for name in kit.namelist() if name.startswith("wheels/edgedigits-"))
        with kit.open(own) as stream, zipfile.ZipFile(stream) as packed:
            files = {name: packed.read(name) for name in packed.namelist() if ".dist-info/" not in name}
    paths = [path for path in (ROOT / "edgedigits").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    sources = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}
    assert files == {name: content for name, content in sources.items() if "/models/notebook/" not in name}


def test_c_needs_no_tensorflow(edgedigits: Callable[..., Any], tmp_path: Path) -> None:
    assert edgedigits("c").returncode == 0
    assert (tmp_path / "digits" / "src" / "digits.c").is_file()


@pytest.mark.parametrize("command", ["run", "train", "export", "plot"])
def test_a_workstation_command_shows_and_names_what_is_missing(command: str, edgedigits: Callable[..., Any]) -> None:
    assert f"\n  {command} " in edgedigits("--help").stdout
    done = edgedigits(command, *(["loss"] if command == "plot" else []))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install tensorflow tf2onnx onnx matplotlib" in done.stderr
