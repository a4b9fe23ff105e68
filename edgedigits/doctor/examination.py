"""Examine this machine: every runtime is tried on one image, and what is missing or broken gets its line to type.

Nothing here imports NumPy, Pillow or a runtime but in a child process, so that a broken one is a finding like others.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from edgedigits.benchmark import machine
from edgedigits.benchmark.machine import MachineWarning, Throttling
from edgedigits.doctor.diagnosis import Check, Diagnosis
from edgedigits.errors import ModelError, RuntimeUnavailableError
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES, RuntimeInfo
from edgedigits.runtimes.wheels import Platform, advice_for, dependency_line, here, wheel_for
from edgedigits.system.isolation import Outcome, run
from edgedigits.system.resources import ILLEGAL_INSTRUCTION

#: The image that every runtime is asked about: the notebook's own example, a 2.
IMAGE = 1015
#: What edgedigits needs and can be broken: distribution -> what is imported. The rest is plain Python, and shows:
#: without flatbuffers there is no numpy runtime, without click no command.
NEEDED = {"numpy": "numpy", "Pillow": "PIL.Image"}
#: Run a task of this module in a child.
_Ask: TypeAlias = Callable[[str, dict[str, Any]], Outcome]


def examine(
    *,
    timeout: float = 300.0,
    memory_bytes: int | None = None,
    on_check: Callable[[Check], None] = lambda check: None,
) -> Diagnosis:
    """Try everything, each in a process of its own.

    Args:
        timeout: seconds for one process.
        memory_bytes: what one may take of memory; None for three quarters of the memory.
        on_check: called with each check as it is done, before its remedy is known.
    """
    where, described, reading = here(), machine.describe(), machine.throttling()

    def told(check: Check) -> Check:
        on_check(check)
        return check

    def ask(task: str, request: dict[str, Any]) -> Outcome:
        return run(f"{__name__}:child_{task}", request, timeout, memory_bytes)

    found = {name: told(_try_runtime(RUNTIMES[name], ask)) for name in RUNTIMES}
    works = [name for name in RUNTIMES if found[name].status == "works"]
    # A runtime that answered right was asked through NumPy.
    numpy = told(Check("numpy", _version("numpy"), "works") if works else _try_import("numpy", ask))
    pillow = told(_try_import("Pillow", ask))
    packages = tuple(package_remedy(check, where) for check in (numpy, pillow))
    runtimes = tuple(runtime_remedy(found[name], works, numpy, where) for name in RUNTIMES)
    to_type = any(check.line for check in (*packages, *runtimes))
    return Diagnosis(described, where, packages, runtimes, tuple(_warnings(described, reading, to_type)))


def child_runtime(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: run every artifact of the default bundle that ``request["runtime"]`` opens on one image.

    Answers with the digits by artifact and the ``expected`` one, or with ``broken``, the runtime's own words.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.classifier import open_artifact

    info, bundle = RUNTIMES[request["runtime"]], Bundle()
    x, digits = bundle.input_row(IMAGE), {}
    try:
        for artifact in bundle.manifest.artifacts:
            if info.name in artifact.opened_by:
                with open_artifact(bundle, artifact, info.name, threads=1, kernels=None) as session:
                    digits[artifact.file] = int(session.run(x).argmax())
    except (RuntimeUnavailableError, ModelError) as error:
        if error.__cause__ is None:  # found by a check of our own, whose message names the remedy
            raise
        return {"broken": f"{type(error.__cause__).__name__}: {error.__cause__}"}
    told = getattr(sys.modules.get(info.package), "__version__", None)
    return {"digits": digits, "expected": int(bundle.golden()[IMAGE].argmax()), "version": told}


def child_import(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: import ``request["module"]``."""
    import_module(request["module"])
    return {}


def _try_runtime(info: RuntimeInfo, ask: _Ask) -> Check:
    if not info.installed:
        return Check(info.name, None, "not installed")
    outcome = ask("runtime", {"runtime": info.name})
    if outcome.status != "ok" or "broken" in outcome.answer:
        return _failure(info.name, info.version, outcome)
    answer = outcome.answer
    found = info.version or answer["version"]  # Debian's packages need not have metadata
    wrong = [f"{file} says {digit}" for file, digit in answer["digits"].items() if digit != answer["expected"]]
    if wrong:
        message = f"X[{IMAGE}] is a {answer['expected']}, and {', '.join(wrong)}"
        return Check(info.name, found, "wrong answer", message)
    return Check(info.name, found, "works")


