"""Charts as inline SVG. Horizontal positions are percentages, so a chart fits any width and its text keeps its size."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from edgedigits.benchmark.result import BIN_RATIO, NOISY, LatencyRow, StartRow, SustainedPoint
from edgedigits.report.recommendation import median_ns
from edgedigits.system.text import duration, rate

STRIP_HEIGHT, CHART_HEIGHT, MAX_BINS = 50, 150, 260
START_PARTS = ("interpreter", "imports", "load", "first inference")
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Chart:
    """One row's chart; the template writes its label."""

    name: str
    detail: str
    value: str
    svg: Markup
    row: LatencyRow | None = None


def _svg(title: str, description: str, height: float, content: Iterable[Markup]) -> Markup:
    """An SVG of full width with a description for screen readers."""
    svg = Markup('<svg width="100%" height="{:g}" role="img"><title>{}</title><desc>{}</desc>{}</svg>')
    return svg.format(height, title, description, Markup().join(content))


def _row_chart(kind: str, row: LatencyRow, value: str, details: str, height: float, content: list[Markup]) -> Chart:
    svg = _svg(f"{kind} of {row.artifact} in {row.runtime}", details, height, content)
    return Chart(row.artifact, row.runtime, value, svg, row)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup(f'<line x1="{x1:.2f}%" y1="{y1:.1f}" x2="{x2:.2f}%" y2="{y2:.1f}" class="{kind}"/>')


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return Markup(f'<rect x="{x:.2f}%" y="{y:.1f}" width="{max(width, 0):.2f}%" height="{height:.1f}" class="{kind}"/>')


