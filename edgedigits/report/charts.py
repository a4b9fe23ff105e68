"""The scales of the charts: x in percent of the width, y in pixels. ``charts.html.j2`` draws them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from edgedigits.benchmark.result import BIN_RATIO, NOISY, LatencyRow, StartRow, SustainedPoint
from edgedigits.report.recommendation import median_ns
from edgedigits.system.text import duration, rate

CHART_HEIGHT, MAX_BINS = 150, 260  # of the charts with curves, in pixels; bins per histogram
START_PARTS = ("interpreter", "imports", "load", "first inference")
Scale = Callable[[float], float]
Ticks = list[tuple[float, str]]  # position and label


@dataclass(frozen=True)
class Chart:
    """One row's chart: its label, its description for screen readers, and the positions of its ``marks``."""

    name: str
    detail: str
    value: str
    description: str
    marks: dict[str, Any]
    row: LatencyRow | None = None


def _log_scale(low: float, high: float, start: float, end: float) -> Scale:
    """Map low..high, logarithmically, to start..end."""
    span = math.log(max(high / low, 1.01))
    return lambda value: start + (end - start) * math.log(value / low) / span


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two values, with their double and fivefold if the range is below two decades."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    return [step * 10.0**p for p in powers for step in steps if low <= step * 10.0**p <= high]


def _without_zeros(text: str) -> str:
    """``1.00 µs`` to ``1 µs``."""
    return re.sub(r"\.0+(?=\s|$)", "", text)


def latency(rows: Sequence[LatencyRow]) -> tuple[list[Chart], Ticks]:
    """A histogram of all samples for each row, with p50, p90 and p99, and the logarithmic axis they share."""
    low = min(row.histogram[0][0] for row in rows) / BIN_RATIO
    high = max(ns for row in rows for ns, _ in row.histogram) * BIN_RATIO
    scale = _log_scale(low, high, 5, 97)
    bins_per_bar = math.ceil(math.log(high / low, BIN_RATIO) / MAX_BINS)
    ticks = [(scale(ns), _without_zeros(duration(ns))) for ns in _ticks(low, high)]
    return [_histogram(row, scale, bins_per_bar) for row in rows], ticks


