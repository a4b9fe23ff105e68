"""Results as plain text: JSON and tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def to_json(facts: Any) -> str:
    """Format indented JSON with a final newline; ValueError for NaN and infinity."""
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"


def number(value: float | None, spec: str = ",", unit: float = 1) -> str:
    """Format the value in ``unit``; a dash for None."""
    return "-" if value is None else format(value if unit == 1 else value / unit, spec)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Format rows under a header; the first ``left`` columns are aligned left, the others right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(parts).rstrip()

    return "\n".join([line(head), "  ".join("-" * w for w in widths), *(line(row) for row in rows)])
