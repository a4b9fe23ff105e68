"""Millions of calls give the same results and leave no memory or file descriptor behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedigits.runtimes.table import RUNTIMES

# Eight processes at once, and the calls of each: 5 million in all, most to the runtimes that take the least time.
PLAN = (
    ("float32.tflite", "litert", 1_650_000),
    ("int8.tflite", "litert", 1_650_000),
    ("float32.tflite", "tflite-runtime", 1_000_000),
    ("int8.tflite", "tflite-runtime", 200_000),
    ("float32.onnx", "onnxruntime", 200_000),
    ("float32.onnx", "onnxruntime", 200_000),
    ("float32.tflite", "numpy", 80_000),
    ("int8.tflite", "numpy", 20_000),
)
MOST_BYTES = 1 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from Linux's /proc"),
]


def test_five_million_calls(counted: Callable[[str], None]) -> None:
    # A Python that has no wheel of tflite-runtime gives its share to LiteRT.
    plan = [
        (artifact, runtime if RUNTIMES[runtime].installed else "litert", calls) for artifact, runtime, calls in PLAN
    ]
    started = time.perf_counter()
    script = Path(__file__).with_name("soak.py")
    children = [
        subprocess.Popen([sys.executable, str(script), *map(str, step)], stdout=-1, stderr=-1, text=True)
        for step in plan
    ]
    ended = [(child.communicate(), child.returncode) for child in children]
    for (artifact, runtime, _), ((_, errors), status) in zip(plan, ended, strict=True):
        assert status == 0, f"{artifact} in {runtime}: {errors}"
    seen = [json.loads(printed) for (printed, _), _ in ended]
    calls, wrong = (sum(one[key] for one in seen) for key in ("calls", "wrong"))
    grown, left = (max(one[key] for one in seen) for key in ("grown", "left"))
    counted(
        f"{calls:,} calls in {len(seen)} processes of five threads: {wrong} wrong answers, memory grew by at most "
        f"{grown / 1024:.0f} KiB, {left} file descriptors left; {time.perf_counter() - started:.0f} s"
    )
    assert calls >= 5_000_000
    assert wrong == 0
    assert grown <= MOST_BYTES, dict(zip(plan, seen, strict=True))
    assert left == 0
