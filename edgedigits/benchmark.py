"""Benchmarks that can be believed: single-stream latency, cold start, batches and threads, and what they depend on.

The method, after the single-stream scenario of MLPerf Inference's LoadGen (Reddi et al., 2020) and the measuring
windows of MLPerf Tiny (Banbury et al., 2021): one query in flight, real images in random order, the next query when
the last has ended, at least 5 windows of at least 10 s. Each window of each row is a fresh process, and the windows of
all rows are shuffled, so that a slow minute of the machine falls on every row alike. No sample is dropped.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits import machine
from edgedigits.bundle import Artifact, Bundle
from edgedigits.child import Outcome, run_in_child
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.machine import Threat
from edgedigits.percentiles import Distribution, percentiles
from edgedigits.runtimes import CHOSEN_ONLY_BY_NAME, RUNTIMES, runtime_info

SCHEMA = 1
NOISY = 0.10
STARTS = 5


@dataclass(frozen=True)
class LatencyRow:
    """One artifact in one runtime. Times are nanoseconds; None where the samples do not suffice, or nothing ran.

    Attributes:
        samples: how many whole calls were timed, from a float32 image to logits; the percentiles are of them, and each
            ``upper`` is its 99 % confidence bound.
        spread: of the windows' medians, (largest - smallest) / median; above 10 % the row is ``noisy``.
        invoke_samples, invoke_p50_ns: the model alone, its input already in place.
        timer_ns: what two readings of the clock cost; it is part of every sample.
        histogram: [ns, count] pairs, every sample, in bins of at most 2 %, each told by its lower end.
        batch_ns: batch size -> median time of one call; ``knee`` is the smallest batch with 90 % of the best rate.
        threads_p50_ns: thread count -> median time of one image.
    """

    artifact: str
    runtime: str
    threads: int
    status: str
    bytes: int
    version: str | None = None
    samples: int = 0
    min_ns: int | None = None
    p50_ns: int | None = None
    p50_upper_ns: int | None = None
    p90_ns: int | None = None
    p90_upper_ns: int | None = None
    p95_ns: int | None = None
    p95_upper_ns: int | None = None
    p99_ns: int | None = None
    p99_upper_ns: int | None = None
    p999_ns: int | None = None
    p999_upper_ns: int | None = None
    max_ns: int | None = None
    invoke_samples: int = 0
    invoke_p50_ns: int | None = None
    timer_ns: int | None = None
    window_p50_ns: tuple[int, ...] = ()
    spread: float | None = None
    noisy: bool = False
    histogram: tuple[tuple[int, int], ...] = ()
    batch_ns: dict[str, int] = field(default_factory=dict)
    knee: int | None = None
    threads_p50_ns: dict[str, int] = field(default_factory=dict)
    signal: str | None = None
    message: str = ""


@dataclass(frozen=True)
class StartRow:
    """A cold start of one runtime, medians over fresh processes, nanoseconds; memory is the largest seen, bytes."""

    artifact: str
    runtime: str
    status: str
    samples: int = 0
    interpreter_ns: int | None = None
    imports_ns: int | None = None
    load_ns: int | None = None
    first_ns: int | None = None
    peak_rss_bytes: int | None = None
    message: str = ""


@dataclass(frozen=True)
class SustainedPoint:
    """One step of a sustained run, and the machine's conditions at its end."""

    artifact: str
    runtime: str
    seconds: float
    samples: int
    p50_ns: int
    frequency_khz: int | None
    temperature_millicelsius: int | None


