"""Finding the digit's ink on a page: background, ink, blobs, the marks that are the digit.

All of it works on a small copy of the picture, at most ``WORK`` pixels long, so that its cost is the same for any
camera. Brightness and ink are float32, 0 to 1; a box is (top, left, bottom, right), the last two past its end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedigits.errors import InputError
from edgedigits.pictures.background import background, noise_of
from edgedigits.pictures.connected_components import Blob, Box, Mask, pieces_of
from edgedigits.runtimes.tensors import FloatArray

WORK = 128
LEAST_CONTRAST = 0.08  # of full scale; below it, paper grain and JPEG noise pass for ink
NOISES = 4.5  # ink differs from the background by so many standard deviations of the noise
DRAWN = 0.3  # of the strongest ink: from here on a pixel belongs to a stroke
SPECK = 0.02  # of the main blob's ink: less is dust
LEAST = 0.15  # of the picture's longer side: so long a blob is a digit rather than what a frame or a border leaves
RIM = 2  # pixels around a stroke in which its ink fades out
NEAR = 0.3  # of the main blob's longer side: a blob so close may be a part of the same digit


@dataclass(frozen=True)
class Found:
    """What was found: ``ink`` (h, w), all but the digit erased; its ``mask`` and ``box``; the count of digits."""

    ink: FloatArray
    mask: Mask
    box: Box
    marks: int


def find_ink(gray: FloatArray) -> tuple[FloatArray, float]:
    """Brightness (h, w) -> ink, same shape, 0 on the background and 1 where it is strongest, and the noise on it.

    Ink is below 0 on the background's other side. The noise is a standard deviation, see :func:`noise_of`.

    Raises:
        InputError: nothing differs enough from the background.
    """
    ink = gray - background(gray)
    # Few pixels and far off: that is the ink; many and near: the paper.
    if float(np.einsum("ij,ij,ij->", ink, ink, ink)) <= 0:
        np.negative(ink, out=ink)
    noise = noise_of(gray)
    strong = float(ink.max())
    if strong < max(LEAST_CONTRAST, NOISES * noise):
        raise InputError(
            "no digit found: the picture is all of one brightness; draw darker, or on a plainer background"
        )
    ink /= strong
    return ink, noise / strong


def find_digit(gray: FloatArray) -> Found:
    """Brightness (h, w), at most ``WORK`` on a side -> the digit's ink; InputError if there is none."""
    from edgedigits.pictures.ruled_lines import without_lines

    if min(gray.shape) < 3 or max(gray.shape) < 8:
        raise InputError("no digit found: the picture is too small or too narrow to hold one; give a larger one")
    ink, noise = find_ink(gray)
    body = float(ink[ink > 0.5].mean())  # a body of ink is 1, not its one darkest pixel
    noise /= body
    ink = np.minimum(ink / body, 1.0)
    ink = without_lines(ink, max(DRAWN / 2, NOISES * noise))
    pieces = pieces_of(ink > min(max(DRAWN, NOISES * noise), 0.6))
    blobs = pieces.blobs(ink)
    if not blobs:
        raise InputError("no digit found: only a line or noise; draw darker, or on a plainer background")
    main, parts, marks = choose(blobs, ink.shape)
    mask = pieces.mask_of([blob.label for blob in (main, *parts)])
    box = union([blob.box for blob in (main, *parts)])
    around = tuple(slice(max(0, low - RIM), high + RIM) for low, high in (box[::2], box[1::2]))
    near = grown(mask[around], RIM) & (ink[around] > (2.0 * noise if noise > 0.01 else 0.0))
    kept = np.zeros_like(ink)
    kept[around] = ink[around] * near
    return Found(kept, mask, box, marks)


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


def union(boxes: list[Box]) -> Box:
    """The smallest box that holds them all."""
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def box_of(mask: Mask) -> Box:
    """The smallest box that holds all that is true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
