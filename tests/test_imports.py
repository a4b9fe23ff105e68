"""Every module of the device side imports without TensorFlow, the workstation's packages and any runtime."""

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


@pytest.mark.parametrize("blocked", [True, False], ids=["not installed", "installed"])
def test_every_module_imports(hidden: Callable[..., dict[str, str]], blocked: bool) -> None:
    """Works if the packages are not installed; loads none of them if they are."""
    assert {"edgedigits.cli", "edgedigits.commands.parity", "edgedigits.runtimes.tensorflow"} <= set(MODULES)
    code = f"from importlib.util import find_spec\nassert not any(map(find_spec, {ABSENT!r}))" if blocked else ""
    env = hidden(*ABSENT) if blocked else None
    done = subprocess.run([sys.executable, "-c", code + IMPORT_ALL], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
