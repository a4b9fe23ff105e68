"""The sections of the page that hold figures and tables: parity, latency, throughput, threads, starts, sustained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow, StartRow
from edgedigits.parity.result import ParityReport, ParityRow
from edgedigits.report import charts
from edgedigits.report.markup import Markup, data_table, joined, tag
from edgedigits.report.recommendation import significant

MOST_LISTED = 50
EMPTY = Markup("")


def section(title: str, *content: str) -> Markup:
    """A part of the page under its heading."""
    return tag("section", tag("h2", title), *content)


def said(*words: str) -> Markup:
    """A muted line or two."""
    return tag("p", *words, class_="note")


def parity(parity: ParityReport | None) -> Markup:
    """What parity found, kernel sets that agree on one line, and the flip ledgers."""
    if parity is None:
        return section("Parity", said("Not given: whether these artifacts answer as the trained model did is unknown."))
    groups: dict[Any, list[ParityRow]] = {}
    for row in parity.rows:
        alike = (row.artifact, row.runtime, row.status, row.passed, row.mismatched, row.ties, row.errors, row.message)
        groups.setdefault(alike, []).append(row)
    cells, notes = [], []
    for rows in groups.values():
        first, kernels = rows[0], ", ".join(row.kernels for row in rows)
        names = [first.artifact, first.runtime]
        if first.status != "ok":
            cells.append([*names, _word(first.status, first.passed), "-", kernels, *"----"])
            notes += (
                [said(f"{first.artifact} in {first.runtime} ({kernels}): {first.message}")] if first.message else []
            )
            continue
        lead = min((row.min_lead_quanta for row in rows if row.min_lead_quanta is not None), default=None)
        difference = max((row.max_abs_diff or 0.0 for row in rows), default=0.0)
        answers = f"{first.mismatches or 0:,} of {first.images:,}"
        more = [kernels, str(first.ties), f"{difference:.2g}", "-" if lead is None else str(lead), str(first.errors)]
        cells.append([*names, _word("passes" if first.passed else "fails", first.passed), answers, *more])
    head = ["artifact", "runtime", "parity", "answers changed", "kernel sets", "ties"]
    head += ["largest logit difference", "least lead, quanta", "errors against labels"]
    ran = [row for row in parity.rows if row.status != "missing"]
    failed = sum(not row.passed for row in ran)
    verdict = f"{len(ran) - failed} of {len(ran)} rows pass"
    if parity.unseen:
        verdict = "unseen digits, reported only, so nothing is proved of the trained ones"
    return section(
        "Parity",
        said(
            "Each artifact, in each runtime and on each of its kernel sets, against the trained model's own answers on "
            f"{parity.images:,} images: {verdict}."
        ),
        data_table("Parity", head, cells, left=5),
        *notes,
        *_ledgers(parity),
    )


def _word(word: str, good: bool) -> Markup:
    return tag("b", word, class_="good" if good else "bad")


def _ledgers(parity: ParityReport) -> list[Markup]:
    """The images that an int8 artifact flips or nearly does, once for all rows that agree on them."""
    groups: dict[Any, list[ParityRow]] = {}
    for row in parity.rows:
        if row.ledger:
            groups.setdefault((row.artifact, row.ledger), []).append(row)
    head = ["image", "trained answer", "its lead, quanta", "int8 answer", "its lead, quanta", "kind"]
    found = []
    for (artifact, ledger), rows in groups.items():
        runtimes = ", ".join(dict.fromkeys(row.runtime for row in rows))
        flips = sum(flip.label != flip.int8_label for flip in ledger)
        title = f"Flip ledger of {artifact} in {runtimes}: {flips} flipped, {len(ledger) - flips} nearly"
        cells = [
            [
                str(f.image),
                str(f.label),
                f"{f.lead_quanta:.2f}",
                str(f.int8_label),
                str(f.int8_lead_quanta),
                f.kind + (", flipped" if f.label != f.int8_label else ""),
            ]
            for f in sorted(ledger, key=lambda f: (f.label == f.int8_label, f.image))[:MOST_LISTED]
        ]
        marked = list(range(min(flips, len(cells))))
        rest = f"and {len(ledger) - MOST_LISTED} more, in the parity JSON" if len(ledger) > MOST_LISTED else ""
        content = [tag("summary", title), data_table(title, head, cells, 0, marked), *([said(rest)] if rest else [])]
        found.append(tag("details", *content))
    return found


def latency(bench: BenchmarkReport, rows: Sequence[LatencyRow], chosen: LatencyRow | None) -> Markup:
    """Distributions and percentiles, then the windows that they were measured in."""
    if not rows:
        return EMPTY
    head = ["artifact", "runtime", "samples", "p50 ns", "p90 ns", "p95 ns", "p99 ns", "p99.9 ns", "longest ns"]
    head += ["model alone, p50 ns"]
    cells = [
        [
            row.artifact,
            row.runtime,
            f"{row.samples:,}",
            *map(_ns, (row.p50_ns, row.p90_ns, row.p95_ns, row.p99_ns, row.p999_ns, row.max_ns, row.invoke_p50_ns)),
        ]
        for row in rows
    ]
    medians = [
        [row.artifact, row.runtime, f"{_spread(row)}", " · ".join(map(_ns, row.window_p50_ns[:MOST_LISTED]))]
        for row in rows
    ]
    drawn = [row for row in rows if row.histogram]
    threads = plural(bench.method["threads"], "thread")
    marked = [i for i, row in enumerate(rows) if row is chosen]
    timer = min((row.timer_ns for row in rows if row.timer_ns is not None), default=None)
    return joined(
        [
            section(
                "Latency",
                said(
                    f"One image a call on {threads}, from float32 pixels to logits. Logarithmic time; every sample is "
                    "drawn, none dropped. Lines: p50 solid, p90 dashed, p99 dotted."
                ),
                charts.latency(drawn, chosen) if drawn else EMPTY,
                data_table("Latency, nanoseconds", head, cells, 2, marked),
                said(
                    "A percentile stands only where its samples suffice at 99 % confidence."
                    + ("" if timer is None else f" The clock's own {timer} ns are in every sample.")
                ),
            ),
            section(
                "Windows",
                said("The median of each window, a fresh process, around its row's. The band is 10 % wide."),
                charts.windows(rows, chosen),
                data_table("Medians of windows", ["artifact", "runtime", "spread", "medians, ns"], medians, 2, marked),
            ),
        ]
    )


def batches(rows: Sequence[LatencyRow], chosen: LatencyRow | None) -> Markup:
    """Throughput by batch size, with its knee."""
    if not rows:
        return EMPTY
    sizes = sorted({size for row in rows for size in row.batch_ns}, key=int)
    cells = [
        [
            row.artifact,
            row.runtime,
            "-" if row.knee is None else f"{row.knee:,}",
            *(charts.rate(int(s) / max(row.batch_ns[s], 1) * 1e9) if s in row.batch_ns else "-" for s in sizes),
        ]
        for row in rows
    ]
    head = ["artifact", "runtime", "knee", *(f"{int(size):,}" for size in sizes)]
    return section(
        "Throughput by batch",
        said("Images a second against images a call, both logarithmic. The ring is the knee: 90 % of the best rate."),
        charts.throughput(rows, chosen),
        data_table("Images a second by batch size", head, cells, 2, [i for i, row in enumerate(rows) if row is chosen]),
    )


def threads(rows: Sequence[LatencyRow], chosen: LatencyRow | None) -> Markup:
    """One image by threads."""
    if not rows:
        return EMPTY
    counts = sorted({count for row in rows for count in row.threads_p50_ns}, key=int)
    cells = []
    for row in rows:
        best = min(row.threads_p50_ns, key=lambda count: (row.threads_p50_ns[count], int(count)))
        cells.append([row.artifact, row.runtime, *(_ns(row.threads_p50_ns.get(c)) for c in counts), best])
    head = ["artifact", "runtime", *(f"{plural(int(count), 'thread')}, ns".replace(" ", "\u00a0") for count in counts)]
    head.append("quickest\u00a0with")
    return section(
        "Threads",
        said("The median of one image by threads of the runtime, each measured for a fifth of a window."),
        data_table("Threads", head, cells, 2, [i for i, row in enumerate(rows) if row is chosen]),
    )


def starts(bench: BenchmarkReport) -> Markup:
    """Cold starts, split, and their memory."""
    rows = sorted((s for s in bench.starts if s.status == "ok"), key=lambda s: sum(charts.parts_of(s)))
    if not rows:
        return EMPTY
    head = ["runtime", "artifact", *(f"{part} ms" for part in charts.START_PARTS), "total ms", "starts"]
    cells = [
        [
            row.runtime,
            row.artifact,
            *(significant(part / 1e6) for part in (*charts.parts_of(row), sum(charts.parts_of(row)))),
            str(row.samples),
        ]
        for row in rows
    ]
    known: list[StartRow] = sorted((r for r in rows if r.peak_rss_bytes), key=lambda r: r.peak_rss_bytes or 0)
    memory = [(r.runtime, r.artifact, float(r.peak_rss_bytes or 0), megabytes(r.peak_rss_bytes)) for r in known]
    return joined(
        [
            section(
                "Cold start",
                said("From nothing to the first answer, medians over fresh processes."),
                charts.starts(rows),
                data_table("Cold start, milliseconds", head, cells, 2),
            ),
            section("Memory", said("Peak resident set of a cold start."), charts.bars(memory)) if memory else EMPTY,
        ]
    )


def sustained(bench: BenchmarkReport) -> Markup:
    """The curve of a sustained run; nothing where there was none."""
    points = bench.sustained
    if not points:
        return EMPTY
    cells = [
        [
            f"{p.seconds / 60:.1f}",
            f"{p.p50_ns:,}",
            f"{p.samples:,}",
            "-" if p.frequency_khz is None else f"{p.frequency_khz / 1000:,.0f}",
            "-" if p.temperature_millicelsius is None else f"{p.temperature_millicelsius / 1000:.1f}",
        ]
        for p in points
    ]
    where = f"{points[0].artifact} in {points[0].runtime}"
    head = ["minute", "p50 ns", "samples", "frequency MHz", "temperature °C"]
    return section(
        "Sustained",
        said(f"{where}, a process a step; the axis starts at zero."),
        charts.sustained(points),
        data_table("Sustained run", head, cells, 0),
    )


def _ns(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _spread(row: LatencyRow) -> str:
    return "-" if row.spread is None else f"{row.spread:.1%}{', noisy' if row.noisy else ''}"


def megabytes(count: int | None) -> str:
    """Bytes in MB."""
    return "-" if count is None else f"{count / 1e6:,.0f} MB"


def plural(number: int | None, thing: str) -> str | None:
    """A number of things; None where it is not known."""
    return None if number is None else f"{number} {thing}{'s' * (number != 1)}"
