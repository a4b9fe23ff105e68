"""Try every runtime on one image, and find the command that installs or repairs what is missing or broken.

NumPy, Pillow and the runtimes are imported only in child processes, because any of them may be broken.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from edgedigits.benchmark import machine
from edgedigits.benchmark.machine import MachineWarning, Throttling
from edgedigits.doctor.diagnosis import Check, Diagnosis
from edgedigits.errors import ModelError, RuntimeUnavailableError
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES, RuntimeInfo, distribution_version
from edgedigits.runtimes.wheels import Platform, advice_for, dependency_install, this_platform, wheel_for
from edgedigits.system.isolation import Outcome, run
from edgedigits.system.resources import ILLEGAL_INSTRUCTION

#: The image that every runtime classifies: the notebook's example, a 2.
IMAGE = 1015
#: Dependencies with compiled code, which can be broken: distribution -> module.
DEPENDENCIES = {"numpy": "numpy", "Pillow": "PIL.Image"}
_Run: TypeAlias = Callable[[str, dict[str, Any]], Outcome]


def examine(timeout: float, memory_bytes: int | None, on_check: Callable[[Check], None]) -> Diagnosis:
    """Try every runtime and dependency, each in a process of its own with these limits.

    Calls ``on_check`` with each finished check, before its remedy is known.
    """
    where, described, throttling = this_platform(), machine.describe(), machine.throttling()
    run_task = partial(run, timeout=timeout, memory_bytes=memory_bytes)

    def report(check: Check) -> Check:
        on_check(check)
        return check

    checks = {name: report(_check_runtime(info, run_task)) for name, info in RUNTIMES.items()}
    works = [name for name, check in checks.items() if check.status == "works"]
    # NumPy works if any runtime does.
    numpy_version = distribution_version("numpy")
    numpy = report(Check("numpy", numpy_version, "works") if works else _check_dependency("numpy", run_task))
    pillow = report(_check_dependency("Pillow", run_task))
    packages = tuple(dependency_remedy(check, where) for check in (numpy, pillow))
    runtimes = tuple(runtime_remedy(check, works, numpy, where) for check in checks.values())
    to_install = any(check.line for check in (*packages, *runtimes))
    return Diagnosis(described, where, packages, runtimes, tuple(_warnings(described, throttling, to_install)))


def try_runtime(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: run every artifact of the default bundle that ``request["runtime"]`` opens on one image.

    Returns the digits by artifact and the ``expected`` one, or the runtime's exception as ``broken``.
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
        if error.__cause__ is None:  # raised by a check of ours, with a remedy in its message
            raise
        return {"broken": f"{type(error.__cause__).__name__}: {error.__cause__}"}
    module_version = getattr(sys.modules.get(info.package), "__version__", None)
    return {"digits": digits, "expected": int(bundle.golden()[IMAGE].argmax()), "version": module_version}


def try_import(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: import ``request["module"]``."""
    import_module(request["module"])
    return {}


def _check_runtime(info: RuntimeInfo, run_task: _Run) -> Check:
    if not info.installed:
        return Check(info.name, None, "not installed")
    outcome = run_task(f"{__name__}:try_runtime", {"runtime": info.name})
    if outcome.status != "ok" or "broken" in outcome.answer:
        return _failure(info.name, info.version, outcome)
    result = outcome.answer
    installed = info.version or result["version"]  # Debian's packages can lack metadata
    wrong = [f"{file} says {digit}" for file, digit in result["digits"].items() if digit != result["expected"]]
    if wrong:
        message = f"X[{IMAGE}] is a {result['expected']}, but {', '.join(wrong)}"
        return Check(info.name, installed, "wrong answer", message)
    return Check(info.name, installed, "works")


def _check_dependency(distribution: str, run_task: _Run) -> Check:
    module = DEPENDENCIES[distribution]
    if find_spec(module.partition(".")[0]) is None:
        return Check(distribution, None, "not installed")
    installed = distribution_version(distribution)
    outcome = run_task(f"{__name__}:try_import", {"module": module})
    if outcome.status == "ok":
        return Check(distribution, installed, "works")
    return _failure(distribution, installed, outcome)


