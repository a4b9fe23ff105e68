"""Latency of one image, one query in flight, on real images: exact nanoseconds, nothing clipped, samples counted.

After the single-stream scenario of MLPerf Inference's LoadGen: the next query starts when the last one has ended, and
a percentile is one of the measured samples. Each window of each row runs in a fresh process, and the windows of all
rows are shuffled, so that a slow minute of the machine falls on every row alike.
"""

from __future__ import annotations

import random
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedigits import metrics
from edgedigits.bundle import Artifact, Bundle
from edgedigits.child import Outcome, run_in_child
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.runtimes import CHOSEN_ONLY_BY_NAME, RUNTIMES, runtime_info, runtimes_for

Samples = npt.NDArray[np.int64]
WARM_UP_CALLS, WARM_UP_SECONDS = 10, 0.5
_CHUNK = 256


@dataclass(frozen=True)
class LatencyRow:
    """One artifact in one runtime. Times are nanoseconds; ``None`` where nothing was measured.

    Attributes:
        samples: how many whole calls were timed; ``p50_ns`` to ``max_ns`` are of them: from a float32 image to logits.
        invoke_samples, invoke_p50_ns: the model alone, its input already in place.
        bytes: the artifact's size.
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
    p90_ns: int | None = None
    p99_ns: int | None = None
    max_ns: int | None = None
    invoke_samples: int = 0
    invoke_p50_ns: int | None = None
    timer_ns: int | None = None
    window_p50_ns: tuple[int, ...] = ()
    signal: str | None = None
    message: str = ""


@dataclass(frozen=True)
class BenchmarkReport:
    """Every row, and the machine it was measured on."""

    bundle: str
    machine: dict[str, Any]
    windows: int
    min_seconds: float
    rows: tuple[LatencyRow, ...] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Whether every row that could run was measured."""
        return all(row.status in ("ok", "missing") for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report in plain types."""
        return {**self.__dict__, "rows": [asdict(row) for row in self.rows]}


def measure(
    bundle: Bundle,
    *,
    artifacts: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    threads: int = 1,
    windows: int = 5,
    min_seconds: float = 10.0,
    seed: int = 0,
    timeout: float = 300.0,
    on_window: Callable[[int, int], None] = lambda done, of: None,
) -> BenchmarkReport:
    """Time every artifact in every installed runtime (TensorFlow only where named).

    Args:
        artifacts, runtimes: restrict the rows; empty means all. A runtime named here must be installed.
        threads: how many the runtime may use for one call.
        windows, min_seconds: how many fresh processes a row, and how long each measures whole calls.
        seed: of the images' order and the rows' shuffle.
        on_window: called with (windows done, windows in all).

    Raises:
        RuntimeUnavailableError: a runtime that was named is not installed, or none is.
    """
    if windows < 1 or not min_seconds > 0:
        raise InputError(f"{windows} windows of {min_seconds:g} s; expected at least 1 window of more than 0 s")
    from edgedigits import machine

    bundle.verify()
    for name in runtimes:
        runtime_info(name).require()
    chosen = [bundle.artifact(name) for name in artifacts] or list(bundle.manifest.artifacts)
    allowed = runtimes or [name for name in RUNTIMES if name not in CHOSEN_ONLY_BY_NAME]
    plan = [(a, name) for a in chosen for name in runtimes_for(a.format) if name in allowed]
    running = [step for step in plan if RUNTIMES[step[1]].installed]
    if not running:
        raise RuntimeUnavailableError(
            f"no runtime is installed that opens {', '.join(a.file for a in chosen)}; "
            + " or ".join(dict.fromkeys(RUNTIMES[name].install for _, name in plan))
        )
    schedule = [step for step in running for _ in range(windows)]
    random.Random(seed).shuffle(schedule)
    outcomes: dict[tuple[str, str], list[tuple[Outcome, Samples]]] = {}
    described = machine.describe()
    with tempfile.TemporaryDirectory(prefix="edgedigits-") as folder:
        for done, (artifact, runtime) in enumerate(schedule):
            on_window(done, len(schedule))
            out = Path(folder) / f"{done}.npy"
            request = {"bundle": str(bundle.path), "artifact": artifact.file, "runtime": runtime, "threads": threads}
            request |= {"min_seconds": min_seconds, "seed": seed + done, "out": str(out)}
            outcome = run_in_child("latency", request, timeout + min_seconds)
            samples = np.load(out, allow_pickle=False) if outcome.status == "ok" else np.zeros(0, np.int64)
            outcomes.setdefault((artifact.file, runtime), []).append((outcome, samples))
    on_window(len(schedule), len(schedule))
    rows = tuple(_row(artifact, name, threads, outcomes.get((artifact.file, name), [])) for artifact, name in plan)
    return BenchmarkReport(str(bundle.path), described, windows, min_seconds, rows)


def _row(artifact: Artifact, runtime: str, threads: int, windows: list[tuple[Outcome, Samples]]) -> LatencyRow:
    info = RUNTIMES[runtime]
    facts: dict[str, Any] = {"artifact": artifact.file, "runtime": runtime, "threads": threads, "bytes": artifact.bytes}
    facts["version"] = info.version
    if not windows:
        return LatencyRow(**facts, status="missing", message=f"not installed; {info.install}")
    for outcome, _ in windows:
        if outcome.status != "ok":
            return LatencyRow(**facts, status=outcome.status, signal=outcome.signal, message=outcome.message)
    answers = [outcome.answer for outcome, _ in windows]
    samples = np.sort(np.concatenate([samples for _, samples in windows]))
    return LatencyRow(
        **facts,
        status="ok",
        samples=len(samples),
        min_ns=int(samples[0]),
        p50_ns=metrics.percentile(samples, 50),
        p90_ns=metrics.percentile(samples, 90),
        p99_ns=metrics.percentile(samples, 99),
        max_ns=int(samples[-1]),
        invoke_samples=sum(a["invoke_samples"] for a in answers),
        invoke_p50_ns=metrics.percentile(np.sort([a["invoke_p50_ns"] for a in answers]), 50),
        timer_ns=min(a["timer_ns"] for a in answers),
        window_p50_ns=tuple(metrics.percentile(np.sort(samples), 50) for _, samples in windows),
    )


def child_latency(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: one window of one row. The samples, int64 nanoseconds in order, are saved to ``request["out"]``."""
    from edgedigits.classifier import Classifier

    bundle = Bundle(request["bundle"])
    x, _ = bundle.inputs()
    order = np.random.default_rng(request["seed"]).permutation(len(x))
    images = [x[i].copy() for i in order]
    with Classifier(bundle, request["artifact"], request["runtime"], request["threads"]) as classifier:
        _warm_up(classifier.logits, images)
        calls = _time_calls(classifier.logits, images, request["min_seconds"])
        invokes = _time_invokes(classifier.session.invoke, request["min_seconds"] / 4)
    np.save(request["out"], calls)
    timer = _time_nothing()
    return {
        "invoke_samples": len(invokes),
        "invoke_p50_ns": metrics.percentile(np.sort(invokes), 50),
        "timer_ns": metrics.percentile(np.sort(timer), 50),
    }


def _warm_up(call: Callable[[Any], object], images: Sequence[Any]) -> None:
    """At least 10 calls and half a second, untimed: caches fill, clocks rise."""
    until = time.perf_counter() + WARM_UP_SECONDS
    done = 0
    while done < WARM_UP_CALLS or time.perf_counter() < until:
        call(images[done % len(images)])
        done += 1


def _time_calls(call: Callable[[Any], object], images: Sequence[Any], min_seconds: float) -> Samples:
    """Time single calls for at least that long, going round the images; (samples,) int64 nanoseconds, in order."""
    clock = time.perf_counter_ns
    until = clock() + int(min_seconds * 1e9)
    samples = array("q")
    at = 0
    while clock() < until:
        chunk = [images[(at + i) % len(images)] for i in range(_CHUNK)]  # nothing but the call between two readings
        for image in chunk:
            start = clock()
            call(image)
            samples.append(clock() - start)
        at += _CHUNK
    return np.array(samples, dtype=np.int64)


def _time_invokes(invoke: Callable[[], object], min_seconds: float) -> Samples:
    """As :func:`_time_calls`, for a call without arguments."""
    clock = time.perf_counter_ns
    until = clock() + int(min_seconds * 1e9)
    samples = array("q")
    while clock() < until:
        for _ in range(_CHUNK):
            start = clock()
            invoke()
            samples.append(clock() - start)
    return np.array(samples, dtype=np.int64)


def _time_nothing(readings: int = 10_000) -> Samples:
    """What two readings of the clock with nothing between them show: the timer's own cost, part of every sample."""
    clock = time.perf_counter_ns
    samples = array("q")
    for _ in range(readings):
        start = clock()
        samples.append(clock() - start)
    return np.array(samples, dtype=np.int64)
