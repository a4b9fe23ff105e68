"""Render results as one HTML page: one device from ``report.html.j2``, several from ``devices.html.j2``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow, thin_out
from edgedigits.parity.result import ParityReport, ParityRow, group_rows
from edgedigits.report import charts, side_by_side
from edgedigits.report.devices import Device
from edgedigits.report.recommendation import failures, median_ns, recommend, sentence
from edgedigits.system.text import count, duration, number, rate, significant

MAX_LISTED = 50


def render_devices(devices: Sequence[Device], remarks: Sequence[str] = ()) -> str:
    """The page about one device, or the one that shows several side by side, with ``remarks`` about the files."""
    if len(devices) == 1 and devices[0].benchmark is not None:
        return render_page(devices[0].benchmark, devices[0].parity)
    headline, tone = side_by_side.summary(devices)
    page: str = _template("devices.html.j2").render(
        devices=devices, headline=headline, tone=tone, remarks=remarks, conclusion=side_by_side.conclusion
    )
    return page


def render_page(bench: BenchmarkReport, parity: ParityReport | None = None) -> str:
    """The whole document. The template escapes every string of the reports."""
    recommendation = recommend(bench, parity)
    best = recommendation.row
    checked = () if parity is None else parity.rows
    rows = sorted((row for row in bench.rows if row.status == "ok"), key=median_ns)
    starts = sorted((s for s in bench.starts if s.status == "ok"), key=lambda s: sum(charts.start_parts(s)))
    page: str = _template("report.html.j2").render(
        bench=bench,
        name=PurePath(bench.bundle).name or bench.bundle,
        recommendation=recommendation,
        best=best,
        best_start=next((start for start in starts if best and start.runtime == best.runtime), None),
        failures=failures(bench),
        parity=parity,
        parity_groups=group_rows(checked, _kernels_apart),
        ledger_groups=group_rows(checked, lambda row: row.ledger),
        rows=rows,
        batch_sizes=sorted({size for row in rows for size in row.images_per_second}),
        thread_counts=sorted({threads for row in rows for threads in row.threads_p50_ns}, key=int),
        starts=starts,
        memory=sorted((row.peak_rss_bytes, row.runtime, row.artifact) for row in starts if row.peak_rss_bytes),
        sizes=sorted({(row.bytes, row.artifact, "") for row in bench.rows}),
    )
    return page


@cache
def _template(name: str) -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals.update(charts=charts, max_listed=MAX_LISTED, side_by_side=side_by_side)
    for function in (count, duration, median_ns, number, rates, sentence, significant, thin_out, thread_medians):
        environment.filters[function.__name__] = function
    return environment.get_template(name)


def rates(row: LatencyRow, batch_sizes: list[int]) -> list[str]:
    """Images per second by batch size."""
    return [rate(row.images_per_second[size]) if size in row.images_per_second else "-" for size in batch_sizes]


def thread_medians(row: LatencyRow, thread_counts: list[str]) -> list[str]:
    """The median for each number of threads, and the number that is fastest."""
    ns = row.threads_p50_ns
    return [*(number(ns.get(threads)) for threads in thread_counts), min(ns, key=lambda n: (ns[n], int(n)))]


def _kernels_apart(row: ParityRow) -> tuple[Any, ...]:
    """Equal for rows that differ in the kernel set alone, so that each group is one line of the table."""
    return row.runtime, row.status, row.passed, row.mismatched, row.ties, row.errors, row.message
