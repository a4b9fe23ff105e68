"""Figures as inline SVG: places across are percentages, so that a figure fits any width and its text keeps its size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from edgedigits.benchmark.result import NOISY, LatencyRow, StartRow, SustainedPoint
from edgedigits.report.markup import Markup, tag
from edgedigits.report.recommendation import duration, median_ns, significant

STRIP, MOST_BINS = 50, 260
Place = Callable[[float], float]
START_PARTS = ("interpreter", "imports", "load", "first inference")


def percent(value: float) -> str:
    """A place across a figure."""
    return f"{value:.2f}%"


def figure(title: str, description: str, height: float, *content: str) -> Markup:
    """An SVG as wide as what holds it, told to those who do not see it."""
    return tag(
        "svg", tag("title", title), tag("desc", description), *content, width="100%", height=f"{height:g}", role="img"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=percent(x1), y1=f"{y1:.1f}", x2=percent(x2), y2=f"{y2:.1f}", class_=kind)


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return tag("rect", x=percent(x), y=f"{y:.1f}", width=percent(max(width, 0.0)), height=f"{height:.1f}", class_=kind)


def _dot(x: float, y: float, radius: float, kind: str) -> Markup:
    return tag("circle", cx=percent(x), cy=f"{y:.1f}", r=f"{radius:g}", class_=kind)


def _text(x: float, y: float, words: str, anchor: str = "middle", kind: str = "") -> Markup:
    return tag("text", words, x=percent(x), y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def label(name: str, detail: str, value: str, chosen: bool = False) -> Markup:
    """The line above a strip: what it is, and its number."""
    badge = [Markup(" "), tag("span", "recommended", class_="badge")] if chosen else []
    return tag(
        "p",
        tag("span", tag("b", name), f" {detail}", *badge),
        tag("span", value, class_="num"),
        class_="label",
    )


def _logarithmic(low: float, high: float, left: float, right: float) -> Place:
    start, span = math.log(low), math.log(max(high / low, 1.01))
    return lambda value: left + (right - left) * (math.log(value) - start) / span


def _decades(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis: powers of ten, with twos and fives where those are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    return [step * 10.0**p for p in powers for step in steps if low <= step * 10.0**p <= high]


def _round(ns: float) -> str:
    """A power of ten, or its double or fivefold, with its unit."""
    unit, size = next((u, z) for u, z in (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 0.0)) if ns >= 0.999 * z)
    return f"{ns / (size or 1):g} {unit}"


def latency(rows: Sequence[LatencyRow], chosen: LatencyRow | None) -> Markup:
    """One strip a row, every sample, on one logarithmic time axis; lines at p50, p90 and p99."""
    lows, highs = [r.histogram[0][0] for r in rows], [max(ns for ns, _ in r.histogram) for r in rows]
    low, high = min(lows) / 1.02, max(highs) * 1.02
    place = _logarithmic(low, high, 5.0, 97.0)
    marks = _decades(low, high)
    width = math.ceil(math.log(high / low) / math.log(1.02) / MOST_BINS)  # a whole number of the histogram's own bins
    parts = []
    for row in rows:
        shown = [(p, ns) for p, ns in ((50, row.p50_ns), (90, row.p90_ns), (99, row.p99_ns)) if ns is not None]
        told = " · ".join(f"p{p} {duration(ns)}" for p, ns in shown)
        parts += [label(row.artifact, row.runtime, told, row is chosen), _strip(row, shown, told, place, marks, width)]
    axis = [_text(place(mark), 12, _round(mark), "end" if place(mark) > 95 else "middle", "mute") for mark in marks]
    parts.append(figure("time axis", "Time of one call, logarithmic", 16, *axis))
    return tag("div", *parts, class_="strips")


def _strip(
    row: LatencyRow, shown: Sequence[tuple[int, int]], told: str, place: Place, marks: Sequence[float], width: int
) -> Markup:
    bins: dict[int, int] = {}
    for ns, count in row.histogram:
        number = math.floor(math.log(ns) / math.log(1.02) + 1e-9) // width
        bins[number] = bins.get(number, 0) + count
    tallest = max(bins.values())
    drawn = [_line(place(mark), 4, place(mark), STRIP, "grid") for mark in marks]
    for number, count in bins.items():
        left, right = place(1.02 ** (number * width)), place(1.02 ** ((number + 1) * width))
        height = max(1.0, (STRIP - 4) * count / tallest)
        drawn.append(_rect(max(left, 0.0), STRIP - height, right - max(left, 0.0), height, "bar"))
    drawn += [_line(place(ns), 0, place(ns), STRIP, f"tick p{p}") for p, ns in shown]
    drawn.append(_line(0, STRIP - 0.5, 100, STRIP - 0.5, "axis"))
    description = f"{row.samples:,} calls from {duration(row.min_ns or 0)} to {duration(row.max_ns or 0)}; {told}"
    return figure(f"Latency of {row.artifact} in {row.runtime}", description, STRIP, *drawn)


def windows(rows: Sequence[LatencyRow], chosen: LatencyRow | None) -> Markup:
    """Each window's median as a dot, as a deviation from the row's; beyond the band's 10 % in all a row is noisy."""
    away = [abs(ns / median_ns(row) - 1.0) for row in rows for ns in row.window_p50_ns]
    reach = min(max(0.12, max(away) * 1.1), 3.0)

    def place(deviation: float) -> float:
        return 50.0 + 48.0 * max(-1.0, min(1.0, deviation / reach))

    parts = []
    for row in rows:
        middle = median_ns(row)
        spread = "" if row.spread is None else f"spread {row.spread:.1%}{', noisy' if row.noisy else ''}"
        band = _rect(place(-NOISY / 2), 3, place(NOISY / 2) - place(-NOISY / 2), 20, "band")
        dots = [
            _dot(place(ns / middle - 1.0), 13, 4.5, "dot noisy" if row.noisy else "dot") for ns in row.window_p50_ns
        ]
        told = ", ".join(duration(ns) for ns in row.window_p50_ns[:20])
        drawn = figure(
            f"Windows of {row.artifact} in {row.runtime}",
            f"Medians {told}; {spread}",
            26,
            band,
            _line(0, 13, 100, 13, "grid"),
            _line(50, 3, 50, 23, "axis"),
            *dots,
        )
        parts += [label(row.artifact, row.runtime, f"{duration(middle)} · {spread}", row is chosen), drawn]
    step = next(s for s in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if reach / s < 4)
    ticks = [step * i for i in range(-int(reach / step), int(reach / step) + 1)]
    axis = [_text(place(t), 12, "median" if not round(t, 6) else f"{t:+.0%}", kind="mute") for t in ticks]
    parts.append(figure("deviation axis", "Deviation from the row's median, per cent", 16, *axis))
    return tag("div", *parts, class_="strips tight")