def _circle(x: float, y: float, radius: float, kind: str) -> Markup:
    return Markup(f'<circle cx="{x:.2f}%" cy="{y:.1f}" r="{radius:g}" class="{kind}"/>')


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "mute") -> Markup:
    return Markup('<text x="{:.2f}%" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, kind, text)


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


def latency(rows: Sequence[LatencyRow]) -> tuple[list[Chart], Markup]:
    """A histogram of all samples for each row, with lines at p50, p90 and p99, and the logarithmic axis they share."""
    low = min(row.histogram[0][0] for row in rows) / BIN_RATIO
    high = max(ns for row in rows for ns, _ in row.histogram) * BIN_RATIO
    scale, ticks = _log_scale(low, high, 5, 97), _ticks(low, high)
    bins_per_bar = math.ceil(math.log(high / low, BIN_RATIO) / MAX_BINS)
    axis = [_text(scale(ns), 12, _without_zeros(duration(ns)), "end" if scale(ns) > 95 else "middle") for ns in ticks]
    charts = [_histogram(row, scale, ticks, bins_per_bar) for row in rows]
    return charts, _svg("Time axis", "Time per call, logarithmic", 16, axis)


def _histogram(row: LatencyRow, scale: Scale, ticks: Sequence[float], bins_per_bar: int) -> Chart:
    percentiles = [(p, ns) for p, ns in ((50, row.p50_ns), (90, row.p90_ns), (99, row.p99_ns)) if ns is not None]
    bars: dict[int, int] = {}
    for ns, samples in row.histogram:
        bar = math.floor(math.log(ns) / math.log(BIN_RATIO) + 1e-9) // bins_per_bar
        bars[bar] = bars.get(bar, 0) + samples
    tallest = max(bars.values())
    drawn = [_line(scale(ns), 4, scale(ns), STRIP_HEIGHT, "grid") for ns in ticks]
    for bar, samples in bars.items():
        left = max(scale(BIN_RATIO ** (bar * bins_per_bar)), 0)
        height = max(1, (STRIP_HEIGHT - 4) * samples / tallest)
        width = scale(BIN_RATIO ** ((bar + 1) * bins_per_bar)) - left
        drawn.append(_rect(left, STRIP_HEIGHT - height, width, height, "bar"))
    drawn += [_line(scale(ns), 0, scale(ns), STRIP_HEIGHT, f"tick p{p}") for p, ns in percentiles]
    drawn.append(_line(0, STRIP_HEIGHT - 0.5, 100, STRIP_HEIGHT - 0.5, "axis"))
    value = " · ".join(f"p{p} {duration(ns)}" for p, ns in percentiles)
    description = f"{row.samples:,} calls from {duration(row.min_ns or 0)} to {duration(row.max_ns or 0)}; {value}"
    return _row_chart("Latency", row, value, description, STRIP_HEIGHT, drawn)


def windows(rows: Sequence[LatencyRow]) -> tuple[list[Chart], Markup]:
    """Each window's median as a dot, relative to its row's median, and the axis. Dots outside the band mean noise."""
    deviations = {id(row): [ns / median_ns(row) - 1 for ns in row.window_p50_ns] for row in rows}
    reach = min(max(0.12, 1.1 * max(abs(d) for row in deviations.values() for d in row)), 3.0)

    def scale(deviation: float) -> float:
        return 50 + 48 * max(-1.0, min(1.0, deviation / reach))

    charts = []
    for row in rows:
        spread = "" if row.spread is None else f"spread {row.spread:.1%}{', noisy' if row.noisy else ''}"
        drawn = [_rect(scale(-NOISY / 2), 3, scale(NOISY / 2) - scale(-NOISY / 2), 20, "band")]
        drawn += [_line(0, 13, 100, 13, "grid"), _line(50, 3, 50, 23, "axis")]
        drawn += [_circle(scale(d), 13, 4.5, "dot noisy" if row.noisy else "dot") for d in deviations[id(row)]]
        medians = ", ".join(duration(ns) for ns in row.window_p50_ns[:20])
        value = f"{duration(median_ns(row))} · {spread}"
        charts.append(_row_chart("Windows", row, value, f"Medians {medians}; {spread}", 26, drawn))
    step = next(s for s in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if reach / s < 4)
    ticks = [step * i for i in range(-int(reach / step), int(reach / step) + 1)]
    axis = [_text(scale(tick), 12, f"{tick:+.0%}" if tick else "median") for tick in ticks]
    return charts, _svg("Deviation axis", "Deviation from the row's median in percent", 16, axis)


def throughput(rows: Sequence[LatencyRow]) -> list[Chart]:
    """A curve of images per second against batch size for each row, on shared logarithmic axes, with its knee."""
    rates = {id(row): {int(n): int(n) / max(ns, 1) * 1e9 for n, ns in row.batch_ns.items()} for row in rows}
    sizes = {size for by_size in rates.values() for size in by_size}
    every_rate = {images for by_size in rates.values() for images in by_size.values()}
    low, high = 10.0 ** math.floor(math.log10(min(every_rate))), 10.0 ** math.ceil(math.log10(max(every_rate) * 1.01))
    x_scale = _log_scale(min(sizes), max(max(sizes), 2 * min(sizes)), 18, 96)
    y_scale = _log_scale(low, high, CHART_HEIGHT - 24, 6)
    y_ticks = [tick for tick in _ticks(low, high) if math.log10(tick).is_integer()]
    x_ticks = sorted({min(sizes), *(n for n in (10, 100, 1000) if min(sizes) < n < max(sizes)), max(sizes)})
    axes = [_line(15, y_scale(tick), 100, y_scale(tick), "grid") for tick in y_ticks]
    axes += [_text(14, y_scale(tick) + 4, _without_zeros(rate(tick)), "end") for tick in y_ticks]
    axes += [_text(min(max(x_scale(size), 3), 94), CHART_HEIGHT - 3, f"{size:,}") for size in x_ticks]
    charts = []
    for row in rows:
        by_size = rates[id(row)]
        curve = [(x_scale(size), y_scale(by_size[size])) for size in sorted(by_size)]
        drawn = [*axes, *(_line(*a, *b, "curve") for a, b in pairwise(curve))]
        drawn += [_circle(x, y, 2.2, "point") for x, y in curve]
        value = "no knee"
        if row.knee in by_size:
            drawn.append(_circle(x_scale(row.knee), y_scale(by_size[row.knee]), 6, "ring"))
            value = f"knee at batch {row.knee:,}: {rate(by_size[row.knee])} images/s"
        charts.append(_row_chart("Throughput", row, value, value, CHART_HEIGHT, drawn))
    return charts


def start_parts(row: StartRow) -> tuple[int, int, int, int]:
    """Nanoseconds of each of :data:`START_PARTS`."""
    return row.interpreter_ns or 0, row.imports_ns or 0, row.load_ns or 0, row.first_ns or 0


def starts(rows: Sequence[StartRow]) -> list[Chart]:
    """A stacked bar for each row. A bar more than four times as long as all others is cut off and labeled so."""
    totals = sorted((sum(start_parts(row)) for row in rows), reverse=True)
    longest = totals[1] * 1.5 if len(totals) > 1 and totals[0] > 4 * totals[1] > 0 else max(totals[0], 1)
    charts = []
    for row in rows:
        parts, x, drawn = start_parts(row), 0.0, []
        for number, part in enumerate(parts):
            width = min(100 * part / longest, 100 - x)
            drawn.append(_rect(x, 2, width, 18, f"part{number}"))
            x += width
        description = ", ".join(map(" ".join, zip(START_PARTS, map(duration, parts), strict=True)))
        value = duration(sum(parts))
        if sum(parts) > longest:
            value += ", bar cut off"
            drawn.append(Markup('<svg x="92%"><path d="M-3 -1 l6 6 l-6 6 l6 6 l-6 6" class="cut"/></svg>'))
        svg = _svg(f"Cold start of {row.runtime}", description, 22, drawn)
        charts.append(Chart(row.runtime, row.artifact, value, svg))
    return charts


def bars(items: Sequence[tuple[int, str, str]], spec: str, unit: float = 1) -> list[Chart]:
    """A bar from zero for each amount, name and detail. ``spec`` formats the amount divided by ``unit``."""
    longest = max(amount for amount, _, _ in items) or 1
    charts = []
    for amount, name, detail in items:
        value = spec.format(amount / unit)
        bar = _rect(0, 1, 100 * amount / longest, 8, "bar")
        charts.append(Chart(name, detail, value, _svg(f"{name} {detail}", value, 10, [bar])))
    return charts


def sustained(points: Sequence[SustainedPoint]) -> Markup:
    """The median of each step against time. The latency axis starts at zero."""
    seconds, longest = max(p.seconds for p in points) or 1, max(p.p50_ns for p in points) * 1.15 or 1
    base, end = CHART_HEIGHT - 20, f"{seconds / 60:.3g} min"
    curve = [(2 + 95 * p.seconds / seconds, base - (CHART_HEIGHT - 30) * p.p50_ns / longest) for p in points]
    first, last = duration(points[0].p50_ns), duration(points[-1].p50_ns)
    drawn = [_line(0, base, 100, base, "axis"), *(_line(*a, *b, "curve") for a, b in pairwise(curve))]
    drawn += [_circle(x, y, 3, "point") for x, y in curve]
    drawn.append(_text(min(curve[0][0], 80), curve[0][1] - 8, first, "start", "halo"))
    if len(points) > 1:
        drawn.append(_text(99, curve[-1][1] - 8, last, "end", "halo"))
    drawn.append(_text(99, CHART_HEIGHT - 4, end, "end"))
    return _svg("Sustained latency", f"p50 from {first} to {last} in {end}", CHART_HEIGHT, drawn)