@dataclass(frozen=True)
class BenchmarkReport:
    """Every row, and the machine it was measured on.

    Attributes:
        invalid: why the numbers are worth nothing; None if they may stand.
        cut_short: whether the run was interrupted; it then holds the windows that were finished.
        method: windows, seconds, seed and threads as asked for.
    """

    bundle: str
    machine: dict[str, Any]
    throttling: dict[str, Any]
    threats: tuple[Threat, ...]
    invalid: str | None
    cut_short: bool
    method: dict[str, Any]
    rows: tuple[LatencyRow, ...]
    starts: tuple[StartRow, ...] = ()
    sustained: tuple[SustainedPoint, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the run is valid and whole, and every row that could run was measured."""
        statuses = [row.status for row in self.rows] + [row.status for row in self.starts]
        ran = all(status in ("ok", "missing") for status in statuses)
        return ran and self.invalid is None and not self.cut_short

    def to_json(self) -> dict[str, Any]:
        """The report in plain types."""
        return {"schema": SCHEMA, "valid": self.invalid is None, **asdict(self)}


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
    bundle.verify()
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
    with tempfile.TemporaryDirectory(prefix="edgedigits-") as folder:
        inputs = Path(folder) / "X.npy"
        np.save(inputs, bundle.inputs()[0])
        common = {"bundle": str(bundle.path), "inputs": str(inputs), "threads": threads}
        steps = _steps(running, common, windows, min_seconds, starts, seed, alone=not runtimes)
        steps += _sustained_steps(running[0], common, sustained_minutes)
        in_all = sum(step.seconds for step in steps)
        done = 0.0
        try:
            for number, step in enumerate(steps):
                on_progress(done, in_all)
                out = Path(folder) / f"{number}.npy"
                outcome = _run(step, out, timeout)
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
    rows = [_row(a, name, threads, found.get(("window", a.file, name), []), cut_short) for a, name in plan]
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
        starts=tuple(_start(file, name, [outcome for outcome, _ in results]) for file, name, results in begun),
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


def _run(step: _Step, out: Path, timeout: float) -> Outcome:
    request = step.request | {"artifact": step.artifact.file, "runtime": step.runtime, "out": str(out)}
    started = time.perf_counter_ns()
    outcome = run_in_child(step.task, request, timeout + step.seconds)
    if step.task == "start" and outcome.status == "ok":
        outcome.answer["interpreter_ns"] = outcome.answer.pop("started_ns") - started
    return outcome


def _row(
    artifact: Artifact, runtime: str, threads: int, windows: list[tuple[Outcome, Distribution | None]], cut_short: bool
) -> LatencyRow:
    info = RUNTIMES[runtime]
    facts: dict[str, Any] = {"artifact": artifact.file, "runtime": runtime, "threads": threads, "bytes": artifact.bytes}
    facts["version"] = info.version
    if not info.installed:
        return LatencyRow(**facts, status="missing", message=f"not installed; {info.install}")
    for outcome, _ in windows:
        if outcome.status != "ok":
            return LatencyRow(**facts, status=outcome.status, signal=outcome.signal, message=outcome.message)
    if not windows:
        return LatencyRow(**facts, status="error", message="interrupted before its first window" if cut_short else "")
    seen = [part for _, part in windows if part is not None]
    answers = [outcome.answer for outcome, _ in windows]
    whole = Distribution.merge(seen)
    for p in percentiles(whole):
        name = f"p{p.percent:g}".replace(".", "")
        facts |= {f"{name}_ns": p.value_ns, f"{name}_upper_ns": p.upper_ns}
    medians = [part.percentile(50) for part in seen]
    spread = (max(medians) - min(medians)) / float(np.median(medians))
    batch: dict[str, int] = {}
    by_threads: dict[str, int] = {}
    for answer in answers:
        batch, by_threads = answer["batch_ns"] or batch, answer["threads_p50_ns"] or by_threads
    return LatencyRow(
        **facts,
        status="ok",
        samples=whole.samples,
        min_ns=int(whole.values[0]),
        max_ns=int(whole.values[-1]),
        invoke_samples=sum(a["invoke_samples"] for a in answers),
        invoke_p50_ns=int(np.median([a["invoke_p50_ns"] for a in answers])),
        timer_ns=min(a["timer_ns"] for a in answers),
        window_p50_ns=tuple(medians),
        spread=spread,
        noisy=spread > NOISY,
        histogram=_histogram(whole),
        batch_ns=batch,
        knee=_knee(batch),
        threads_p50_ns=by_threads,
    )


def _histogram(whole: Distribution) -> tuple[tuple[int, int], ...]:
    """Every sample, in logarithmic bins of 2 %: a few hundred pairs for a picture of the whole distribution."""
    bins = np.floor(np.log(np.maximum(whole.values, 1)) / math.log(1.02)).astype(np.int64)
    kept, place = np.unique(bins, return_inverse=True)
    counts = np.zeros(len(kept), np.int64)
    np.add.at(counts, place, whole.counts)
    lower = np.ceil(1.02 ** kept.astype(np.float64)).astype(np.int64)
    return tuple(zip(lower.tolist(), counts.tolist(), strict=True))


def _knee(batch_ns: dict[str, int]) -> int | None:
    """The smallest batch that reaches 90 % of the best throughput; None where nothing was measured."""
    if not batch_ns:
        return None
    throughput = {int(size): int(size) / max(ns, 1) for size, ns in batch_ns.items()}
    best = max(throughput.values())
    return min(size for size, images in throughput.items() if images >= 0.9 * best)


def _start(file: str, runtime: str, outcomes: list[Outcome]) -> StartRow:
    for outcome in outcomes:
        if outcome.status != "ok":
            return StartRow(file, runtime, outcome.status, message=outcome.message)

    def median(part: str) -> int:
        return int(np.median([outcome.answer[part] for outcome in outcomes]))

    peaks = [outcome.answer["peak_rss_bytes"] for outcome in outcomes]
    peak = max(peaks) if None not in peaks else None
    return StartRow(
        artifact=file,
        runtime=runtime,
        status="ok",
        samples=len(outcomes),
        interpreter_ns=median("interpreter_ns"),
        imports_ns=median("imports_ns"),
        load_ns=median("load_ns"),
        first_ns=median("first_ns"),
        peak_rss_bytes=peak,
    )


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
