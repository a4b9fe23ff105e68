"""Remove ruled lines from a page and keep the strokes that cross them."""

from __future__ import annotations

import numpy as np

from edgedigits.pictures.geometry import Integers, Mask
from edgedigits.runtimes.tensors import FloatArray

MAX_RISE = 5  # pixels: the slant of a line over the whole width
MIN_LENGTH = 0.8  # of the width
MAX_THICKNESS = 0.05  # of the height
MAX_LINES = 12  # in each direction


def remove_ruled_lines(ink: FloatArray, threshold: float) -> FloatArray:
    """A copy of the ink (h, w) without thin horizontal and vertical lines that run from border to border.

    A line is erased where the ink is only as thick as the line, so crossing strokes stay. Source: staff line removal by
    N. P. Carter and R. A. Bacon, "Automatic recognition of printed music" (1992).
    """
    cleaned = ink.copy()
    if min(ink.shape) < 20:
        return cleaned
    for page in (cleaned, cleaned.T):
        drawn = page > threshold
        for _ in range(MAX_LINES):
            line = _find_line(drawn)
            if line is None:
                break
            _erase_line(page, drawn, line)
    return cleaned


def _find_line(drawn: Mask) -> Integers | None:
    """The row of the longest line at each column, (w,), or None. Every row is tried at every slant."""
    if not (drawn[:, :2].any() and drawn[:, -2:].any()):
        return None
    height, width = drawn.shape
    columns, longest, line = np.arange(width), MIN_LENGTH * width, None
    thick = drawn.copy()  # two rows at once, because a line may lie between two
    thick[1:] |= drawn[:-1]
    at_row, at_column = np.nonzero(thick)
    for rise in range(-MAX_RISE, MAX_RISE + 1):
        offset = np.rint(rise * (columns / (width - 1) - 0.5)).astype(np.int64)
        counts = np.bincount(at_row - offset[at_column] + MAX_RISE, minlength=height)
        row = int(counts.argmax())
        if counts[row] > longest:
            longest, line = counts[row], np.clip(row - MAX_RISE + offset, 0, height - 1)
    reaches_borders = line is not None and thick[line[:3], columns[:3]].any() and thick[line[-3:], columns[-3:]].any()
    return line if reaches_borders else None


def _erase_line(page: FloatArray, drawn: Mask, line: Integers) -> None:
    """Erase a line from the page where no stroke crosses it, and from ``drawn`` everywhere, both in place."""
    start, end = _ink_spans(drawn, line)
    thickness = end - start
    usual = int(np.median(thickness[thickness > 0]))
    rows = np.arange(len(page))[:, None]
    span = (rows >= start - 1) & (rows <= end)  # one more pixel on each side, where the line fades out
    if usual <= max(2, MAX_THICKNESS * len(page)):
        page[span & (thickness <= usual + 1)] = 0.0
    drawn[span] = False  # so that it is not found again


def _ink_spans(drawn: Mask, line: Integers) -> tuple[Integers, Integers]:
    """The first row of the ink at, or just above, each column of a line and the row after its last, both (w,)."""
    height, width = drawn.shape
    columns, rows = np.arange(width), np.arange(height)[:, None]
    above = np.maximum(line - 1, 0)
    line = np.where(drawn[line, columns] | ~drawn[above, columns], line, above)
    blank_above = np.maximum.accumulate(np.where(drawn, -1, rows), axis=0)
    blank_below = np.minimum.accumulate(np.where(drawn, height, rows)[::-1], axis=0)[::-1]
    inked = drawn[line, columns]
    return np.where(inked, blank_above[line, columns] + 1, line), np.where(inked, blank_below[line, columns], line)
