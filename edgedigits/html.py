"""A benchmark, and parity if given, as one HTML page: no network, no script, light and dark, phone and desktop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from edgedigits import svg
from edgedigits.benchmark import BenchmarkReport, LatencyRow
from edgedigits.markup import Markup, data_table, facts, joined, tag
from edgedigits.parity import Flip, ParityReport, ParityRow
from edgedigits.runtimes import CHOSEN_ONLY_BY_NAME
from edgedigits.verdict import Verdict, duration, median_ns, name, recommend, sentence

MOST_FLIPS = 50
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = PurePath(__file__).parent / "report.css"


def page(bench: BenchmarkReport, parity: ParityReport | None = None) -> str:
    """The whole document."""
    verdict = recommend(bench, parity)
    rows = sorted((r for r in bench.rows if r.status == "ok"), key=median_ns)
    title = f"edgedigits report: {_bundle(bench)}"
    with open(STYLE, encoding="utf-8") as file:
        style = file.read()
    head = joined(
        [
            Markup('<meta charset="utf-8">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="color-scheme" content="light dark">'),
            tag("title", title),
            tag("style", Markup(style)),
        ]
    )
    sections = [
        _verdict(bench, verdict),
        _parity(parity),
        _latency(bench, rows, verdict.row),
        _windows(bench, rows, verdict.row),
        _batches([r for r in rows if r.batch_ns], verdict.row),
        _threads([r for r in rows if len(r.threads_p50_ns) > 1], verdict.row),
        _starts(bench),
        _sizes(bench),
        _sustained(bench),
        _machine(bench),
    ]
    body = tag("main", *sections)
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'
