"""A benchmark, and parity if given, as one HTML page: no network, no script, light and dark, phone and desktop."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.parity.result import ParityReport
from edgedigits.report import charts, sections
from edgedigits.report.markup import Markup, facts, joined, tag
from edgedigits.report.recommendation import Verdict, duration, median_ns, name, recommend, sentence

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = Path(__file__).with_name("report.css")


def page(bench: BenchmarkReport, parity: ParityReport | None = None) -> str:
    """The whole document; every string of the reports is escaped."""
    verdict = recommend(bench, parity)
    rows = sorted((row for row in bench.rows if row.status == "ok"), key=median_ns)
    head = joined(
        [
            Markup('<meta charset="utf-8">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="color-scheme" content="light dark">'),
            tag("title", f"edgedigits report: {_bundle(bench)}"),
            tag("style", Markup(STYLE.read_text(encoding="utf-8"))),
        ]
    )
    body = tag(
        "main",
        _verdict(bench, verdict),
        _warnings(bench),
        sections.parity(parity),
        sections.latency(bench, rows, verdict.row),
        sections.batches([row for row in rows if row.batch_ns], verdict.row),
        sections.threads([row for row in rows if len(row.threads_p50_ns) > 1], verdict.row),
        sections.starts(bench),
        _sizes(bench),
        sections.sustained(bench),
        _machine(bench),
    )
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body>\n</html>\n'


def _bundle(bench: BenchmarkReport) -> str:
    return PurePath(bench.bundle).name or bench.bundle


def _verdict(bench: BenchmarkReport, verdict: Verdict) -> Markup:
    m = bench.machine
    place = [m["model"] or m["cpu"] or "unknown processor", sections.plural(m["cores"], "core"), m["os"]]
    where = " · ".join(part for part in (_bundle(bench), *place) if part)
    reasons = [tag("li", reason) for reason in verdict.reasons]
    return tag(
        "header",
        tag("p", where, class_="eyebrow"),
        tag("h1", verdict.headline, class_=verdict.tone),
        tag("ul", *reasons, class_="reasons"),
        _figures(bench, verdict.row) if verdict.row else sections.EMPTY,
    )


def _figures(bench: BenchmarkReport, row: LatencyRow) -> Markup:
    """What one would quote of the recommended row."""
    start = next((s for s in bench.starts if s.runtime == row.runtime and s.status == "ok"), None)
    pairs = [("median of windows", duration(median_ns(row)))]
    pairs += [("p99", duration(row.p99_ns))] if row.p99_ns is not None else []
    pairs += [("file", f"{row.bytes / 1000:.1f} kB")]
    if start is not None:
        pairs.append(("cold start", duration(sum(charts.parts_of(start)))))
        pairs += [("peak memory", sections.megabytes(start.peak_rss_bytes))] if start.peak_rss_bytes else []
    return tag("dl", *(tag("div", tag("dd", value), tag("dt", key)) for key, value in pairs), class_="figures")


def _warnings(bench: BenchmarkReport) -> Markup:
    found = [
        tag("li", sentence(threat.what), " ", tag("span", f"To mend it: {threat.remedy}", class_="mute"))
        for threat in bench.threats
    ]
    found += [
        tag("li", f"{where}: {row.status}{': ' * bool(row.message)}{row.message}")
        for row, where in [(r, name(r)) for r in bench.rows] + [(s, f"cold start of {s.runtime}") for s in bench.starts]
        if row.status != "ok"
    ]
    if bench.cut_short:
        found.insert(0, tag("li", "The run was cut short: only finished windows are shown."))
    return sections.section("Warnings", tag("ul", *found, class_="warnings")) if found else sections.EMPTY


def _sizes(bench: BenchmarkReport) -> Markup:
    sizes = sorted({(row.bytes, row.artifact) for row in bench.rows})
    items = [(artifact, "", float(count), f"{count:,} bytes") for count, artifact in sizes]
    return sections.section("File sizes", charts.bars(items)) if items else sections.EMPTY


def _machine(bench: BenchmarkReport) -> Markup:
    m, method = bench.machine, bench.method
    pairs = [
        ("model", m["model"]),
        ("processor", m["cpu"]),
        ("features", " ".join(m["cpu_features"] or ()) or None),
        ("architecture", m["architecture"]),
        ("cores", None if m["cores"] is None else str(m["cores"])),
        ("frequency", None if m["frequency_khz"] is None else f"{m['frequency_khz'] / 1000:,.0f} MHz"),
        ("governor", m["governor"]),
        ("temperature", _celsius(m["temperature_millicelsius"])),
        ("load, 1 min", None if m["load_1min"] is None else f"{m['load_1min']:g}"),
        ("memory", None if m["memory_bytes"] is None else f"{m['memory_bytes'] / 1e9:.1f} GB"),
        ("system", m["os"]),
        ("kernel", m["kernel"]),
        ("container", m["container"]),
        ("on battery", None if m["on_battery"] is None else "yes" if m["on_battery"] else "no"),
        ("throttling", _throttling(bench.throttling)),
        ("Python", m["python"]),
        *((package, version) for package, version in m["packages"].items() if version is not None),
    ]
    pairs += [
        ("bundle", bench.bundle),
        ("windows", f"{method['windows']} of {method['min_seconds']:g} s for each row, shuffled, a process each"),
        ("threads", str(method["threads"])),
        ("seed", str(method["seed"])),
    ]
    unread = [key for key, value in pairs if value is None]
    left = [sections.said(f"This machine does not tell: {', '.join(unread)}.")] if unread else []
    shown = facts((key, value) for key, value in pairs if value is not None)
    return sections.section("Machine and method", shown, *left)


def _throttling(seen: dict[str, Any]) -> str | None:
    if seen["before"]["raw"] is None and seen["after"]["raw"] is None:
        return None
    told = [f"{when}: {', '.join(seen[when]['now']) or 'none'}" for when in ("before", "after")]
    return "; ".join(told)


def _celsius(millidegrees: int | None) -> str | None:
    return None if millidegrees is None else f"{millidegrees / 1000:.1f} °C"
