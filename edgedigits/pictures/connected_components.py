"""Connected components of a mask, as runs of pixels for speed, and which of them form the digit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedigits.pictures.geometry import Box, Integers, Mask
from edgedigits.runtimes.tensors import FloatArray

MIN_MASS = 0.02  # of the main component's ink: less is dust
MIN_LENGTH = 0.15  # of the picture's longer side: a shorter component is a remnant of a frame or border, not a digit
MAX_GAP = 0.3  # of the main component's longer side: a component this close may be part of the same digit


@dataclass(frozen=True)
class Component:
    """A connected component: its label, its bounding box and the sum of its ink."""

    label: int
    box: Box
    mass: float

    @property
    def longest(self) -> int:
        """The longer side of the box, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True)
class ConnectedComponents:
    """The runs of a mask (h, w) in reading order, each array (runs,) int64, and the component of each run."""

    shape: tuple[int, ...]
    starts: Integers  # a run's first pixel, as a flat index into rows of w + 1 pixels
    ends: Integers  # the pixel after a run's last
    labels: Integers  # the component of each run, from 0 to count - 1
    count: int

    def measure(self, ink: FloatArray) -> list[Component]:
        """Each component's box and ink mass, the largest mass first."""
        if not self.count:
            return []
        rows, left = np.divmod(self.starts, self.shape[1] + 1)
        bounds = np.stack([self.starts - rows, self.ends - rows], axis=1).ravel()
        within = bounds if bounds[-1] < ink.size else bounds[:-1]  # reduceat takes no index past the last pixel
        mass = np.bincount(self.labels, np.add.reduceat(ink.ravel(), within)[::2], self.count)
        low = np.full((2, self.count), 1 << 30)
        high = np.zeros((2, self.count), dtype=np.int64)
        for axis, first, last in ((0, rows, rows + 1), (1, left, left + self.ends - self.starts)):
            np.minimum.at(low[axis], self.labels, first)
            np.maximum.at(high[axis], self.labels, last)
        boxes = zip(*low.tolist(), *high.tolist(), strict=True)
        components = map(Component, range(self.count), boxes, mass.tolist())
        return sorted(components, key=lambda component: -component.mass)

    def mask(self, components: list[Component]) -> Mask:
        """Where these components are, (h, w)."""
        height, width = self.shape
        chosen = np.zeros(self.count, dtype=bool)
        chosen[[component.label for component in components]] = True
        runs = chosen[self.labels]
        steps = np.zeros(height * (width + 1), dtype=np.int8)
        steps[self.starts[runs]] = 1
        steps[self.ends[runs]] = -1
        drawn: Mask = np.cumsum(steps, dtype=np.int8, out=steps).view(np.bool_).reshape(height, width + 1)[:, :-1]
        return drawn


def find_components(mask: Mask) -> ConnectedComponents:
    """Label the connected components (8 neighbors) of a mask (h, w): union-find on runs that touch the row above.

    Source: A. Rosenfeld and J. L. Pfaltz, "Sequential operations in digital picture processing" (1966).
    """
    starts, ends, stride = _find_runs(mask)
    first_above = np.searchsorted(ends, starts - stride).tolist()
    past_above = np.searchsorted(starts, ends - stride, side="right").tolist()
    parent = list(range(len(starts)))  # a parent is never a later run than its child
    for run, (first, past) in enumerate(zip(first_above, past_above, strict=True)):
        for above in range(first, past):
            root = above
            while parent[root] != root:
                root = parent[root]
            if root < parent[run]:  # the earlier of the two roots is kept
                root, parent[run] = parent[run], root
            parent[root] = parent[above] = parent[run]
    count = 0
    for run, root in enumerate(parent):
        parent[run] = count if root == run else parent[root]
        count += root == run
    return ConnectedComponents(mask.shape, starts, ends, np.array(parent, dtype=np.int64), count)


def count_junctions(mask: Mask) -> int:
    """How often strokes split and join from top to bottom: a run that touches n runs of the next row counts n - 1.

    Runs that end in the next row are rough edges and do not count. Source: T. Pavlidis's line adjacency graph,
    "Algorithms for Graphics and Image Processing" (1982).
    """
    starts, ends, stride = _find_runs(mask)
    junctions = 0
    for step in (-stride, stride):
        first, past = np.searchsorted(ends, starts + step), np.searchsorted(starts, ends + step, side="right")
        continuing = np.concatenate([[0], np.cumsum(past > first)])
        junctions += int(np.maximum(continuing[np.maximum(past, first)] - continuing[first] - 1, 0).sum())
    return junctions


def _find_runs(mask: Mask) -> tuple[Integers, Integers, int]:
    """The runs' starts and ends as in :class:`ConnectedComponents`, and the distance from a pixel to the one below."""
    height, width = mask.shape
    stride = width + 1  # a blank pixel after each row ends its last run
    flat = np.zeros(height * stride + 1, dtype=bool)
    flat[1:].reshape(height, stride)[:, :-1] = mask
    bounds = np.flatnonzero(flat[1:] != flat[:-1])
    return bounds[::2], bounds[1::2], stride


def select_digit(components: list[Component], shape: tuple[int, ...]) -> tuple[list[Component], int]:
    """The components that form the digit and how many digits there seem to be.

    A frame around the page is dropped, and so is what touches the border if there is another candidate.
    """
    min_length = MIN_LENGTH * max(shape)
    high, wide = 0.8 * shape[0], 0.8 * shape[1]
    frames = [each for each in components if each.box[2] - each.box[0] > high and each.box[3] - each.box[1] > wide]
    if frames and any(_contains(frames[0].box, each.box) and each.longest >= min_length for each in components):
        components = [each for each in components if each is not frames[0]]
    main = components[0]
    inside = [each for each in components if _contains((0, 0, *shape), each.box)]
    if inside and inside[0].longest >= min_length and inside[0].mass >= 0.05 * main.mass:
        components, main = inside, inside[0]
    parts, count = [main], 1
    for each in components:
        if each is main or each.mass < MIN_MASS * main.mass:
            continue
        if _is_another_digit(main, each):
            count += each.longest >= 0.45 * main.longest
        else:
            parts.append(each)
    return parts, count


def _is_another_digit(main: Component, other: Component) -> bool:
    """Whether two components are two digits: far from each other, or side by side and similar in height."""
    one, two = main.box, other.box
    down, across = (max(one[i], two[i]) - min(one[i + 2], two[i + 2]) for i in (0, 1))
    heights = one[2] - one[0], two[2] - two[0]
    return max(down, across) > MAX_GAP * main.longest or (across >= 1 and min(heights) >= 0.6 * max(heights))


def _contains(outer: tuple[int, ...], inner: Box) -> bool:
    return outer[0] < inner[0] and outer[1] < inner[1] and inner[2] < outer[2] and inner[3] < outer[3]
