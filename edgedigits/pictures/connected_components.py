"""The connected pieces of a mask, kept as runs of its rows: a stroke has some hundred runs and thousands of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

Mask: TypeAlias = "npt.NDArray[np.bool_]"
Box: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Blob:
    """A connected piece of ink: its number, its box, how many pixels, and its ink, the sum of theirs."""

    label: int
    box: Box
    pixels: int
    mass: float

    @property
    def longest(self) -> int:
        """The longer side of the box, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True)
class Pieces:
    """The runs of a mask's rows, each (n,) int64, in the order of reading, and the piece that each belongs to.

    Attributes:
        shape: of the mask, (h, w).
        starts, ends: a run's first pixel and the one past its last, counted row by row with one more pixel a row.
        numbers: of the piece, from 0 on.
        count: how many pieces there are.
    """

    shape: tuple[int, int]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    count: int

    def mask_of(self, labels: list[int]) -> Mask:
        """Where these pieces are, (h, w)."""
        height, width = self.shape
        chosen = np.zeros(self.count, dtype=bool)
        chosen[labels] = True
        runs = chosen[self.numbers]
        steps = np.zeros(height * (width + 1), dtype=np.int8)
        steps[self.starts[runs]] = 1
        steps[self.ends[runs]] = -1
        drawn: Mask = np.cumsum(steps, dtype=np.int8, out=steps).view(np.bool_).reshape(height, width + 1)[:, :-1]
        return drawn

    def blobs(self, ink: FloatArray) -> list[Blob]:
        """Each piece's box and ink, (h, w); those with the most ink first."""
        if not self.count:
            return []
        stride = self.shape[1] + 1
        rows = self.starts // stride
        left, right = self.starts - rows * stride, self.ends - rows * stride
        bounds = np.stack([self.starts - rows, self.ends - rows], axis=1).ravel()
        within = bounds if bounds[-1] < ink.size else bounds[:-1]  # the last run may end with the picture
        mass = np.bincount(self.numbers, np.add.reduceat(ink.ravel(), within)[::2], self.count)
        pixels = np.bincount(self.numbers, right - left, self.count)
        low = np.full((2, self.count), 1 << 30)
        high = np.zeros((2, self.count), dtype=np.int64)
        for axis, first, last in ((0, rows, rows + 1), (1, left, right)):
            np.minimum.at(low[axis], self.numbers, first)
            np.maximum.at(high[axis], self.numbers, last)
        facts = zip(*low.tolist(), *high.tolist(), pixels.tolist(), mass.tolist(), strict=True)
        found = [Blob(label, fact[:4], int(fact[4]), fact[5]) for label, fact in enumerate(facts)]
        return sorted(found, key=lambda blob: -blob.mass)


def forks_of(mask: Mask) -> int:
    """How often strokes part and meet on the way down a mask (h, w): a run that touches n runs of a next row is n - 1.

    Runs that end at once do not count: they are a stroke's rough edge. A plain stroke has no forks, whatever its
    length. Source: the junctions of T. Pavlidis's line adjacency graph, "Algorithms for Graphics and Image Processing"
    (1982).
    """
    starts, ends, stride = _runs(mask)
    forks = 0
    for step in (-stride, stride):
        first, past = np.searchsorted(ends, starts + step), np.searchsorted(starts, ends + step, side="right")
        going_on = np.concatenate([[0], np.cumsum(past > first)])
        forks += int(np.maximum(going_on[np.maximum(past, first)] - going_on[first] - 1, 0).sum())
    return forks


def _runs(mask: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """The runs' starts and ends as in :class:`Pieces`, and from a pixel to the one below it."""
    height, width = mask.shape
    stride = width + 1  # a pixel that is not drawn ends each row
    flat = np.zeros(height * stride + 1, dtype=bool)
    flat[1:].reshape(height, stride)[:, :-1] = mask
    bounds = np.flatnonzero(flat[1:] != flat[:-1])
    return bounds[::2], bounds[1::2], stride


def pieces_of(mask: Mask) -> Pieces:
    """The connected pieces (8 neighbors) of a mask (h, w).

    Runs of a row are joined to the runs of the row above that they touch. Source: A. Rosenfeld and J. L. Pfaltz,
    "Sequential operations in digital picture processing" (1966), on runs in place of pixels.
    """
    starts, ends, stride = _runs(mask)
    first = np.searchsorted(ends, starts - stride).tolist()
    last = np.searchsorted(starts, ends - stride, side="right").tolist()
    parent = list(range(len(starts)))  # never a later run than the run itself
    for this, (above, past) in enumerate(zip(first, last, strict=True)):
        if above >= past:
            continue
        root = above
        while parent[root] != root:
            root = parent[root]
        for run in range(above + 1, past):
            other = run
            while parent[other] != other:
                other = parent[other]
            root, other = min(root, other), max(root, other)
            parent[other] = root
        parent[above] = parent[this] = root
    count = 0
    for run, to in enumerate(parent):
        if to == run:
            parent[run] = count
            count += 1
        else:
            parent[run] = parent[to]
    return Pieces((mask.shape[0], mask.shape[1]), starts, ends, np.array(parent, dtype=np.int64), count)
