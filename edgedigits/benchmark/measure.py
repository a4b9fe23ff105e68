"""Benchmarks that can be believed: single-stream latency, cold start, batches and threads, and what they depend on.

The method, after the single-stream scenario of MLPerf Inference's LoadGen (Reddi et al., 2020) and the measuring
windows of MLPerf Tiny (Banbury et al., 2021): one query in flight, real images in random order, the next query when
the last has ended, at least 5 windows of at least 10 s. Each window of each row is a fresh process, and the windows of
all rows are shuffled, so that a slow minute of the machine falls on every row alike. No sample is dropped.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits.benchmark import machine
from edgedigits.benchmark.percentiles import Distribution
from edgedigits.benchmark.result import BenchmarkReport, SustainedPoint, latency_row, start_row
from edgedigits.bundle.bundle import Artifact, Bundle
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES, runtime_info
from edgedigits.system.isolation import Outcome, run
from edgedigits.system.scratch import scratch_folder

STARTS = 5


@dataclass
class _Step:
    """One child still to run: its task, its row, and what to ask of it."""

    task: str
    artifact: Artifact
    runtime: str
    request: dict[str, Any]
    seconds: float


def measure(
    bundle: Bundle,
    *,
    artifacts: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    threads: int = 1,
    windows: int = 5,
    min_seconds: float = 10.0,
    starts: int = STARTS,
    sustained_minutes: float = 0.0,
    seed: int = 0,
    timeout: float = 300.0,
    memory_bytes: int | None = None,
    on_progress: Callable[[float, float], None] = lambda done, of: None,
) -> BenchmarkReport:
    """Time every artifact in every installed runtime (TensorFlow only its cold start, unless it is named).

    Args:
        artifacts, runtimes: restrict the rows; empty means all. A runtime named here must be installed.
        threads: how many the runtime may use for one call.
        windows, min_seconds: how many fresh processes a row, and how long each measures whole calls.
        starts: how many cold starts a runtime; 0 for none.
        sustained_minutes: how long the first row runs on after the others, a point a minute; 0 for not at all.
        seed: of the images' order and the rows' shuffle.
        timeout: seconds for one process, beyond what it measures for.
        memory_bytes: what one may take of memory; None for three quarters of the memory.
        on_progress: called with seconds done and seconds in all, both estimates.

    Ctrl-C ends the run: what was finished is reported, marked as cut short.

    Raises:
        RuntimeUnavailableError: a runtime that was named is not installed, or none is.
        InputError: a number that makes no sense.
    """
    if windows < 1 or not 0 < min_seconds < math.inf or threads < 1 or starts < 0 or not sustained_minutes >= 0:
        raise InputError(
            f"{windows} windows of {min_seconds:g} s on {threads} threads, {starts} starts, {sustained_minutes:g} min. "
            "sustained; expected 1 or more windows and threads, more than 0 s, and nothing negative"
        )
    x, _ = bundle.verify() or bundle.inputs()
    for name in runtimes:
        runtime_info(name).require()
    plan = _plan(bundle, artifacts, runtimes)
    running = [step for step in plan if RUNTIMES[step[1]].installed]
    described = machine.describe()
    readings = [machine.throttling()]
    threats = machine.threats(described, readings[0])
    found: dict[tuple[str, str, str], list[tuple[Outcome, Distribution | None]]] = {}
    points: list[SustainedPoint] = []
    cut_short = False
    with scratch_folder() as folder:
        inputs = folder / "X.npy"
        np.save(inputs, x)
        common = {**bundle.request, "inputs": str(inputs), "threads": threads}
        steps = _steps(running, common, windows, min_seconds, starts, seed, alone=not runtimes)
        steps += _sustained_steps(running[0], common, sustained_minutes)
        in_all = sum(step.seconds for step in steps)
        done = 0.0
        try:
            for number, step in enumerate(steps):
                on_progress(done, in_all)
                out = folder / f"{number}.npy"
                outcome = _run(step, out, timeout, memory_bytes)
                seen = Distribution(*np.load(out, allow_pickle=False)) if out.exists() else None
                if step.task == "sustained" and outcome.status == "ok":
                    points.append(_point(step, outcome, len(points)))
                else:
                    found.setdefault((step.task, step.artifact.file, step.runtime), []).append((outcome, seen))
                readings.append(machine.throttling())
                done += step.seconds
        except KeyboardInterrupt:
            cut_short = True
        on_progress(in_all, in_all)
    rows = [latency_row(a, name, threads, found.get(("window", a.file, name), []), cut_short) for a, name in plan]
    begun = [(key[1], key[2], results) for key, results in found.items() if key[0] == "start"]
    return BenchmarkReport(
        bundle=str(bundle.path),
        machine=described,
        throttling={"before": readings[0].to_json(), "after": readings[-1].to_json()},
        threats=tuple(threats),
        invalid=machine.invalid(readings),
        cut_short=cut_short,
        method={"windows": windows, "min_seconds": min_seconds, "seed": seed, "threads": threads},
        rows=tuple(rows),
        starts=tuple(start_row(file, name, [outcome for outcome, _ in results]) for file, name, results in begun),
        sustained=tuple(points),
    )


def _plan(bundle: Bundle, artifacts: Sequence[str], runtimes: Sequence[str]) -> list[tuple[Artifact, str]]:
    chosen = [bundle.artifact(name) for name in artifacts] or list(bundle.manifest.artifacts)
    allowed = runtimes or [name for name in RUNTIMES if name not in CHOSEN_ONLY_BY_NAME]
    plan = [(a, name) for a in chosen for name in a.opened_by if name in allowed]
    if not any(RUNTIMES[name].installed for _, name in plan):
        remedies = dict.fromkeys(RUNTIMES[name].install for a in chosen for name in a.opened_by)
        files = ", ".join(a.file for a in chosen)
        raise RuntimeUnavailableError(f"nothing to time: no runtime asked for opens {files}; {' or '.join(remedies)}")
    return plan


def _steps(
    running: Sequence[tuple[Artifact, str]],
    common: dict[str, Any],
    windows: int,
    min_seconds: float,
    starts: int,
    seed: int,
    alone: bool,
) -> list[_Step]:
    """Every window and cold start in shuffled order; ``alone`` adds TensorFlow's cold start where it is installed."""
    steps = []
    for artifact, name in running:
        for window in range(windows):
            request = common | {"min_seconds": min_seconds, "seed": seed + window, "more": window == 0}
            steps.append(_Step("window", artifact, name, request, min_seconds * (1.1 if window else 1.5) + 1.0))
    firsts = {name: artifact for artifact, name in reversed(running)}
    if alone and RUNTIMES["tensorflow"].installed and "tflite" in {a.format for a, _ in running}:
        firsts["tensorflow"] = next(a for a, _ in running if a.format == "tflite")
    for name, artifact in firsts.items():
        slow = name == "tensorflow"
        steps += [_Step("start", artifact, name, dict(common), 5.0 if slow else 0.5)] * (
            min(starts, 2) if slow else starts
        )
    random.Random(seed).shuffle(steps)
    return steps


