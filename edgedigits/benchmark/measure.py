"""Measure single-stream latency, cold starts, batch sizes and thread counts.

The method follows the single-stream scenario of MLPerf Inference's LoadGen (Reddi et al., 2020) and the measuring
windows of MLPerf Tiny (Banbury et al., 2021): real images in random order, each query starts when the last has ended,
at least 5 windows of at least 10 s. Each window of each row runs in a new process, and the windows of all rows are
shuffled, so that a slow minute of the machine affects all rows alike. No sample is dropped.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgedigits.benchmark import machine
from edgedigits.benchmark.percentiles import Distribution, percentiles
from edgedigits.benchmark.result import BIN_RATIO, NOISY, BenchmarkReport, LatencyRow, StartRow, SustainedPoint
from edgedigits.bundle.bundle import Artifact, Bundle
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES, runtime_info
from edgedigits.system.isolation import Outcome, run


@dataclass
class _Step:
    """A task to run in its own process, and how many seconds it takes by estimate."""

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
    starts: int = 5,
    sustained_minutes: float = 0.0,
    seed: int = 0,
    timeout: float = 300.0,
    memory_bytes: int | None = None,
    on_progress: Callable[[float, float], None] = lambda done, of: None,
) -> BenchmarkReport:
    """Time every artifact in every installed runtime; TensorFlow only its cold start, unless it is named.

    Args:
        artifacts, runtimes: restrict the rows; empty means all. A runtime named here must be installed.
        windows, min_seconds: the number of processes per row, and how long each one measures.
        starts: the number of cold starts per runtime.
        sustained_minutes: how long the first row runs after the others, with one point per minute.
        seed: for the order of the images and of the windows.
        timeout: seconds for one process, in addition to its measuring time.
        on_progress: called with seconds done and seconds in total, both estimated.

    Ctrl-C ends the run; the report then contains the finished windows and is marked as cut short.

    Raises:
        RuntimeUnavailableError: a named runtime is not installed, or no runtime is.
        InputError: a number is out of range.
    """
    if (
        windows < 1
        or not 0 < min_seconds < math.inf
        or threads < 1
        or starts < 0
        or not 0 <= sustained_minutes < math.inf
    ):
        raise InputError(
            f"{windows} windows of {min_seconds:g} s on {threads} threads, {starts} starts, {sustained_minutes:g} min. "
            "sustained; expected 1 or more windows and threads, more than 0 s, and no negative number"
        )
    x, _ = bundle.verify() or bundle.inputs()
    for name in runtimes:
        runtime_info(name).require()
    plan = plan_rows(bundle, artifacts, runtimes)
    installed = [(artifact, name) for artifact, name in plan if RUNTIMES[name].installed]
    described = machine.describe()
    readings = [machine.throttling()]
    results: dict[tuple[str, str, str], list[tuple[Outcome, Distribution | None]]] = {}
    points: list[SustainedPoint] = []
    cut_short = False
    with TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "X.npy", x)
        common = {**bundle.request, "inputs": str(folder / "X.npy"), "threads": threads, "seed": seed}
        steps = _steps(installed, common, windows, min_seconds, starts, with_tensorflow=not runtimes)
        random.Random(seed).shuffle(steps)
        lengths = [60.0] * int(sustained_minutes) + [60.0 * (sustained_minutes % 1)] * (sustained_minutes % 1 > 0)
        steps += [_Step("sustained", *installed[0], common | {"min_seconds": s}, s) for s in lengths]
        total = sum(step.seconds for step in steps)
        done = 0.0
        try:
            for number, step in enumerate(steps):
                on_progress(done, total)
                out = folder / f"{number}.npy"
                outcome = _run(step, out, timeout, memory_bytes)
                samples = Distribution(*np.load(out, allow_pickle=False)) if out.exists() else None
                results.setdefault((step.task, step.artifact.file, step.runtime), []).append((outcome, samples))
                readings.append(machine.throttling())
                if step.task == "sustained" and outcome.status == "ok":
                    facts = {"seconds": 60.0 * len(points) + step.seconds, **outcome.answer}
                    points.append(
                        sustained_point(step.artifact, step.runtime, facts, machine.conditions(), readings[-1])
                    )
                done += step.seconds
        except KeyboardInterrupt:
            cut_short = True
        on_progress(total, total)
    return BenchmarkReport(
        bundle=str(bundle.path),
        machine=described,
        throttling={"before": readings[0].to_json(), "after": readings[-1].to_json()},
        threats=tuple(machine.find_warnings(described, readings[0])),
        invalid=machine.why_invalid(readings),
        cut_short=cut_short,
        method={"windows": windows, "min_seconds": min_seconds, "seed": seed, "threads": threads},
        rows=tuple(_latency_row(a, name, threads, results.get(("window", a.file, name), [])) for a, name in plan),
        starts=tuple(
            _start_row(file, name, [outcome for outcome, _ in found])
            for runtime in RUNTIMES
            for (task, file, name), found in results.items()
            if (task, name) == ("start", runtime)
        ),
        sustained=tuple(points),
    )


def plan_rows(bundle: Bundle, artifacts: Sequence[str], runtimes: Sequence[str]) -> list[tuple[Artifact, str]]:
    """The rows to measure, missing runtimes included; RuntimeUnavailableError if none can run."""
    chosen = bundle.chosen(artifacts)
    allowed = runtimes or [name for name in RUNTIMES if name not in CHOSEN_ONLY_BY_NAME]
    plan = [(a, name) for a in chosen for name in a.opened_by if name in allowed]
    if not any(RUNTIMES[name].installed for _, name in plan):
        remedies = dict.fromkeys(RUNTIMES[name].install for a in chosen for name in a.opened_by)
        files = ", ".join(a.file for a in chosen)
        raise RuntimeUnavailableError(
            f"nothing to time: no requested runtime that is installed opens {files}; {' or '.join(remedies)}"
        )
    return plan


def sustained_point(
    artifact: Artifact, runtime: str, facts: dict[str, Any], now: dict[str, Any], reading: machine.Throttling
) -> SustainedPoint:
    """A point with the ``seconds``, ``samples`` and ``p50_ns`` of ``facts``, under the present conditions."""
    sensors = {name: now[name] for name in ("frequency_khz", "temperature_millicelsius")}
    return SustainedPoint(artifact.file, runtime, **facts, **sensors, throttling=reading.now)


def _steps(
    installed: Sequence[tuple[Artifact, str]],
    common: dict[str, Any],
    windows: int,
    min_seconds: float,
    starts: int,
    with_tensorflow: bool,
) -> list[_Step]:
    """The windows of all rows, and the cold starts of each runtime with its first artifact."""
    steps = []
    for artifact, name in installed:
        for window in range(windows):  # the first one also times batch sizes and thread counts
            request = common | {"min_seconds": min_seconds, "seed": common["seed"] + window, "more": window == 0}
            steps.append(_Step("window", artifact, name, request, min_seconds * (1.1 if window else 1.5) + 1.0))
    first = {name: artifact for artifact, name in reversed(installed)}
    tflite = [artifact for artifact, _ in installed if artifact.format == "tflite"]
    if with_tensorflow and tflite and "tensorflow" in tflite[0].opened_by and RUNTIMES["tensorflow"].installed:
        first["tensorflow"] = tflite[0]
    for name, artifact in first.items():
        count, seconds = (min(starts, 2), 5.0) if name == "tensorflow" else (starts, 0.5)
        steps += [_Step("start", artifact, name, common, seconds)] * count
    return steps


def _run(step: _Step, out: Path, timeout: float, memory_bytes: int | None) -> Outcome:
    request = step.request | {"artifact": step.artifact.file, "runtime": step.runtime, "out": str(out)}
    task = f"edgedigits.benchmark.timing:time_{step.task}"
    started = time.perf_counter_ns()
    outcome = run(task, request, timeout + step.seconds, memory_bytes, fork=False)
    if step.task == "start" and outcome.status == "ok":
        outcome.answer["interpreter_ns"] = outcome.answer.pop("started_ns") - started
    return outcome


def _latency_row(
    artifact: Artifact, runtime: str, threads: int, windows: list[tuple[Outcome, Distribution | None]]
) -> LatencyRow:
    """Summarize the windows of a row, each with its process's outcome and its samples; one failure fails the row."""
    info = RUNTIMES[runtime]
    facts: dict[str, Any] = {"artifact": artifact.file, "runtime": runtime, "threads": threads, "bytes": artifact.bytes}
    facts |= {"sha256": artifact.sha256, "version": info.version}
    if not info.installed:
        return LatencyRow(**facts, status="missing", message=f"not installed; {info.install}")
    for outcome, _ in windows:
        if outcome.status != "ok":
            return LatencyRow(**facts, status=outcome.status, signal=outcome.signal, message=outcome.message)
    if not windows:
        return LatencyRow(**facts, status="error", message="interrupted before its first window")
    parts = [distribution for _, distribution in windows if distribution is not None]
    answers = [outcome.answer for outcome, _ in windows]
    whole = Distribution.merge(parts)
    facts |= percentiles(whole)
    medians = [part.percentile(50) for part in parts]
    spread = (max(medians) - min(medians)) / float(np.median(medians))
    batch_ns = _first(answers, "batch_ns")
    return LatencyRow(
        **facts,
        status="ok",
        samples=whole.samples,
        min_ns=int(whole.values[0]),
        max_ns=int(whole.values[-1]),
        invoke_samples=sum(answer["invoke_samples"] for answer in answers),
        invoke_p50_ns=_median(answers, "invoke_p50_ns"),
        timer_ns=min(answer["timer_ns"] for answer in answers),
        window_p50_ns=tuple(medians),
        spread=spread,
        noisy=spread > NOISY,
        histogram=_histogram(whole),
        batch_ns=batch_ns,
        knee=_knee(batch_ns),
        threads_p50_ns=_first(answers, "threads_p50_ns"),
    )