def rate(images_per_second: float) -> str:
    """Images a second in short: ``1.76 M``."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if images_per_second >= 0.9995 * size:
            return f"{significant(images_per_second / size)}{unit}"
    return significant(images_per_second)


def _power(images_per_second: float) -> str:
    unit, size = next((u, z) for u, z in ((" M", 1e6), (" k", 1e3), ("", 1.0)) if images_per_second >= z or z == 1.0)
    return f"{images_per_second / size:g}{unit}"


def throughput(rows: Sequence[LatencyRow], chosen: LatencyRow | None) -> Markup:
    """One small chart a row, all on the same logarithmic axes; the knee is ringed."""
    points = {id(row): [(int(n), int(n) / max(ns, 1) * 1e9) for n, ns in row.batch_ns.items()] for row in rows}
    every = [point for found in points.values() for point in found]
    sizes, rates = [n for n, _ in every], [r for _, r in every]
    across = _logarithmic(min(sizes), max(max(sizes), 2 * min(sizes)), 14.0, 96.0)
    low, high = 10.0 ** math.floor(math.log10(min(rates))), 10.0 ** math.ceil(math.log10(max(rates) * 1.01))
    height = 150

    def up(value: float) -> float:
        return 6 + (height - 30) * (1.0 - math.log(value / low) / math.log(high / low))

    marks = [mark for mark in _decades(low, high) if math.log10(mark).is_integer()]
    ends = sorted({min(sizes), *(n for n in (10, 100, 1000) if min(sizes) < n < max(sizes)), max(sizes)})
    charts = []
    for row in rows:
        found = sorted(points[id(row)])
        drawn = [_line(11, up(mark), 100, up(mark), "grid") for mark in marks]
        drawn += [_line(across(n), up(r), across(m), up(s), "curve") for (n, r), (m, s) in pairwise(found)]
        drawn += [_dot(across(n), up(r), 2.2, "point") for n, r in found]
        knee = next(((n, r) for n, r in found if n == row.knee), None)
        drawn += [_dot(across(knee[0]), up(knee[1]), 6, "ring")] if knee else []
        drawn += [_text(10, up(mark) + 4, _power(mark), "end", "mute") for mark in marks]
        drawn += [_text(min(max(across(n), 3), 94), height - 3, f"{n:,}", kind="mute") for n in ends]
        told = f"knee at batch {knee[0]:,}: {rate(knee[1])} images/s" if knee else "no knee"
        one = f"{rate(found[0][1])} images/s at batch {found[0][0]:,}; " if found else ""
        chart = figure(f"Throughput of {row.artifact} in {row.runtime}", one + told, height, *drawn)
        charts.append(
            tag("div", label(row.artifact, row.runtime, "", row is chosen), chart, tag("p", told, class_="note"))
        )
    return tag("div", *charts, class_="charts")


def starts(rows: Sequence[StartRow]) -> Markup:
    """A stacked bar a runtime; one that dwarfs the others is cut, and says so."""
    totals = [sum(parts_of(row)) for row in rows]
    ranked = sorted(totals, reverse=True)
    longest = ranked[1] * 1.5 if len(ranked) > 1 and ranked[0] > 4 * ranked[1] > 0 else max(ranked[0], 1)
    keys = (tag("span", tag("i", class_=f"key part{i}"), name) for i, name in enumerate(START_PARTS))
    drawn = [tag("p", *keys, class_="legend")]
    for row, total in zip(rows, totals, strict=True):
        x, pieces = 0.0, []
        for number, part in enumerate(parts_of(row)):
            width = min(100.0 * part / longest, 100.0 - x)
            pieces.append(_rect(x, 2, width, 18, f"part{number}"))
            x += width
        if total > longest:
            zigzag = tag("path", d="M-3 -1 l6 6 l-6 6 l6 6 l-6 6", class_="cut")
            pieces.append(tag("svg", zigzag, x="92%"))
        told = ", ".join(f"{name} {duration(ns)}" for name, ns in zip(START_PARTS, parts_of(row), strict=True))
        value = duration(total) + (", bar cut" if total > longest else "")
        drawn.append(label(row.runtime, row.artifact, value))
        drawn.append(figure(f"Cold start of {row.runtime}", told, 22, *pieces))
    return tag("div", *drawn, class_="strips tight")


def parts_of(row: StartRow) -> tuple[int, int, int, int]:
    """Interpreter, imports, load, first inference; nanoseconds."""
    return row.interpreter_ns or 0, row.imports_ns or 0, row.load_ns or 0, row.first_ns or 0


def bars(items: Sequence[tuple[str, str, float, str]]) -> Markup:
    """Name, detail, amount and its words: a bar each, from zero."""
    most = max((amount for _, _, amount, _ in items), default=0.0) or 1.0
    drawn = []
    for name, detail, amount, words in items:
        bar = _rect(0, 1, 100.0 * amount / most, 8, "bar")
        drawn += [label(name, detail, words), figure(f"{name} {detail}", words, 10, bar)]
    return tag("div", *drawn, class_="strips tight")


def sustained(points: Sequence[SustainedPoint]) -> Markup:
    """The median of each step against time, from zero."""
    last, most, height = max(p.seconds for p in points) or 1.0, max(p.p50_ns for p in points) * 1.15 or 1.0, 150

    def place(p: SustainedPoint) -> tuple[float, float]:
        return 2 + 95 * p.seconds / last, height - 20 - (height - 30) * p.p50_ns / most

    places = [place(p) for p in points]
    drawn = [_line(0, height - 20, 100, height - 20, "axis")]
    drawn += [_line(*a, *b, "curve") for a, b in pairwise(places)]
    drawn += [_dot(x, y, 3, "point") for x, y in places]
    drawn.append(_text(2, places[0][1] - 8, duration(points[0].p50_ns), "start", "halo"))
    if len(points) > 1:
        drawn.append(_text(99, places[-1][1] - 8, duration(points[-1].p50_ns), "end", "halo"))
    drawn.append(_text(99, height - 4, f"{last / 60:.3g} min", "end", "mute"))
    told = f"p50 from {duration(points[0].p50_ns)} to {duration(points[-1].p50_ns)} in {last / 60:.3g} minutes"
    return figure("Sustained latency", told, height, *drawn)
