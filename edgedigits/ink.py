"""Finding the digit's ink on a page: background, ink, blobs, the marks that are the digit.

All of it works on a small copy of the picture, at most ``WORK`` pixels long, so that its cost is the same for any
camera. Brightness and ink are float32, 0 to 1; a box is (top, left, bottom, right), the last two past its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgedigits.errors import InputError
from edgedigits.paper import background, noise_of
from edgedigits.tensors import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

Mask: TypeAlias = "npt.NDArray[np.bool_]"
Box: TypeAlias = tuple[int, int, int, int]
WORK = 128
LEAST_CONTRAST = 0.08  # of full scale; below it, paper grain and JPEG noise pass for ink
NOISES = 4.5  # ink differs from the background by so many standard deviations of the noise
DRAWN = 0.3  # of the strongest ink: from here on a pixel belongs to a stroke
SPECK = 0.02  # of the main blob's ink: less is dust
LEAST = 0.15  # of the picture's longer side: so long a blob is a digit rather than what a frame or a border leaves
NEAR = 0.3  # of the main blob's longer side: a blob so close may be a part of the same digit


@dataclass(frozen=True)
class Blob:
    """A connected piece of ink: its box, how many pixels, and its ink, the sum of theirs."""

    label: int
    box: Box
    pixels: int
    mass: float

    @property
    def longest(self) -> int:
        """The longer side of the box, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True)
class Found:
    """What was found: ``ink`` (h, w), all but the digit erased; its ``mask`` and ``box``; the count of digits."""

    ink: FloatArray
    mask: Mask
    box: Box
    marks: int


def find_ink(gray: FloatArray) -> FloatArray:
    """Brightness (h, w) -> ink, same shape, 0 on the background and 1 where it is strongest; below 0 on the other side.

    Raises:
        InputError: nothing differs enough from the background.
    """
    difference = gray - background(gray)
    cubes = float(
        (difference * difference * difference).sum()
    )  # few pixels and far off: that is the ink; many and near: the paper
    ink = difference if cubes > 0 else -difference
    noise = noise_of(gray)
    strong = float(ink.max())
    if strong < max(LEAST_CONTRAST, NOISES * noise):
        raise InputError(
            "no digit found: the picture is all of one brightness; draw darker, or on a plainer background"
        )
    ink /= strong
    return ink


def label(mask: Mask) -> npt.NDArray[np.int32]:
    """(h, w) -> the number of each pixel's connected piece (8 neighbors) from 1 on, 0 outside.

    Runs of a row are joined to the runs of the row above that they touch. Source: A. Rosenfeld and J. L. Pfaltz,
    "Sequential operations in digital picture processing" (1966), on runs in place of pixels.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = run = parent[parent[run]]
        return run

    runs = list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
    above = 0
    for this, (row, start, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] < start):
            above += 1
        other = above
        while runs[other][0] == row - 1 and runs[other][1] <= end:
            parent[root(other)] = root(this)
            other += 1
    labels = np.zeros(mask.shape, dtype=np.int32)
    numbers: dict[int, int] = {}
    for this, (row, start, end) in enumerate(runs):
        labels[row, start:end] = numbers.setdefault(root(this), len(numbers) + 1)
    return labels


def blobs_of(labels: npt.NDArray[np.int32], ink: FloatArray) -> list[Blob]:
    """The pieces of a labelled picture, those with the most ink first."""
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns]
    count = int(labels.max())
    mass = np.bincount(numbers, ink[rows, columns], count + 1)
    pixels = np.bincount(numbers, minlength=count + 1)
    low = np.full((2, count + 1), 1 << 30)
    high = np.zeros((2, count + 1), dtype=np.int64)
    for axis, at in enumerate((rows, columns)):
        np.minimum.at(low[axis], numbers, at)
        np.maximum.at(high[axis], numbers, at + 1)
    found = [
        Blob(n, (int(low[0, n]), int(low[1, n]), int(high[0, n]), int(high[1, n])), int(pixels[n]), float(mass[n]))
        for n in range(1, count + 1)
    ]
    return sorted(found, key=lambda blob: -blob.mass)


def find_digit(gray: FloatArray) -> Found:
    """Brightness (h, w), at most ``WORK`` on a side -> the digit's ink; InputError if there is none."""
    from edgedigits.lines import without_lines

    if min(gray.shape) < 3 or max(gray.shape) < 8:
        raise InputError("no digit found: the picture is too small or too narrow to hold one; give a larger one")
    ink = find_ink(gray)
    ink = np.minimum(ink / float(ink[ink > 0.5].mean()), 1.0)  # a body of ink is 1, not its one darkest pixel
    noise = noise_of(ink)
    least = max(DRAWN, NOISES * noise)
    ink = without_lines(ink, max(DRAWN / 2, NOISES * noise))
    labels = label(ink > min(least, 0.6))
    blobs = blobs_of(labels, ink)
    if not blobs:
        raise InputError("no digit found: only a line or noise; draw darker, or on a plainer background")
    main, parts, marks = choose(blobs, ink.shape)
    mask = np.isin(labels, [blob.label for blob in (main, *parts)])
    near = grown(mask, 2)
    floor = 2.0 * noise if noise > 0.01 else 0.0
    kept = np.where(near & (ink > floor), ink, np.float32(0.0))
    return Found(kept, mask, box_of(mask), marks)