def _start_row(file: str, runtime: str, outcomes: list[Outcome]) -> StartRow:
    """Summarize the cold starts of a row; one failure fails the row."""
    for outcome in outcomes:
        if outcome.status != "ok":
            return StartRow(file, runtime, outcome.status, message=outcome.message)
    answers = [outcome.answer for outcome in outcomes]
    medians: dict[str, Any] = {
        key: _median(answers, key) for key in ("interpreter_ns", "imports_ns", "load_ns", "first_ns")
    }
    peaks = [answer["peak_rss_bytes"] for answer in answers]
    peak = None if None in peaks else max(peaks)
    return StartRow(file, runtime, "ok", len(outcomes), **medians, peak_rss_bytes=peak)


def _median(answers: list[dict[str, Any]], key: str) -> int:
    return int(np.median([answer[key] for answer in answers]))


def _first(answers: list[dict[str, Any]], key: str) -> dict[str, int]:
    """The first value that is not empty: only one window of a row measures batches and threads."""
    return next((answer[key] for answer in answers if answer[key]), {})


def _histogram(whole: Distribution) -> tuple[tuple[int, int], ...]:
    """All samples in logarithmic bins of 2 %: a few hundred pairs."""
    bins = np.floor(np.log(np.maximum(whole.values, 1)) / math.log(BIN_RATIO))
    binned = Distribution.merge([Distribution(np.ceil(BIN_RATIO**bins).astype(np.int64), whole.counts)])
    return tuple(zip(binned.values.tolist(), binned.counts.tolist(), strict=True))


def _knee(batch_ns: dict[str, int]) -> int | None:
    """The smallest batch that reaches 90 % of the best throughput; None if none was measured."""
    throughput = {int(size): int(size) / max(ns, 1) for size, ns in batch_ns.items()}
    best = max(throughput.values(), default=0.0)
    return min((size for size, images in throughput.items() if images >= 0.9 * best), default=None)
