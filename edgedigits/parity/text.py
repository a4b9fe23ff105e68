"""Parity and per-layer results as text for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgedigits.system.text import table

if TYPE_CHECKING:
    from edgedigits.parity.layers import LayerReport
    from edgedigits.parity.result import ParityReport, ParityRow


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