def choose(blobs: list[Blob], shape: tuple[int, ...]) -> tuple[Blob, list[Blob], int]:
    """The main blob, those that belong to it, and how many digits there seem to be.

    A frame around the page is dropped; and what touches the picture's border is the table or the next word rather than
    the digit, if there is anything else.
    """
    frame = next((blob for blob in blobs if _is_frame(blob.box, shape)), None)
    framed = [blob for blob in blobs if frame and _holds(frame.box, blob.box) and blob.longest >= LEAST * max(shape)]
    if framed:
        blobs = [blob for blob in blobs if blob is not frame]
    largest = blobs[0]
    inside = [blob for blob in blobs if not _touches(blob.box, shape)]
    if inside and inside[0].longest >= LEAST * max(shape) and inside[0].mass >= 0.05 * largest.mass:
        largest = inside[0]
    else:
        inside = blobs
    parts, others = [], 0
    for blob in inside:
        if blob is largest or blob.mass < SPECK * largest.mass:
            continue
        if apart(largest.box, blob.box, largest.longest):
            others += blob.longest >= 0.45 * largest.longest
        else:
            parts.append(blob)
    return largest, parts, 1 + others


def apart(main: Box, other: Box, size: int) -> bool:
    """Whether two boxes are of two digits: far from each other, or side by side and of like height."""
    down, across = (max(main[i], other[i]) - min(main[i + 2], other[i + 2]) for i in (0, 1))
    if max(down, across) > NEAR * size:
        return True
    alike = min(main[2] - main[0], other[2] - other[0]) >= 0.6 * max(main[2] - main[0], other[2] - other[0])
    return across >= 1 and alike


def _touches(box: Box, shape: tuple[int, ...]) -> bool:
    return box[0] == 0 or box[1] == 0 or box[2] == shape[0] or box[3] == shape[1]


def _is_frame(box: Box, shape: tuple[int, ...]) -> bool:
    return box[2] - box[0] > 0.8 * shape[0] and box[3] - box[1] > 0.8 * shape[1]


def _holds(outer: Box, inner: Box) -> bool:
    return outer[0] < inner[0] and outer[1] < inner[1] and inner[2] < outer[2] and inner[3] < outer[3]


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask widened by so many pixels to all sides."""
    for axis in (0, 1):
        wide = mask.copy()
        for step in range(1, pixels + 1):
            for one, other in ((slice(step, None), slice(None, -step)), (slice(None, -step), slice(step, None))):
                to, of = (
                    ((one, slice(None)), (other, slice(None)))
                    if axis == 0
                    else ((slice(None), one), (slice(None), other))
                )
                wide[to] |= mask[of]
        mask = wide
    return mask


def box_of(mask: Mask) -> Box:
    """The smallest box that holds all that is true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
