"""Taking ruled lines off a page, and leaving the strokes that cross them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgedigits.tensors import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgedigits.ink import Mask

SLANT = 5  # pixels that a line may rise over the picture's whole width
ACROSS = 0.8  # of the width: what is drawn so far along one line is ruled
THIN = 0.05  # of the picture's height: a line is no thicker
LINES = 12  # at most, each way


def without_lines(ink: FloatArray, least: float) -> FloatArray:
    """Ink (h, w) without the thin lines that run from border to border, level or upright.

    A line is erased where the ink is no higher than the line is thick; where a stroke crosses, it stays, as when staff
    lines are taken off sheet music: N. P. Carter and R. A. Bacon, "Automatic recognition of printed music" (1992).
    """
    for turned in (False, True):
        page = ink.T if turned else ink
        drawn = page > least
        if min(page.shape) < 20 or not (drawn[:, :2].any() and drawn[:, -2:].any()):
            continue
        page = page.copy()
        for _ in range(LINES):
            line = find_line(drawn)
            if line is None:
                break
            erase(page, drawn, line)
        ink = page.T if turned else page
    return ink


def find_line(drawn: Mask) -> npt.NDArray[np.int64] | None:
    """The row of the strongest line at each column, or None; every row is tried at every slant."""
    height, width = drawn.shape
    columns = np.arange(width)
    best, found = ACROSS * width, None
    thick = drawn.copy()  # two rows at once, since a line may lie between two
    thick[1:] |= drawn[:-1]
    at_row, at_column = np.nonzero(thick)
    for rise in range(-SLANT, SLANT + 1):
        offset = np.rint(rise * (columns / (width - 1) - 0.5)).astype(np.int64)
        counts = np.bincount(at_row - offset[at_column] + SLANT, minlength=height)
        row = int(counts.argmax())
        if counts[row] > best:
            best, found = counts[row], np.clip(row - SLANT + offset, 0, height - 1)
    if found is None:
        return None
    ends = thick[found, columns]
    return found if ends[:3].any() and ends[-3:].any() else None


def erase(page: FloatArray, drawn: Mask, line: npt.NDArray[np.int64]) -> None:
    """Erase one line from ``page`` and ``drawn``, in place, where it is by itself."""
    height = len(page)
    spans = [_span(drawn[:, x], int(y)) for x, y in enumerate(line)]
    thickness = [end - start for start, end in spans if end > start]
    usual = int(np.median(thickness)) if thickness else 1
    for x, (start, end) in enumerate(spans):
        if usual <= max(2, THIN * height) and end - start <= usual + 1:
            page[max(0, start - 1) : end + 1, x] = 0.0
        drawn[max(0, start - 1) : end + 1, x] = False  # found once is enough, also where it was left


def _span(column: Mask, row: int) -> tuple[int, int]:
    """The ink around a row of a column, its first pixel and the one past its last; the row above counts as the row."""
    if not column[row]:
        row = row - 1 if row and column[row - 1] else row
    if not column[row]:
        return row, row
    start = end = row
    while start > 0 and column[start - 1]:
        start -= 1
    while end < len(column) and column[end]:
        end += 1
    return start, end
