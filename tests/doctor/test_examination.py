"""`edgedigits doctor` with real runtimes and with packages that are really broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark import machine
from edgedigits.benchmark.machine import Throttling
from edgedigits.doctor.diagnosis import Check, Diagnosis, diagnosis_text
from edgedigits.doctor.examination import _warnings, dependency_remedy, externally_managed, runtime_remedy, try_runtime
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.wheels import TABLE_DATE, Platform

Run = Callable[..., subprocess.CompletedProcess[str]]
Environment = Callable[..., dict[str, str]]
ALL_RUNTIMES = ("ai_edge_litert", "tflite_runtime", "onnxruntime", "flatbuffers", "tensorflow")
DIES = "import os, signal\nos.kill(os.getpid(), signal.{})\n"
# The real interpreter with the logits in reverse order.
WRONG = """
from ai_edge_litert.interpreter import Interpreter as Real, OpResolverType


class Interpreter(Real):
    def invoke(self):
        super().invoke()
        logits = self.tensor(self.get_output_details()[0]["index"])()
        logits[...] = logits[:, ::-1].copy()
"""


@pytest.fixture
def broken(hidden: Environment, tmp_path: Path) -> Environment:
    """An environment in which packages are replaced by code; without TensorFlow, which takes seconds to import."""

    def environment(**modules: str) -> dict[str, str]:
        folder = tmp_path / "broken"
        for name, code in modules.items():
            package, _, module = name.partition("__")
            (folder / package).mkdir(parents=True, exist_ok=True)
            (folder / package / "__init__.py").touch()
            (folder / package / f"{module or '__init__'}.py").write_text(code)
        env = hidden("tensorflow")
        return {**env, "PYTHONPATH": os.pathsep.join([str(folder), env["PYTHONPATH"]])}

    return environment


@pytest.fixture
def diagnose(edgedigits: Run) -> Callable[..., tuple[int, dict[str, Any], dict[str, Any]]]:
    """Run the command: exit status, JSON output, and the checks by name."""

    def run(env: dict[str, str]) -> tuple[int, dict[str, Any], dict[str, Any]]:
        done = edgedigits("doctor", "--json", "-", env=env)
        assert "Traceback" not in done.stderr
        found = json.loads(done.stdout)
        return done.returncode, found, {check["name"]: check for check in found["packages"] + found["runtimes"]}

    return run


def check(name: str, status: str, **facts: Any) -> Check:
    return Check(name, "1.0", status, **facts)


NUMPY = Check("numpy", "1.26.4", "works")
PI = Platform((3, 11), "armv7l", release=(2, 36))
PC = Platform((3, 11), "x86_64", release=(2, 36))


class TestThisMachine:
    def test_every_runtime_is_installed_and_works(self, edgedigits: Run, tmp_path: Path) -> None:
        done = edgedigits("doctor", "--json", tmp_path / "found.json")
        assert done.returncode == 0
        found = json.loads((tmp_path / "found.json").read_text())
        assert [c["name"] for c in found["runtimes"]] == list(RUNTIMES)
        for c in found["runtimes"]:
            assert (c["status"], c["message"], c["line"]) == ("works", "", None)
            assert c["version"] == version(RUNTIMES[c["name"]].distribution)
            assert any(line.split() == [c["name"], c["version"], "works"] for line in done.stdout.splitlines())
        assert [(c["name"], c["status"]) for c in found["packages"]] == [("numpy", "works"), ("Pillow", "works")]
        assert (found["healthy"], found["wheels_checked"]) == (True, TABLE_DATE)
        assert found["machine"]["cores"] == os.cpu_count()
        assert found["platform"]["python"] == list(sys.version_info[:2])
        assert "pip" not in done.stdout
        assert done.stdout.splitlines()[-1].startswith("healthy: litert, tflite-runtime, onnxruntime, numpy")


class TestMissing:
    def test_only_the_numpy_runtime(self, diagnose: Any, hidden: Environment) -> None:
        status, found, checks = diagnose(hidden("ai_edge_litert", "tflite_runtime", "onnxruntime", "tensorflow"))
        assert (status, found["healthy"]) == (0, True)
        assert checks["litert"]["status"] == checks["tensorflow"]["status"] == "not installed"
        assert checks["litert"]["line"].startswith("pip install ai-edge-litert==")
        assert (checks["tensorflow"]["line"], checks["tensorflow"]["message"]) == (None, "not needed on a device")

    def test_no_runtime_at_all(self, edgedigits: Run, hidden: Environment) -> None:
        done = edgedigits("doctor", env=hidden(*ALL_RUNTIMES))
        assert done.returncode == 1
        text = done.stdout
        head = "to add a runtime, run one of\n"
        commands = text[text.index(head) + len(head) :].split("\n\n")[0]
        assert [line.split()[2].partition("=")[0] for line in commands.splitlines()] == [
            "ai-edge-litert", "tflite-runtime", "onnxruntime", "flatbuffers",
        ]  # fmt: skip
        assert text.endswith(f"NOT HEALTHY: no runtime works (table of wheels from {TABLE_DATE})\n")

    def test_numpy(self, diagnose: Any, hidden: Environment) -> None:
        status, found, checks = diagnose(hidden("numpy", "tensorflow"))
        assert (status, found["healthy"]) == (1, False)
        assert (found["packages"][0]["status"], found["packages"][0]["line"]) == ("not installed", "pip install numpy")
        assert (checks["litert"]["status"], checks["litert"]["line"]) == ("not tried", None)

    def test_pillow(self, diagnose: Any, hidden: Environment) -> None:
        status, _, checks = diagnose(hidden("PIL", "tensorflow", "onnxruntime"))
        assert status == 0
        assert (checks["Pillow"]["status"], checks["Pillow"]["line"]) == ("not installed", "pip install Pillow")
        assert checks["Pillow"]["message"] == "`predict` cannot read pictures without it"


class TestBroken:
    def test_a_crash(self, diagnose: Any, broken: Environment) -> None:
        status, found, checks = diagnose(broken(onnxruntime=DIES.format("SIGSEGV")))
        assert (status, found["healthy"]) == (1, False)
        row = checks["onnxruntime"]
        assert (row["status"], row["signal"], row["message"]) == ("crashed", "SIGSEGV", "crashed with SIGSEGV")
        requirement = f"onnxruntime=={version('onnxruntime')}"
        assert row["line"] == f"pip install --force-reinstall --no-deps {requirement}"
        assert checks["litert"]["status"] == "works"

    def test_an_illegal_instruction(self, edgedigits: Run, broken: Environment) -> None:
        """As on an x86-64 processor without AVX, where reinstalling the wheel would not help."""
        env = broken(ai_edge_litert__interpreter=DIES.format("SIGILL"))
        done = edgedigits("doctor", env=env)
        assert done.returncode == 1
        message = "litert: crashed with SIGILL: it was built for instructions that this processor lacks; "
        assert f"\n{message}use tflite-runtime or onnxruntime or numpy\n" in done.stdout
        assert "\nto repair the installation, run\n  pip uninstall ai-edge-litert\n" in done.stdout
        assert "NOT HEALTHY: tflite-runtime, onnxruntime, numpy work, litert fails (" in done.stdout

    @pytest.mark.parametrize("error", ["ImportError", "SystemError"])
    def test_an_exception_on_import(self, diagnose: Any, broken: Environment, error: str) -> None:
        reason = "libGL.so.1: cannot open shared object file"
        status, _, checks = diagnose(broken(onnxruntime=f"raise {error}({reason!r})"))
        row = checks["onnxruntime"]
        assert (status, row["status"], row["signal"], row["message"]) == (1, "broken", None, f"{error}: {reason}")
        assert row["line"].startswith("pip install --force-reinstall --no-deps onnxruntime==")

    def test_a_wrong_answer(self, diagnose: Any, broken: Environment) -> None:
        status, _, checks = diagnose(broken(tflite_runtime__interpreter=WRONG))
        row = checks["tflite-runtime"]
        assert (status, row["status"], row["line"]) == (1, "wrong answer", "pip uninstall tflite-runtime")
        says = r"float32.tflite says (\d), int8.tflite says \2, int8_full.tflite says \2"
        wrong = rf"X\[\d+\] is (\d), but {says}; use litert or onnxruntime or numpy"
        found = re.fullmatch(wrong, row["message"])
        assert found
        assert int(found[1]) + int(found[2]) == 9

    def test_an_own_bundle_in_a_kit(self, own_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """It stands where the reference is, and has fewer images, two classes and one output."""
        monkeypatch.setattr("edgedigits.bundle.bundle.DEFAULT_BUNDLE", own_bundles["sigmoid"])
        found = try_runtime({"name": "litert"})
        assert found["expected"] in ("ham", "spam")
        assert found["classes"] == dict.fromkeys(("float32.tflite", "int8.tflite"), found["expected"])

    def test_numpy(self, diagnose: Any, broken: Environment) -> None:
        status, found, checks = diagnose(broken(numpy=DIES.format("SIGILL")))
        assert status == 1
        assert (found["packages"][0]["status"], found["packages"][0]["signal"]) == ("crashed", "SIGILL")
        assert found["packages"][0]["line"] is None  # reinstalling the same wheel would not help
        for runtime in ("litert", "numpy"):
            assert (checks[runtime]["status"], checks[runtime]["line"]) == ("not tried", None)

    def test_pillow(self, diagnose: Any, broken: Environment) -> None:
        status, _, checks = diagnose(broken(PIL__Image="raise ImportError('libjpeg.so.62')"))
        row = checks["Pillow"]
        assert (status, row["status"], row["line"]) == (0, "broken", "pip install --force-reinstall Pillow")
        assert "ImportError: libjpeg.so.62" in row["message"]
        assert row["message"].endswith("; `predict` cannot read pictures without it")

    def test_numpy_2_beside_tflite_runtime(self, diagnose: Any, broken: Environment, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--target", str(tmp_path / "broken"), "numpy>=2,<3"], capture_output=True)
        if done.returncode and b"connection" in done.stderr.lower() and os.environ.get("CI") != "true":
            pytest.skip("the package index cannot be reached")
        assert done.returncode == 0, done.stderr
        status, _, checks = diagnose(broken())
        row = checks["tflite-runtime"]
        assert (status, row["status"], row["line"]) == (1, "error", "pip install 'numpy<2'")
        assert row["message"].startswith("tflite-runtime is built for NumPy 1 and NumPy 2.")
        assert checks["litert"]["status"] == checks["numpy"]["status"] == "works"


class TestRemedies:
    def test_a_timeout_is_no_reason_to_reinstall(self) -> None:
        slow = check("litert", "timeout", message="no answer within 1 s")
        assert runtime_remedy(slow, [], NUMPY, PC) == slow

    def test_nothing_else_works(self) -> None:
        found = runtime_remedy(check("litert", "crashed", signal="SIGILL", message="died"), [], NUMPY, PC)
        assert found.message == "died; no other runtime works here"

    @pytest.mark.parametrize(("name", "again"), [("numpy", "flatbuffers"), ("tensorflow", "tensorflow")])
    def test_reinstall(self, name: str, again: str) -> None:
        found = runtime_remedy(check(name, "broken"), ["onnxruntime"], NUMPY, PC)
        assert found.line == f"pip install --force-reinstall --no-deps {again}"

    def test_a_32_bit_pi_needs_debian_packages(self) -> None:
        missing = dependency_remedy(Check("Pillow", None, "not installed"), PI)
        assert missing.line == "sudo apt install python3-pil"
        assert dependency_remedy(check("numpy", "crashed"), PI).line == "sudo apt reinstall python3-numpy"


class TestWarnings:
    FACTS: dict[str, Any] = {"governor": "performance", "load_1min": 9.0, "on_battery": None}  # noqa: RUF012

    def test_the_current_load_is_no_warning(self) -> None:
        assert _warnings(self.FACTS, Throttling(0), to_install=False) == []

    def test_a_throttled_pi(self) -> None:
        now, since, *more = _warnings(self.FACTS, Throttling(0x50005), to_install=False)
        assert now.what == "the device is under-voltage and throttled now"
        assert since.what.startswith("since boot the device has been under-voltage and throttled")
        assert more == []

    def test_an_externally_managed_python(self, tmp_path: Path) -> None:
        assert not externally_managed(tmp_path, in_environment=False)
        (tmp_path / "EXTERNALLY-MANAGED").touch()
        assert externally_managed(tmp_path, in_environment=False)
        assert not externally_managed(tmp_path, in_environment=True)


class TestText:
    def found(self, where: Platform, *runtimes: Check, **facts: Any) -> Diagnosis:
        return Diagnosis({**machine.describe(), **facts}, where, (NUMPY,), runtimes)

    def test_a_32_bit_python_on_a_64_bit_kernel(self) -> None:
        text = diagnosis_text(self.found(PI, check("numpy", "works"), architecture="aarch64"))
        assert " for armv7l on a kernel for aarch64\n" in text
        assert ", glibc 2.36" in text
        assert "on a kernel" not in diagnosis_text(self.found(PI, check("numpy", "works"), architecture="armv7l"))

    def test_unknown_facts_are_left_out(self) -> None:
        nothing = dict.fromkeys(("model", "cpu", "memory_bytes", "os", "container", "architecture"))
        text = diagnosis_text(self.found(replace(PC, release=None), check("numpy", "works"), **nothing))
        assert "None" not in text
        assert "\nsystem    glibc\n" in text

    def test_repairs_and_additions_are_listed_apart(self) -> None:
        lines = [check("litert", "broken", line="A"), check("onnxruntime", "not installed", line="B")]
        text = diagnosis_text(self.found(PC, *lines, check("numpy", "works")))
        assert "\nto repair the installation, run\n  A\n\nto add another runtime, run one of\n  B\n" in text
