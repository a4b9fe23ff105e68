"""The device side imports without TensorFlow, without the workstation's packages and without any runtime."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Callable

import pytest

import edgedigits

ABSENT = (
    "tensorflow", "keras", "tf2onnx", "onnx", "matplotlib", "edgedigits_export", "ai_edge_litert", "tflite_runtime",
    "onnxruntime", "cryptography",
)  # fmt: skip
MODULES = [m.name for m in pkgutil.walk_packages(edgedigits.__path__, "edgedigits.") if m.name != "edgedigits.__main__"]
IMPORT_ALL = f"""
import importlib, sys
for name in {MODULES!r}:
    importlib.import_module(name)
loaded = {set(ABSENT)!r} & set(sys.modules)
assert not loaded, loaded
"""


def test_the_list_of_modules_is_whole() -> None:
    assert {
        "edgedigits.cli",
        "edgedigits.commands.parity",
        "edgedigits.parity.check",
        "edgedigits.runtimes.tensorflow",
    } <= set(MODULES)
    assert len(MODULES) >= 20


@pytest.mark.parametrize("blocked", [True, False], ids=["not installed", "installed"])
def test_every_module_imports(hidden: Callable[..., dict[str, str]], blocked: bool) -> None:
    """Where the packages are not there it works, and where they are none is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, env=hidden(*ABSENT) if blocked else None
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ABSENT)
def test_hidden_packages_are_not_found(hidden: Callable[..., dict[str, str]], package: str) -> None:
    """What the test above stands on."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}"], capture_output=True, text=True, env=hidden(package)
    )
    assert f"No module named '{package}'" in done.stderr
