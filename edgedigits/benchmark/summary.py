"""Summarize the windows and cold starts of a row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgedigits.benchmark.percentiles import Distribution, percentiles
from edgedigits.benchmark.result import BIN_RATIO, NOISY, LatencyRow, StartRow
from edgedigits.bundle.bundle import Artifact
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.system.isolation import Outcome


def latency_row(
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


def start_row(file: str, runtime: str, outcomes: list[Outcome]) -> StartRow:
    """Summarize the cold starts of a row; one failure fails the row."""
    for outcome in outcomes:
        if outcome.status != "ok":
            return StartRow(file, runtime, outcome.status, message=outcome.message)
    answers = [outcome.answer for outcome in outcomes]
    peaks = [answer["peak_rss_bytes"] for answer in answers]
    return StartRow(
        artifact=file,
        runtime=runtime,
        status="ok",
        samples=len(outcomes),
        interpreter_ns=_median(answers, "interpreter_ns"),
        imports_ns=_median(answers, "imports_ns"),
        load_ns=_median(answers, "load_ns"),
        first_ns=_median(answers, "first_ns"),
        peak_rss_bytes=None if None in peaks else max(peaks),
    )


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
