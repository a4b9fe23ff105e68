"""Benchmarks and comparisons as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgedigits.runtimes.table import missing_text
from edgedigits.system.text import count, number, table

if TYPE_CHECKING:
    from edgedigits.benchmark.compare import ComparedRow, Comparison
    from edgedigits.benchmark.result import BenchmarkReport, LatencyRow, StartRow, SustainedPoint


def benchmark_text(report: BenchmarkReport) -> str:
    """The machine; tables of latency, batches, threads and cold starts; warnings."""
    m, method = report.machine, report.method
    packages = ", ".join(f"{name} {v}" for name, v in m["packages"].items() if v)
    lines = [f"{m['cpu']}, {m['cores']} cores, {m['os']}, {m['python']}", packages, ""]
    head = (
        "artifact", "runtime", "bytes", "samples", "p50 ns", "p90 ns", "p99 ns", "p99.9 ns", "spread", "invoke p50 ns",
    )  # fmt: skip
    rows = [row for row in report.rows if row.status != "missing"]
    lines.append(table(head, map(_latency_cells, rows), left=2))
    lines += [f"{row.artifact} in {row.runtime}: {row.status}: {row.message}" for row in rows if row.message]
    lines += missing_text(row.runtime for row in report.rows if row.status == "missing")
    timers = [row.timer_ns for row in rows if row.timer_ns is not None]
    lines.append(
        f"one image per call, {count(method['threads'], 'thread')}, {count(method['windows'], 'window')} "
        f"of {method['min_seconds']:g} s; every sample includes the clock's {min(timers, default=0)} ns"
        "; NOISY: windows differ by more than 10 %"
    )
    lines += _batches_text(rows) + _starts_text(report) + _sustained_text(report)
    lines += [f"warning: {warning.what}; {warning.remedy}" for warning in report.threats]
    if report.cut_short:
        lines.append("cut short: only finished windows are shown")
    return "\n".join(lines)


def _latency_cells(row: LatencyRow) -> tuple[str | int | None, ...]:
    samples = row.samples if row.status == "ok" else row.status
    times = row.p50_ns, row.p90_ns, row.p99_ns, row.p999_ns
    spread = number(row.spread, ".1%") + " NOISY" * row.noisy
    return row.artifact, row.runtime, row.bytes, samples, *times, spread, row.invoke_p50_ns


def _batches_text(rows: Sequence[LatencyRow]) -> list[str]:
    measured = [row for row in rows if row.batch_ns]
    if not measured:
        return []
    sizes = [n for n in (1, 10, 100, 1000, 5000) if all(n in row.images_per_second for row in measured)]
    counts = sorted({count for row in measured for count in row.threads_p50_ns}, key=int)
    head = ("artifact", "runtime", *(f"batch {size}" for size in sizes), "knee", *(f"{c} thr ns" for c in counts))
    cells = []
    for row in measured:
        rates = [number(row.images_per_second[size], ",.0f") for size in sizes]
        medians = [row.threads_p50_ns.get(count) for count in counts]
        cells.append((row.artifact, row.runtime, *rates, str(row.knee), *medians))
    title = "images per second by batch size, the knee (smallest batch with 90 % of the best), p50 by thread count"
    return ["", title, table(head, cells, left=2)]


def _starts_text(report: BenchmarkReport) -> list[str]:
    if not report.starts:
        return []
    head = ("cold start", "artifact", "interpreter ms", "imports ms", "load ms", "first ms", "peak MB", "starts")
    return ["", table(head, map(_start_cells, report.starts), left=2)]


def _start_cells(row: StartRow) -> tuple[str | int, ...]:
    parts = [number(ns, ".1f", 1e6) for ns in (row.interpreter_ns, row.imports_ns, row.load_ns, row.first_ns)]
    starts = row.samples if row.status == "ok" else row.status
    return row.runtime, row.artifact, *parts, number(row.peak_rss_bytes, ".0f", 1e6), starts


def _sustained_text(report: BenchmarkReport) -> list[str]:
    if not report.sustained:
        return []
    first = report.sustained[0]
    cells = []
    for point in report.sustained:
        clock, temperature = number(point.frequency_khz, ".0f", 1e3), number(point.temperature_millicelsius, ".1f", 1e3)
        minute, throttling = number(point.seconds, ".1f", 60), ", ".join(point.throttling) or "-"
        cells.append((minute, point.p50_ns, clock, temperature, throttling))
    title = f"sustained, {first.artifact} in {first.runtime}"
    return ["", title, table(("minute", "p50 ns", "MHz", "°C", "throttling"), cells, left=0)]


def watch_start(row: str, sensors: dict[str, bool], minutes: float = 0.0) -> str:
    """What is watched and until when, and which sensors this machine lacks."""
    missing = [name for name, readable in sensors.items() if not readable]
    end = f"for {minutes:g} min" if minutes else "Ctrl-C ends it"
    return f"{row}, {end}" + (f"; not available here: {', '.join(missing)}" if missing else "")


def watch_line(point: SustainedPoint, sensors: dict[str, bool]) -> str:
    """One point: minutes and seconds, p50, and the sensors that this machine has."""
    minutes, seconds = divmod(round(point.seconds), 60)
    parts = [f"{minutes}:{seconds:02}", f"p50 {point.p50_ns:,} ns"]
    if point.frequency_khz is not None:
        parts.append(f"{number(point.frequency_khz, ',.0f', 1e3)} MHz")
    if point.temperature_millicelsius is not None:
        parts.append(f"{number(point.temperature_millicelsius, '.1f', 1e3)} °C")
    if sensors["throttling"]:
        parts.append(", ".join(point.throttling).upper() or "not throttled")
    return "  ".join(parts)


def watch_summary(report: BenchmarkReport) -> str:
    """One line about the whole run: how latency changed, the ranges of clock and temperature, and throttling."""
    lines = [f"{row.artifact} in {row.runtime}: {row.status}: {row.message}" for row in report.rows]
    if points := report.sustained:
        first, last = points[0].p50_ns, points[-1].p50_ns
        medians = [point.p50_ns for point in points]
        parts = [
            f"{points[-1].seconds:,.0f} s: p50 {first:,} ns at first, {last:,} ns at last ({last / first - 1:+.1%}), "
            f"from {min(medians):,} to {max(medians):,}"
        ]
        clocks = [p.frequency_khz for p in points if p.frequency_khz is not None]
        temperatures = [p.temperature_millicelsius for p in points if p.temperature_millicelsius is not None]
        parts += [f"{min(clocks) / 1e3:,.0f} to {max(clocks) / 1e3:,.0f} MHz"] if clocks else []
        parts += [f"{min(temperatures) / 1e3:.1f} to {max(temperatures) / 1e3:.1f} °C"] if temperatures else []
        parts += [f"throttled first at {p.seconds:,.0f} s" for p in [p for p in points if p.throttling][:1]]
        lines.append("; ".join(parts))
    return "\n".join(lines)


def comparison_text(comparison: Comparison) -> str:
    """The table, the notes and the verdict."""
    head = ("artifact", "runtime", "threads", "old ns", "new ns", "new/old", "95 %", "p", "invoke", "verdict")
    lines = [table(head, map(_comparison_cells, comparison.rows), left=2), *comparison.notes]
    lines.append("new/old: ratio of the windows' medians, with its 95 % bootstrap interval; p: Mann-Whitney U test")
    verdicts = [row.verdict for row in comparison.rows]
    limit, of = f"{comparison.max_regress * 100:.4g} %", f"of {len(verdicts)} rows"
    if not comparison.passed:
        bad = sum(row.failed for row in comparison.rows)
        lines.append(f"REGRESSION: {bad} {of} slower by more than {limit}, or broken")
    elif not comparison.decided:
        few = verdicts.count("too few windows")
        lines.append(f"UNDECIDED: {few} {of} slower by more than {limit}; benchmark again with --windows 5 or more")
    else:
        lines.append(f"no regression: none {of} is significantly slower by more than {limit}")
    return "\n".join(lines)


def _comparison_cells(row: ComparedRow) -> tuple[str | int | None, ...]:
    medians = number(row.old_ns, ",.0f"), number(row.new_ns, ",.0f")
    interval = None if row.ratio is None else f"{row.ratio_low:.3f} to {row.ratio_high:.3f}"
    tests = number(row.ratio, ".3f"), interval, number(row.p, ".2g"), number(row.invoke_ratio, ".3f")
    return row.artifact, row.runtime, row.threads, *medians, *tests, row.verdict.upper() if row.failed else row.verdict
