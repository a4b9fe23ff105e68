"""Numbers as short text with three significant digits."""

from __future__ import annotations


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


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'s' * (number != 1)}"