def _failure(name: str, installed: str | None, outcome: Outcome) -> Check:
    if outcome.signal is not None:
        illegal = outcome.signal in ILLEGAL_INSTRUCTION
        why = ": it was built for instructions that this processor lacks" if illegal else ""
        return Check(name, installed, "crashed", f"crashed with {outcome.signal}{why}", outcome.signal)
    status = outcome.status if outcome.status in ("error", "timeout", "memory") else "broken"
    return Check(name, installed, status, " ".join(outcome.answer.get("broken", outcome.message).split())[:300])


def dependency_remedy(check: Check, where: Platform) -> Check:
    """Add the install or repair command to the check of a dependency."""
    if check.status in ("works", "timeout", "memory"):
        return check
    line = dependency_install(check.name, where)
    if check.failed:
        line = line.replace("pip install ", "pip install --force-reinstall ").replace("apt install ", "apt reinstall ")
    without = {"numpy": "nothing runs without it", "Pillow": "`predict` cannot read pictures without it"}[check.name]
    useful = check.signal not in ILLEGAL_INSTRUCTION  # otherwise reinstalling would not help
    return replace(check, line=line if useful else None, message="; ".join(filter(None, (check.message, without))))


def runtime_remedy(check: Check, works: list[str], numpy: Check, where: Platform) -> Check:
    """Add the install or repair command, or which of the runtimes in ``works`` to use instead, to a runtime's check."""
    name, distribution = check.name, RUNTIMES[check.name].distribution
    if check.status == "not installed":
        if name in CHOSEN_ONLY_BY_NAME:
            return replace(check, message="not needed on a device")
        if name == "numpy":
            return replace(check, message="it reads .tflite files with flatbuffers", line=RUNTIMES[name].install)
        advice = advice_for(name, where)
        return replace(check, message="; ".join(filter(None, (advice.why, advice.instead))), line=advice.install)
    if check.failed and numpy.status != "works":
        return replace(check, status="not tried", message="it needs NumPy, which does not work", signal=None)
    if name == "tflite-runtime" and check.failed and (numpy.version or "1").partition(".")[0] != "1":
        return replace(check, line="pip install 'numpy<2'")
    if check.signal in ILLEGAL_INSTRUCTION or check.status == "wrong answer":  # reinstalling would not help
        instead = f"use {' or '.join(works)}" if works else "no other runtime works here"
        return replace(check, message=f"{check.message}; {instead}", line=f"pip uninstall {distribution}")
    if check.status in ("crashed", "broken"):
        wheel = wheel_for(name, where)
        requirement = "flatbuffers" if name == "numpy" else wheel.requirement if wheel else distribution
        return replace(check, line=f"pip install --force-reinstall --no-deps {requirement}")
    return check


def _warnings(described: dict[str, Any], throttling: Throttling, to_install: bool) -> list[MachineWarning]:
    """Warnings about this machine, except about its current load."""
    found = machine.find_warnings({**described, "load_1min": None}, throttling)
    if throttling.now:
        remedy = "use its own power supply and cool it"
        found.insert(0, MachineWarning(f"the device is {' and '.join(throttling.now)} now", remedy))
    if to_install and externally_managed(Path(sysconfig.get_path("stdlib")), sys.prefix != sys.base_prefix):
        what = "pip refuses to install into the system's Python (PEP 668)"
        remedy = "first run: python3 -m venv --system-site-packages ~/edge && . ~/edge/bin/activate"
        found.append(MachineWarning(what, remedy))
    return found


def externally_managed(stdlib: Path, in_environment: bool) -> bool:
    """Whether pip refuses to install next to this standard library (PEP 668), as on Debian 12 and later."""
    return not in_environment and (stdlib / "EXTERNALLY-MANAGED").exists()
