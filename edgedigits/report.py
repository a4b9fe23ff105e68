"""Reports as text for the terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgedigits.benchmark import BenchmarkReport
    from edgedigits.bundle import Bundle
    from edgedigits.parity import ParityReport, ParityRow


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
    for row in report.rows:
        where = f"{row.artifact} in {row.runtime} ({row.kernels})"
        if row.message:
            lines.append(f"{where}: {row.status}: {row.message}")
        if row.mismatched:
            shown = ", ".join(map(str, row.mismatched[:most_listed]))
            more = f" and {len(row.mismatched) - most_listed} more" if len(row.mismatched) > most_listed else ""
            allowed = f" ({row.allowed} allowed)" if row.allowed else ""
            lines.append(f"{where}: {row.mismatches} images answer differently{allowed}: {shown}{more}")
    ran = sum(row.status != "missing" for row in report.rows)
    failed = sum(not row.passed for row in report.rows)
    verdict = "parity holds" if report.passed else "PARITY FAILS"
    lines.append(f"{verdict}: {ran - failed} of {ran} rows pass, {report.images} images each")
    return "\n".join(lines)


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
        f"{row.max_abs_diff:.2g}",
        f"{row.mean_abs_diff:.2g}",
        "-" if row.min_lead_quanta is None else f"{row.min_lead_quanta} quanta",
        str(row.errors),
        f"{row.seconds:.1f}",
    )


def benchmark_text(report: BenchmarkReport) -> str:
    """The machine in two lines and the table of rows, in nanoseconds."""
    m = report.machine
    packages = ", ".join(f"{name} {v}" for name, v in m["packages"].items() if v)
    head = ("artifact", "runtime", "bytes", "samples", "p50 ns", "p90 ns", "p99 ns", "invoke p50 ns", "timer ns")
    rows = []
    for row in report.rows:
        cells = (row.samples, row.p50_ns, row.p90_ns, row.p99_ns, row.invoke_p50_ns, row.timer_ns)
        shown = [f"{n:,}" for n in cells if n is not None] if row.status == "ok" else [row.status, *["-"] * 5]
        rows.append((row.artifact, row.runtime, f"{row.bytes:,}", *shown))
    lines = [
        f"{m['cpu']}, {m['cores']} cores, {m['os']}, Python {m['python']}",
        packages,
        "",
        table(head, rows, left=2),
    ]
    lines += [f"{row.artifact} in {row.runtime}: {row.status}: {row.message}" for row in report.rows if row.message]
    lines.append(f"one image a call, {report.windows} windows of {report.min_seconds:g} s, real images in random order")
    return "\n".join(lines)


def inspect_text(bundle: Bundle) -> str:
    """A bundle's contract, sizes and provenance."""
    manifest = bundle.manifest
    head = ("artifact", "bytes", "opened by", "sha256")
    rows = [(a.file, f"{a.bytes:,}", ", ".join(a.runtimes), a.sha256[:16]) for a in manifest.artifacts]
    rows += [(name, f"{len(bundle.read(name)):,}", "", digest[:16]) for name, digest in manifest.files.items()]
    lines = [f"{manifest.name} ({bundle.path}): {manifest.images} images, labels {' '.join(manifest.labels)}", ""]
    padded = [(name, size.rjust(9), runtimes, digest) for name, size, runtimes, digest in rows]
    lines += [table(head, padded, left=4), ""]
    for a in manifest.artifacts:
        lines += [f"{a.file}", f"  input   {a.input}", f"  output  {a.output}"]
        lines += [f"  {key}  {_plain(value)}" for key, value in a.facts.items()]
    for title in ("preprocessing", "training", "versions", "data"):
        lines += ["", title, *(f"  {key}  {_plain(value)}" for key, value in getattr(manifest, title).items())]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)
