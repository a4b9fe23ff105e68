"""Run one row without a pause and follow its latency, the clock, the temperature and throttling as they change."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgedigits.benchmark import machine
from edgedigits.benchmark.measure import plan_rows, sustained_point
from edgedigits.benchmark.result import MOST_POINTS, BenchmarkReport, LatencyRow, SustainedPoint, thin_out
from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import InputError
from edgedigits.runtimes.table import RUNTIMES, runtime_info
from edgedigits.system.isolation import Outcome, run


def watch(
    bundle: Bundle,
    *,
    artifacts: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    threads: int = 1,
    minutes: float = 0.0,
    step_seconds: float = 1.0,
    seed: int = 0,
    timeout: float = 300.0,
    memory_bytes: int | None = None,
    root: Path = machine.ROOT,
    on_start: Callable[[str, dict[str, bool]], None] = lambda row, sensors: None,
    on_point: Callable[[SustainedPoint], None] = lambda point: None,
) -> BenchmarkReport:
    """Run the first row for ``minutes``, or until Ctrl-C if that is 0, with a point for every ``step_seconds``.

    Args:
        timeout: seconds that may pass without a point.
        root: the folder below which the sensors are read.
        on_start: called with the row's name, and which of clock, temperature and throttling can be read here.
        on_point: called with every point as it is measured.

    The report has sustained points and no rows; of more than 20,000 points, neighbors are merged. After Ctrl-C it is
    cut short if ``minutes`` are given.

    A runtime that crashes, or is stopped at a limit, is a row that says so. Raises KeyboardInterrupt if Ctrl-C comes
    before the first point.
    """
    if not 0 <= minutes < math.inf or threads < 1:
        raise InputError(f"{minutes:g} minutes on {threads} threads; expected 0 or more minutes and 1 or more threads")
    x, _ = bundle.verify() or bundle.inputs()
    for name in runtimes:
        runtime_info(name).require()
    artifact, runtime = next(row for row in plan_rows(bundle, artifacts, runtimes) if RUNTIMES[row[1]].installed)
    described = machine.describe(root)
    readings = [machine.throttling(root)]
    sensors = {
        "clock": described["frequency_khz"] is not None,
        "temperature": described["temperature_millicelsius"] is not None,
        "throttling": readings[0].raw is not None,
    }
    on_start(f"{artifact.file} in {runtime}", sensors)
    points: list[SustainedPoint] = []
    interrupted = False
    with TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "X.npy", x)
        request = {**bundle.request, "artifact": artifact.file, "runtime": runtime, "threads": threads, "seed": seed}
        request |= {"inputs": str(folder / "X.npy"), "out": str(folder / "points"), "min_seconds": step_seconds}
        (folder / "points").touch()
        with (folder / "points").open(encoding="ascii") as file:
            latest = time.monotonic()

            def read_points() -> None:
                nonlocal latest, points
                start = file.tell()
                while (line := file.readline()).endswith("\n"):
                    readings.append(machine.throttling(root))
                    now = machine.conditions(root)
                    points.append(sustained_point(artifact, runtime, json.loads(line), now, readings[-1]))
                    on_point(points[-1])
                    if len(points) == MOST_POINTS:
                        points = thin_out(points, MOST_POINTS // 2)
                    latest, start = time.monotonic(), file.tell()
                file.seek(start)  # before a line that is not complete yet
                if time.monotonic() - latest > timeout:
                    raise TimeoutError(f"stopped after {timeout:g} s without a result; raise the limit with --timeout")

            task = "edgedigits.benchmark.timing:time_watch"
            limit = request | {"total_seconds": 60.0 * minutes or None}
            try:
                outcome = run(task, limit, math.inf, memory_bytes, fork=False, on_tick=read_points)
            except KeyboardInterrupt:
                if not points:
                    raise
                outcome, interrupted = Outcome("ok"), True
            except TimeoutError as stalled:
                outcome = Outcome("timeout", message=str(stalled))
            latest = time.monotonic()
            read_points()  # what came since the last tick
    facts: dict[str, Any] = {"artifact": artifact.file, "runtime": runtime, "threads": threads, "bytes": artifact.bytes}
    facts |= {"status": outcome.status, "signal": outcome.signal, "message": outcome.message}
    return BenchmarkReport(
        bundle=str(bundle.path),
        machine=described,
        throttling={"before": readings[0].to_json(), "after": readings[-1].to_json()},
        threats=tuple(machine.find_warnings(described, readings[0])),
        invalid=machine.why_invalid(readings),
        cut_short=interrupted and minutes > 0,
        method={"windows": 0, "min_seconds": step_seconds, "seed": seed, "threads": threads},
        rows=() if outcome.status == "ok" else (LatencyRow(**facts, sha256=artifact.sha256),),
        sustained=tuple(points),
    )
