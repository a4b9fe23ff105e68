"""A benchmark as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgedigits.system.text import table

if TYPE_CHECKING:
    from edgedigits.benchmark.result import BenchmarkReport, LatencyRow


def benchmark_text(report: BenchmarkReport) -> str:
    """The machine, the latency table, cold starts, batches and threads, and what to think of them."""
    m, method = report.machine, report.method
    packages = ", ".join(f"{name} {v}" for name, v in m["packages"].items() if v)
    lines = [f"{m['cpu']}, {m['cores']} cores, {m['os']}, {m['python']}", packages, ""]
    head = (
        "artifact",
        "runtime",
        "bytes",
        "samples",
        "p50 ns",
        "p90 ns",
        "p99 ns",
        "p99.9 ns",
        "spread",
        "invoke p50 ns",
    )
    lines.append(table(head, [_latency_cells(row) for row in report.rows], left=2))
    lines += [f"{row.artifact} in {row.runtime}: {row.status}: {row.message}" for row in report.rows if row.message]
    timers = [row.timer_ns for row in report.rows if row.timer_ns is not None]
    lines.append(
        f"one image a call, {method['threads']} thread, {method['windows']} x {method['min_seconds']:g} s; "
        f"the clock's own {min(timers, default=0)} ns are in every sample; NOISY: windows differ by over 10 %"
    )
    lines += _batches_text(report.rows) + _starts_text(report) + _sustained_text(report)
    lines += [f"warning: {threat.what}; {threat.remedy}" for threat in report.threats]
    if report.cut_short:
        lines.append("cut short: only the windows that were finished are shown")
    return "\n".join(lines)


def _ns(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _latency_cells(row: LatencyRow) -> tuple[str, ...]:
    if row.status != "ok":
        return (row.artifact, row.runtime, f"{row.bytes:,}", row.status, *("-",) * 6)
    times = (row.p50_ns, row.p90_ns, row.p99_ns, row.p999_ns)
    spread = "-" if row.spread is None else f"{row.spread:.1%}{' NOISY' if row.noisy else ''}"
    shown = [_ns(value) for value in times]
    return (row.artifact, row.runtime, f"{row.bytes:,}", f"{row.samples:,}", *shown, spread, _ns(row.invoke_p50_ns))


def _batches_text(rows: Sequence[LatencyRow]) -> list[str]:
    measured = [row for row in rows if row.batch_ns]
    if not measured:
        return []
    sizes = [size for size in ("1", "10", "100", "1000", "5000") if all(size in row.batch_ns for row in measured)]
    counts = sorted({count for row in measured for count in row.threads_p50_ns}, key=int)
    head = ("artifact", "runtime", *(f"batch {size}" for size in sizes), "knee", *(f"{c} thr ns" for c in counts))
    cells = [
        (
            row.artifact,
            row.runtime,
            *(f"{int(size) / row.batch_ns[size] * 1e9:,.0f}" for size in sizes),
            str(row.knee),
            *(_ns(row.threads_p50_ns.get(count)) for count in counts),
        )
        for row in measured
    ]
    return ["", "images a second by batch, its knee, and one image's p50 by threads", table(head, cells, left=2)]


def _starts_text(report: BenchmarkReport) -> list[str]:
    if not report.starts:
        return []
    head = ("cold start", "artifact", "interpreter ms", "imports ms", "load ms", "first ms", "peak MB", "starts")
    cells = []
    for row in report.starts:
        parts = (row.interpreter_ns, row.imports_ns, row.load_ns, row.first_ns)
        shown = ["-" if part is None else f"{part / 1e6:.1f}" for part in parts]
        peak = "-" if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / 1e6:.0f}"
        cells.append((row.runtime, row.artifact, *shown, peak, str(row.samples) if row.status == "ok" else row.status))
    return ["", table(head, cells, left=2)]


def _sustained_text(report: BenchmarkReport) -> list[str]:
    if not report.sustained:
        return []
    first = report.sustained[0]
    head = ("minute", "p50 ns", "MHz", "°C")
    cells = [
        (
            f"{p.seconds / 60:.1f}",
            f"{p.p50_ns:,}",
            "-" if p.frequency_khz is None else f"{p.frequency_khz / 1000:.0f}",
            "-" if p.temperature_millicelsius is None else f"{p.temperature_millicelsius / 1000:.1f}",
        )
        for p in report.sustained
    ]
    return ["", f"sustained, {first.artifact} in {first.runtime}", table(head, cells, left=0)]
