"""Parity and per-layer results as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgedigits.parity.result import group_rows, kernel_text
from edgedigits.runtimes.table import missing_text
from edgedigits.system.text import count, number, table

if TYPE_CHECKING:
    from edgedigits.parity.layers import LayerError, LayerReport
    from edgedigits.parity.result import ParityReport, ParityRow


def parity_text(report: ParityReport, most_listed: int = 20) -> str:
    """The table of rows, the mismatches, the int8 details and the verdict."""
    head = ("artifact", "runtime", "kernels", "mismatches", "ties", "max diff", "mean diff", "min lead", "errors", "s")
    rows = [row for row in report.rows if row.status != "missing"]
    lines = [table(head, map(_parity_cells, rows), left=3)]
    lines += [f"{r.artifact} in {r.runtime} ({r.kernels}): {r.status}: {r.message}" for r in rows if r.message]
    lines += missing_text(row.runtime for row in report.rows if row.status == "missing")
    for group in group_rows(rows, lambda row: row.mismatched):
        first = group[0]
        shown = ", ".join(map(str, first.mismatched[:most_listed]))
        more = f" and {len(first.mismatched) - most_listed} more" if len(first.mismatched) > most_listed else ""
        images = "image" if len(first.mismatched) == 1 else "images"
        allowed = "" if report.unseen or not first.allowed else f" ({first.allowed} allowed)"
        mismatches = count(first.mismatches or 0, "mismatch", "mismatches")
        lines.append(f"{mismatches}{allowed}, {images} {shown}{more}: {_places(group)}")
    lines += _int8_text(rows, most_listed)
    failed = sum(not row.passed for row in rows)
    verdict = "parity holds" if report.passed else "PARITY FAILS"
    if report.unseen:
        verdict = "held-out inputs, mismatches do not fail"
    lines.append(f"{verdict}: {len(rows) - failed} of {len(rows)} rows pass, {report.images} images each")
    return "\n".join(lines)


def _places(rows: Sequence[ParityRow]) -> str:
    """The artifact of the rows, and their runtimes with kernel sets."""
    kernels: dict[str, list[str]] = {}
    for row in rows:
        kernels.setdefault(row.runtime, []).append(row.kernels)
    return f"{rows[0].artifact} in " + ", ".join(f"{name} ({'/'.join(sets)})" for name, sets in kernels.items())


def _int8_text(rows: Sequence[ParityRow], most_listed: int) -> list[str]:
    """Per artifact: the images with a flip or a near-tie, the bound of the flip rate, and the rounding of each row."""
    lines = []
    for group in group_rows(rows, lambda row: row.ledger):
        ledger = group[0].ledger
        head = ("image", "Keras", "lead", "int8", "lead", "kind")
        cells = [
            (str(flip.image), flip.label, f"{flip.lead_quanta:.2f}", flip.int8_label, flip.int8_lead_quanta, flip.kind)
            for flip in ledger[:most_listed]
        ]
        lines += ["", f"changed predictions and near-ties: {_places(group)}", table(head, cells, left=0)]
        lines += [f"and {len(ledger) - most_listed} more; --json lists all"] if len(ledger) > most_listed else []
    int8 = [row for row in rows if row.status == "ok" and row.min_lead_quanta is not None]
    for group in group_rows(int8, lambda row: (row.mismatches, row.accuracy_p)):
        first = group[0]
        upper = first.flip_rate_upper_95
        bound = "" if upper is None else f": at most {upper:.3%} of similar images (exact binomial bound, 95 %)"
        changed = f"{first.mismatches} of {first.images} predictions changed in {count(len(group), 'row')}"
        lines.append(f"{first.artifact}, {changed}{bound}; accuracy: McNemar's exact p = {first.accuracy_p:.2g}")
    lines += [
        f"{row.artifact} in {row.runtime}: {row.us_per_image:,.1f} us per image by the board's own clock"
        for row in rows
        if row.us_per_image is not None
    ]
    lines += kernel_text(int8)
    for group in group_rows((row for row in int8 if row.runtime != "numpy"), lambda row: row.arithmetic):
        name, _, why = str(group[0].arithmetic).partition(": ")
        found = {"unknown": "rounds like no kernel set", "cannot be told": "the rounding cannot be told"}
        said = f"{found[name]} ({why})" if why else f"rounds like the kernel set {name!r}"
        lines.append(f"{said}: {_places(group)}")
    return lines


def _parity_cells(row: ParityRow) -> tuple[str | int | None, ...]:
    where = row.artifact, row.runtime, row.kernels
    mismatches = f"{row.mismatches} of {row.images}" if row.status == "ok" else row.status
    differences = number(row.max_abs_diff, ".2g"), number(row.mean_abs_diff, ".2g")
    lead = None if row.min_lead_quanta is None else count(row.min_lead_quanta, "quantum", "quanta")
    return *where, mismatches, row.ties, *differences, lead, row.errors, number(row.seconds, ".1f")


def layers_text(reports: dict[str, LayerReport]) -> str:
    """The layers of each int8 artifact and their errors."""
    head = ("artifact", "layer", "operator", "scale", "RMSE/scale", "in range", "saturated", "SNR dB")
    rows = [(file, *_layer_cells(layer)) for file, report in reports.items() for layer in report.layers]
    skipped = [f"{file}: not measured: {', '.join(r.not_measured)}" for file, r in reports.items() if r.not_measured]
    return "\n".join([table(head, rows, left=3), *skipped]) + (
        "\nAn RMSE/scale near 0.289 = 1/sqrt 12 is healthy. If it is higher and values are saturated, the range is\n"
        "too narrow for some inputs; a tuned export saturates deliberately where it cannot change the predicted\n"
        "class. If the in-range error is higher, suspect the kernel."
    )


def _layer_cells(e: LayerError) -> tuple[str, ...]:
    errors = f"{e.rmse_over_scale:.3f}", f"{e.in_range_rmse_over_scale:.3f}", f"{e.saturated:.2%}"
    return e.layer[-40:], e.operator, f"{e.scale:.4g}", *errors, number(e.snr_db, ".1f")
