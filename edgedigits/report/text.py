"""Reports as text for the terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.parity.check import ParityReport, ParityRow
    from edgedigits.parity.layers import LayerReport


def to_json(facts: Any) -> str:
    """Indented JSON with a line end; NaN and infinities, which JSON lacks, are refused."""
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns under a head: the first ``left`` ones flush left, the others right; two spaces between."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(parts).rstrip()

    return "\n".join([line(head), "  ".join("-" * w for w in widths), *(line(row) for row in rows)])


def parity_text(report: ParityReport, most_listed: int = 20) -> str:
    """The table of rows, what went wrong below it, and the verdict."""
    head = ("artifact", "runtime", "kernels", "mismatches", "ties", "max diff", "mean diff", "min lead", "errors", "s")
    lines = [table(head, [_parity_cells(row) for row in report.rows], left=3)]
    lines += [f"{_where(row)}: {row.status}: {row.message}" for row in report.rows if row.message]
    for rows in _alike(report.rows, lambda row: row.mismatched):
        first = rows[0]
        shown = ", ".join(map(str, first.mismatched[:most_listed]))
        more = f" and {len(first.mismatched) - most_listed} more" if len(first.mismatched) > most_listed else ""
        allowed = "" if report.unseen or not first.allowed else f" ({first.allowed} allowed)"
        lines.append(f"{first.mismatches} images answer differently{allowed}: {shown}{more}; in {_places(rows)}")
    lines += _int8_text(report.rows, most_listed)
    ran = sum(row.status != "missing" for row in report.rows)
    failed = sum(not row.passed for row in report.rows)
    verdict = "parity holds" if report.passed else "PARITY FAILS"
    if report.unseen:
        verdict = "unseen digits, reported only"
    lines.append(f"{verdict}: {ran - failed} of {ran} rows pass, {report.images} images each")
    return "\n".join(lines)


def _where(row: ParityRow) -> str:
    return f"{row.artifact} in {row.runtime} ({row.kernels})"


def _places(rows: Sequence[ParityRow]) -> str:
    """Where rows that are alike stand: artifact, then each runtime with its kernel sets."""
    kernels: dict[str, list[str]] = {}
    for row in rows:
        kernels.setdefault(row.runtime, []).append(row.kernels)
    return f"{rows[0].artifact} in " + ", ".join(f"{name} ({'/'.join(sets)})" for name, sets in kernels.items())


def _alike(rows: Sequence[ParityRow], key: Callable[[ParityRow], Any]) -> list[list[ParityRow]]:
    """Rows with the same, not empty, key, together."""
    groups: dict[Any, list[ParityRow]] = {}
    for row in rows:
        if key(row):
            groups.setdefault((row.artifact, key(row)), []).append(row)
    return list(groups.values())


def _int8_text(rows: Sequence[ParityRow], most_listed: int) -> list[str]:
    """The flip ledgers, what the counts prove, and whose rounding each row shows."""
    lines = []
    for alike in _alike(rows, lambda row: row.ledger):
        entries = alike[0].ledger
        lines += ["", f"flips and near-ties of {_places(alike)}"]
        cells = [
            (str(f.image), str(f.label), f"{f.lead_quanta:.2f}", str(f.int8_label), str(f.int8_lead_quanta), f.kind)
            for f in entries[:most_listed]
        ]
        lines.append(table(("image", "Keras", "lead", "int8", "lead", "kind"), cells, left=0))
        lines += [f"and {len(entries) - most_listed} more; --json has all"] if len(entries) > most_listed else []
    int8 = [row for row in rows if row.status == "ok" and row.min_lead_quanta is not None]
    for alike in _alike(int8, lambda row: (row.mismatches, row.accuracy_p)):
        first = alike[0]
        assert first.flip_rate_upper_95 is not None
        lines.append(
            f"{first.artifact}, {first.mismatches} of {first.images} flipped in {len(alike)} rows: at most "
            f"{first.flip_rate_upper_95:.3%} of such images flip (exact binomial, 95 %); change of accuracy: "
            f"McNemar's exact p = {first.accuracy_p:.2g}"
        )
    for alike in _alike(int8, lambda row: row.arithmetic):
        others = [row for row in alike if row.runtime != "numpy"]
        if others:
            lines.append(f"arithmetic {others[0].arithmetic}: {_places(others)}")
    return lines


def _parity_cells(row: ParityRow) -> tuple[str, ...]:
    if row.status != "ok":
        return (row.artifact, row.runtime, row.kernels, row.status, *("-",) * 6)
    assert row.mismatches is not None
    return (
        row.artifact,
        row.runtime,
        row.kernels,
        f"{row.mismatches} of {row.images}",
        str(row.ties),
        *("-" if value is None else f"{value:.2g}" for value in (row.max_abs_diff, row.mean_abs_diff)),
        "-" if row.min_lead_quanta is None else f"{row.min_lead_quanta} quanta",
        str(row.errors),
        f"{row.seconds:.1f}",
    )


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


def inspect_text(bundle: Bundle) -> str:
    """A bundle's contract, sizes and provenance, and whose signature it carries."""
    from edgedigits.bundle.signature import state

    manifest, signature = bundle.manifest, state(bundle)
    head = ("artifact", "bytes", "opened by", "sha256")
    rows = [(a.file, f"{a.bytes:,}", ", ".join(a.runtimes), a.sha256[:16]) for a in manifest.artifacts]
    rows += [(name, f"{len(bundle.read(name)):,}", "", digest[:16]) for name, digest in manifest.files.items()]
    lines = [f"{manifest.name} ({bundle.path}): {manifest.images} images, labels {' '.join(manifest.labels)}"]
    if signature is not None:
        checked = "verified" if signature["verified"] else "not verified: `edgedigits verify` does"
        lines.append(f"signed by {signature['key']}, {checked}")
    elif bundle.signature() is not None:
        lines.append("its manifest.sig is damaged")
    lines.append("")
    padded = [(name, size.rjust(9), runtimes, digest) for name, size, runtimes, digest in rows]
    lines += [table(head, padded, left=4), ""]
    for a in manifest.artifacts:
        lines += [f"{a.file}", f"  input   {a.input}", f"  output  {a.output}"]
        lines += [f"  {key}  {_plain(value)}" for key, value in a.facts.items()]
    for title in ("preprocessing", "training", "calibration", "versions", "data"):
        lines += ["", title, *(f"  {key}  {_plain(value)}" for key, value in getattr(manifest, title).items())]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{key} {_plain(item)}" for key, item in value.items()]
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def layers_text(found: dict[str, LayerReport]) -> str:
    """Each int8 artifact's layers and their errors."""
    head = ("artifact", "layer", "operator", "scale", "RMSE/scale", "in range", "saturated", "SNR dB")
    rows = [
        (
            file,
            e.layer[-40:],
            e.operator,
            f"{e.scale:.4g}",
            f"{e.rmse_over_scale:.3f}",
            f"{e.in_range_rmse_over_scale:.3f}",
            f"{e.saturated:.2%}",
            "-" if e.snr_db is None else f"{e.snr_db:.1f}",
        )
        for file, report in found.items()
        for e in report.layers
    ]
    others = [f"{file}: not measured: {', '.join(r.not_measured)}" for file, r in found.items() if r.not_measured]
    return "\n".join([table(head, rows, left=3), *others]) + (
        "\nRMSE/scale is healthy near 0.289 = 1/sqrt 12. More, with values saturated: the range is too narrow for\n"
        "some inputs; a tuned export does so on purpose where no answer hangs on it. More in range: suspect the kernel."
    )