def _try_import(distribution: str, ask: _Ask) -> Check:
    module = NEEDED[distribution]
    if find_spec(module.partition(".")[0]) is None:
        return Check(distribution, None, "not installed")
    found = _version(distribution)
    outcome = ask("import", {"module": module})
    return Check(distribution, found, "works") if outcome.status == "ok" else _failure(distribution, found, outcome)


def _version(distribution: str) -> str | None:
    """None where it is installed without saying so."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _failure(name: str, found: str | None, outcome: Outcome) -> Check:
    """Of a child that did not do what was asked."""
    if outcome.signal is not None:
        why = (
            ": this processor lacks an instruction that it was built with"
            if outcome.signal in ILLEGAL_INSTRUCTION
            else ""
        )
        return Check(name, found, "crashed", f"died of {outcome.signal}{why}", outcome.signal)
    status = outcome.status if outcome.status in ("error", "timeout", "memory") else "broken"
    return Check(name, found, status, " ".join(outcome.answer.get("broken", outcome.message).split())[:300])


def package_remedy(check: Check, where: Platform) -> Check:
    """With what to type where something that edgedigits needs is missing or broken."""
    if check.status in ("works", "timeout", "memory"):
        return check
    line: str | None = dependency_line(check.name, where)
    if check.signal in ILLEGAL_INSTRUCTION:  # the same again would not help
        line = None
    elif line is not None and check.failed:
        line = line.replace("pip install ", "pip install --force-reinstall ").replace("apt install ", "apt reinstall ")
    without = {"numpy": "nothing runs without it", "Pillow": "`predict` reads no picture without it"}[check.name]
    return replace(check, line=line, message="; ".join(filter(None, (check.message, without))))


def runtime_remedy(check: Check, works: list[str], numpy: Check, where: Platform) -> Check:
    """With what to type where a runtime is missing or fails, or what to use instead.

    Args:
        works: the runtimes that do work.
        numpy: what was found about the package.
    """
    name, distribution = check.name, RUNTIMES[check.name].distribution
    if check.status == "not installed":
        if name in CHOSEN_ONLY_BY_NAME:
            return replace(check, message="not needed on a device")
        if name == "numpy":  # the runtime of our own
            return replace(check, message="it reads .tflite files with flatbuffers", line="pip install flatbuffers")
        advice = advice_for(name, where)
        return replace(check, message="; ".join(filter(None, (advice.why, advice.instead))), line=advice.install)
    if check.failed and numpy.status != "works":
        return replace(check, status="not tried", message="it needs NumPy, which does not work", signal=None)
    if name == "tflite-runtime" and check.failed and (numpy.version or "1").partition(".")[0] != "1":
        return replace(check, line="pip install 'numpy<2'")
    if check.signal in ILLEGAL_INSTRUCTION or check.status == "wrong answer":  # installing it again would not help
        instead = f"use {' or '.join(works)}" if works else "and no other runtime works here"
        return replace(check, message=f"{check.message}; {instead}", line=f"pip uninstall {distribution}")
    if check.status in ("crashed", "broken"):
        wheel = wheel_for(name, where)
        again = "flatbuffers" if name == "numpy" else distribution if wheel is None else wheel.requirement
        return replace(check, line=f"pip install --force-reinstall --no-deps {again}")
    return check


def _warnings(described: dict[str, Any], reading: Throttling, to_type: bool) -> list[MachineWarning]:
    """The traps that can be seen from here; the load of this moment is none."""
    found = machine.find_warnings({**described, "load_1min": None}, reading)
    if reading.now:
        remedy = "use its own power supply and cool it"
        found.insert(0, MachineWarning(f"at this moment the device is {' and '.join(reading.now)}", remedy))
    if to_type and managed(Path(sysconfig.get_path("stdlib")), sys.prefix != sys.base_prefix):
        what = "this Python belongs to the system, whose pip refuses to install (PEP 668)"
        found.append(MachineWarning(what, "python3 -m venv --system-site-packages ~/edge && . ~/edge/bin/activate"))
    return found


def managed(stdlib: Path, in_environment: bool) -> bool:
    """Whether pip refuses to install beside this standard library (PEP 668), as it does on Debian 12 and later."""
    return not in_environment and (stdlib / "EXTERNALLY-MANAGED").exists()
