"""What a benchmark measured: its rows and report, and how samples become a row."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgedigits.benchmark.machine import Threat
from edgedigits.benchmark.percentiles import Distribution, percentiles
from edgedigits.bundle.bundle import Artifact
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.system.isolation import Outcome

SCHEMA = 1
NOISY = 0.10


@dataclass(frozen=True)
class LatencyRow:
    """One artifact in one runtime. Times are nanoseconds; None where the samples do not suffice, or nothing ran.

    Attributes:
        sha256: of the artifact's file, hexadecimal.
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
    sha256: str | None = None


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


def latency_row(
    artifact: Artifact, runtime: str, threads: int, windows: list[tuple[Outcome, Distribution | None]], cut_short: bool
) -> LatencyRow:
    """A row from its windows, each a child's outcome and its samples; the first that failed makes the row a failure."""
    info = RUNTIMES[runtime]
    facts: dict[str, Any] = {"artifact": artifact.file, "runtime": runtime, "threads": threads, "bytes": artifact.bytes}
    facts |= {"sha256": artifact.sha256, "version": info.version}
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


def start_row(file: str, runtime: str, outcomes: list[Outcome]) -> StartRow:
    """A row from the outcomes of its cold starts."""
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
