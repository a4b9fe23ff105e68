"""Try every runtime on one image, and find the command that installs or repairs what is missing or broken.

NumPy, Pillow and the runtimes are imported only in child processes, because any of them may be broken.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgedigits.benchmark import machine
from edgedigits.benchmark.machine import MachineWarning, Throttling
from edgedigits.doctor.diagnosis import Check, Diagnosis
from edgedigits.errors import ModelError, RuntimeUnavailableError
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES, distribution_version
from edgedigits.runtimes.wheels import DEBIAN_ARM32, Platform, advice_for, this_platform, wheel_for
from edgedigits.system.isolation import Outcome, run
from edgedigits.system.resources import ILLEGAL_INSTRUCTION

#: Dependencies with compiled code, which can be broken: distribution -> module.
DEPENDENCIES = {"numpy": "numpy", "Pillow": "PIL.Image"}


def examine(timeout: float, memory_bytes: int | None, on_check: Callable[[Check], None]) -> Diagnosis:
    """Try every runtime and dependency, each in a process of its own with these limits.

    Calls ``on_check`` with the result of each process, before its remedy is known.
    """
    where, described, throttling = this_platform(), machine.describe(), machine.throttling()

    def check(name: str, package: str, distribution: str, task: Callable[..., dict[str, Any]]) -> Check:
        installed = find_spec(package) is not None
        outcome = run(f"{__name__}:{task.__name__}", {"name": name}, timeout, memory_bytes) if installed else None
        found = _evaluate(name, distribution, outcome)
        on_check(found)
        return found

    checks = [check(info.name, info.package, info.distribution, try_runtime) for info in RUNTIMES.values()]
    works = [found.name for found in checks if found.status == "works"]
    if works:  # so does NumPy
        numpy = Check("numpy", distribution_version("numpy"), "works")
    else:
        numpy = check("numpy", "numpy", "numpy", try_import)
    pillow = check("Pillow", "PIL", "Pillow", try_import)
    packages = tuple(dependency_remedy(found, where) for found in (numpy, pillow))
    runtimes = tuple(runtime_remedy(found, works, numpy, where) for found in checks)
    to_install = any(check.line for check in (*packages, *runtimes))
    return Diagnosis(described, where, packages, runtimes, tuple(_warnings(described, throttling, to_install)))


def try_runtime(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: run every artifact of the default bundle that the runtime ``request["name"]`` opens on one image.

    The image is that on which the trained model is surest, so that int8 does not change its class. Returns the index of
    the ``image``, the class names by artifact and the ``expected`` one, or the runtime's exception as ``broken``.
    """
    import numpy as np

    from edgedigits.bundle.bundle import Bundle
    from edgedigits.classifier import open_artifact

    info, bundle = RUNTIMES[request["name"]], Bundle()
    labels, contract, classes = bundle.manifest.labels, bundle.manifest.contract, {}
    scores = contract.scores(bundle.golden())
    top_two = np.partition(scores, -2, axis=1)[:, -2:]
    image = int((top_two[:, 1] - top_two[:, 0]).argmax())
    x = bundle.input_row(image)
    try:
        for artifact in bundle.manifest.artifacts:
            if info.name in artifact.opened_by:
                with open_artifact(bundle, artifact, info.name, threads=1, kernels=None) as session:
                    classes[artifact.file] = labels[contract.scores(session.run(x)).argmax()]
    except (RuntimeUnavailableError, ModelError) as error:
        if error.__cause__ is None:  # raised by a check of ours, with a remedy in its message
            raise
        return {"broken": f"{type(error.__cause__).__name__}: {error.__cause__}"}
    module_version = getattr(sys.modules.get(info.package), "__version__", None)
    return {"image": image, "classes": classes, "expected": labels[scores[image].argmax()], "version": module_version}


def try_import(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: import the dependency that is called ``request["name"]``."""
    import_module(DEPENDENCIES[request["name"]])
    return {}


def _evaluate(name: str, distribution: str, outcome: Outcome | None) -> Check:
    """The check of a runtime or a dependency from the outcome of its task; None if it is not installed."""
    if outcome is None:
        return Check(name, None, "not installed")
    installed, answer = distribution_version(distribution), outcome.answer
    if outcome.signal is not None:
        illegal = outcome.signal in ILLEGAL_INSTRUCTION
        why = ": it was built for instructions that this processor lacks" if illegal else ""
        return Check(name, installed, "crashed", f"crashed with {outcome.signal}{why}", outcome.signal)
    if outcome.status != "ok" or "broken" in answer:
        status = outcome.status if outcome.status in ("error", "timeout", "memory") else "broken"
        return Check(name, installed, status, " ".join(answer.get("broken", outcome.message).split())[:300])
    installed = installed or answer.get("version")  # Debian's packages can lack metadata
    wrong = [f"{file} says {found}" for file, found in answer.get("classes", {}).items() if found != answer["expected"]]
    if wrong:
        expected = f"X[{answer['image']}] is {answer['expected']}"
        return Check(name, installed, "wrong answer", f"{expected}, but {', '.join(wrong)}")
    return Check(name, installed, "works")


def dependency_remedy(check: Check, where: Platform) -> Check:
    """Add the install or repair command to the check of a dependency."""
    if check.status in ("works", "timeout", "memory"):
        return check
    if where.arm32:
        line = f"sudo apt {'reinstall' if check.failed else 'install'} {DEBIAN_ARM32[check.name]}"
    else:
        line = f"pip install {'--force-reinstall ' if check.failed else ''}{check.name}"
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
