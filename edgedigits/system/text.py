"""Results as plain text: JSON, tables and short numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def to_json(facts: Any) -> str:
    """Format indented JSON with a final newline; ValueError for NaN and infinity."""
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"


def number(value: float | None, spec: str = ",", unit: float = 1) -> str:
    """Format the value in ``unit``; a dash for None."""
    return "-" if value is None else format(value if unit == 1 else value / unit, spec)


def table(head: Sequence[str], rows: Iterable[Sequence[str | int | None]], left: int = 1) -> str:
    """Format rows under a header; the first ``left`` columns are aligned left, the others right.

    A whole number gets thousands separators, and None is a dash.
    """
    cells = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]

    def line(cells: Sequence[str]) -> str:
        parts = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(parts).rstrip()

    return "\n".join([line(head), "  ".join("-" * w for w in widths), *map(line, cells)])


def significant(value: float, unit: float = 1) -> str:
    """The value in ``unit`` with three significant digits, without an exponent."""
    value /= unit
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def duration(ns: float) -> str:
    """Nanoseconds in the largest unit that gives at least 1: ``9.74 µs``."""
    for unit, size in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6)):
        if ns < 999.5 * size:
            return f"{significant(ns, size)} {unit}"
    return f"{significant(ns, 1e9)} s"


def rate(images_per_second: float) -> str:
    """Images per second: ``1.76 M``."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if images_per_second >= 0.9995 * size:
            return f"{significant(images_per_second, size)}{unit}"
    return significant(images_per_second)


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, in the plural (by default with an s) unless it is 1."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