def _sustained_steps(row: tuple[Artifact, str], common: dict[str, Any], minutes: float) -> list[_Step]:
    """A step for each minute, and one for what is left."""
    lengths = [60.0] * int(minutes) + [60.0 * (minutes % 1)] * (minutes % 1 > 0)
    return [_Step("sustained", *row, common | {"min_seconds": s, "seed": i}, s) for i, s in enumerate(lengths)]


def _run(step: _Step, out: Path, timeout: float, memory_bytes: int | None) -> Outcome:
    request = step.request | {"artifact": step.artifact.file, "runtime": step.runtime, "out": str(out)}
    started = time.perf_counter_ns()
    outcome = run(
        f"edgedigits.benchmark.timing:child_{step.task}", request, timeout + step.seconds, memory_bytes, fork=False
    )
    if step.task == "start" and outcome.status == "ok":
        outcome.answer["interpreter_ns"] = outcome.answer.pop("started_ns") - started
    return outcome


def _point(step: _Step, outcome: Outcome, number: int) -> SustainedPoint:
    now = machine.conditions()
    return SustainedPoint(
        artifact=step.artifact.file,
        runtime=step.runtime,
        seconds=60.0 * number + step.seconds,
        samples=outcome.answer["samples"],
        p50_ns=outcome.answer["p50_ns"],
        frequency_khz=now["frequency_khz"],
        temperature_millicelsius=now["temperature_millicelsius"],
    )
