"""Taking ruled lines off a page, and leaving the strokes that cross them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgedigits.pictures.connected_components import Mask

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
        if min(page.shape) < 20:
            continue
        for number in range(LINES):
            line = find_line(drawn) if drawn[:, :2].any() and drawn[:, -2:].any() else None
            if line is None:
                break
            page = page if number else page.copy()
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
    start, end = _spans(drawn, line)
    thick = end - start
    usual = int(np.median(thick[thick > 0])) if thick.any() else 1
    rows = np.arange(height)[:, None]
    span = (rows >= start - 1) & (rows <= end)  # and a pixel at each side, in which it fades out
    if usual <= max(2, THIN * height):
        page[span & (thick <= usual + 1)] = 0.0
    drawn[span] = False  # found once is enough, also where it was left


def _spans(drawn: Mask, line: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The ink around the line's row of each column, its first pixel and the one past its last, both (w,).

    Where that pixel is not drawn, the row above counts for it; where that is not drawn either, the two are the row.
    """
    height, width = drawn.shape
    columns, rows = np.arange(width), np.arange(height)[:, None]
    above = np.maximum(line - 1, 0)
    line = np.where(drawn[line, columns] | ~drawn[above, columns], line, above)
    blank_above = np.maximum.accumulate(np.where(drawn, -1, rows), axis=0)
    blank_below = np.minimum.accumulate(np.where(drawn, height, rows)[::-1], axis=0)[::-1]
    start, end = blank_above[line, columns] + 1, blank_below[line, columns]
    inked = drawn[line, columns]
    return np.where(inked, start, line), np.where(inked, end, line)