def _histogram(row: LatencyRow, scale: Scale, bins_per_bar: int) -> Chart:
    """``bars`` are (left, width, share of the tallest); ``percentiles`` are (name, position)."""
    percentiles = [(f"p{p}", ns) for p, ns in ((50, row.p50_ns), (90, row.p90_ns), (99, row.p99_ns)) if ns is not None]
    samples: Counter[int] = Counter()
    for ns, count in row.histogram:
        samples[math.floor(math.log(ns) / math.log(BIN_RATIO) + 1e-9) // bins_per_bar] += count
    tallest = max(samples.values())
    bars = []
    for bar, count in samples.items():
        left = max(scale(BIN_RATIO ** (bar * bins_per_bar)), 0)
        bars.append((left, scale(BIN_RATIO ** ((bar + 1) * bins_per_bar)) - left, count / tallest))
    value = " · ".join(f"{name} {duration(ns)}" for name, ns in percentiles)
    description = f"{row.samples:,} calls from {duration(row.min_ns or 0)} to {duration(row.max_ns or 0)}; {value}"
    marks = {"bars": bars, "percentiles": [(name, scale(ns)) for name, ns in percentiles]}
    return Chart(row.artifact, row.runtime, value, description, marks, row)


def windows(rows: Sequence[LatencyRow]) -> tuple[list[Chart], Ticks]:
    """Each window's median as a dot, relative to its row's median, and the axis. Dots outside the band mean noise."""
    deviations = {id(row): [ns / median_ns(row) - 1 for ns in row.window_p50_ns] for row in rows}
    reach = min(max(0.12, 1.1 * max(abs(d) for row in deviations.values() for d in row)), 3.0)

    def scale(deviation: float) -> float:
        return 50 + 48 * max(-1.0, min(1.0, deviation / reach))

    charts = []
    for row in rows:
        spread = "" if row.spread is None else f"spread {row.spread:.1%}{', noisy' if row.noisy else ''}"
        medians = ", ".join(duration(ns) for ns in row.window_p50_ns[:20])
        value, description = f"{duration(median_ns(row))} · {spread}", f"Medians {medians}; {spread}"
        marks = {"band": (scale(-NOISY / 2), scale(NOISY / 2)), "dots": list(map(scale, deviations[id(row)]))}
        charts.append(Chart(row.artifact, row.runtime, value, description, marks, row))
    step = next(s for s in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if reach / s < 4)
    ticks = [step * i for i in range(-int(reach / step), int(reach / step) + 1)]
    return charts, [(scale(tick), f"{tick:+.0%}" if tick else "median") for tick in ticks]


def throughput(rows: Sequence[LatencyRow]) -> tuple[list[Chart], Ticks, Ticks]:
    """Images per second against batch size for each row, with its knee, and the two logarithmic axes they share."""
    rates = [images for row in rows for images in row.images_per_second.values()]
    sizes = {size for row in rows for size in row.images_per_second}
    least, most = min(sizes), max(sizes)
    low, high = 10.0 ** math.floor(math.log10(min(rates))), 10.0 ** math.ceil(math.log10(max(rates) * 1.01))
    x_scale, y_scale = _log_scale(least, max(most, 2 * least), 18, 96), _log_scale(low, high, CHART_HEIGHT - 24, 6)
    charts = []
    for row in rows:
        curve = {n: (x_scale(n), y_scale(images)) for n, images in sorted(row.images_per_second.items())}
        knee = row.knee if row.knee in curve else None
        value = "no knee" if knee is None else f"knee at batch {knee:,}: {rate(row.images_per_second[knee])} images/s"
        marks = {"curve": list(curve.values()), "knee": None if knee is None else curve[knee]}
        charts.append(Chart(row.artifact, row.runtime, value, value, marks, row))
    x_ticks = sorted({least, *(n for n in (10, 100, 1000) if least < n < most), most})
    y_ticks = [tick for tick in _ticks(low, high) if math.log10(tick).is_integer()]
    return (
        charts,
        [(min(max(x_scale(size), 3), 94), f"{size:,}") for size in x_ticks],
        [(y_scale(tick), _without_zeros(rate(tick))) for tick in y_ticks],
    )


def start_parts(row: StartRow) -> tuple[int, int, int, int]:
    """Nanoseconds of each of :data:`START_PARTS`."""
    return row.interpreter_ns or 0, row.imports_ns or 0, row.load_ns or 0, row.first_ns or 0


def starts(rows: Sequence[StartRow]) -> list[Chart]:
    """A stacked bar for each row. A bar more than four times as long as all others is cut off and labeled so."""
    totals = sorted((sum(start_parts(row)) for row in rows), reverse=True)
    longest = totals[1] * 1.5 if len(totals) > 1 and totals[0] > 4 * totals[1] > 0 else max(totals[0], 1)
    charts = []
    for row in rows:
        parts = start_parts(row)
        cut = sum(parts) > longest
        edges = [min(100 * ns / longest, 100) for ns in accumulate(parts, initial=0)]
        description = ", ".join(map(" ".join, zip(START_PARTS, map(duration, parts), strict=True)))
        value = duration(sum(parts)) + ", bar cut off" * cut
        marks = {"parts": list(pairwise(edges)), "cut": cut}
        charts.append(Chart(row.runtime, row.artifact, value, description, marks))
    return charts


def sustained(points: Sequence[SustainedPoint]) -> Chart:
    """The median of each step against time, as a curve. The latency axis starts at zero."""
    seconds, longest = max(p.seconds for p in points) or 1, max(p.p50_ns for p in points) * 1.15 or 1
    height = CHART_HEIGHT - 30
    curve = [(2 + 95 * p.seconds / seconds, height + 10 - height * p.p50_ns / longest) for p in points]
    throttled = [place for place, p in zip(curve, points, strict=True) if p.throttling]
    first, last = duration(points[0].p50_ns), duration(points[-1].p50_ns)
    end = f"{seconds:.3g} s" if seconds < 60 else f"{seconds / 60:.3g} min"
    description = f"p50 from {first} to {last} in {end}{', throttled' * bool(throttled)}"
    marks = {"curve": curve, "throttled": throttled, "first": first, "last": last, "end": end}
    return Chart(points[0].artifact, points[0].runtime, "", description, marks)
