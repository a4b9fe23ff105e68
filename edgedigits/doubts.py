"""Whether a picture looks like one digit at all: reasons to doubt an answer that lie in the shape, in words.

A network answers for whatever it is given, a scribble too, and often with confidence; so the shape is asked as well.
The limits were chosen on pictures drawn from the training digits, of which they doubt about 2 in 100, and on drawn
scribbles, signs and touching digits, of which the shape alone gives away 7 to 9 in 10; `benchmarks/pictures.py` counts
both anew on digits that no training saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedigits.digit import stroke_width
from edgedigits.ink import box_of
from edgedigits.pieces import pieces_of
from edgedigits.tensors import FloatArray

DRAWN = 0.4  # of the strongest ink, in 28x28


@dataclass(frozen=True)
class Shape:
    """What is counted in MNIST's geometry, (28, 28).

    Attributes:
        loops: pieces of background that strokes enclose.
        across, down: the most strokes that a row, and a column, meets.
        crowded: the share of the rows that meet more than two strokes.
        length: of all strokes together, pixels: the area by the mean width.
        width: of the strokes, pixels.
        aspect: the box's width by its height.
        fill: the share of the box that is ink.
    """

    loops: int
    across: int
    down: int
    crowded: float
    length: float
    width: float
    aspect: float
    fill: float


def shape_of(mnist: FloatArray) -> Shape:
    """Count in a digit, (28, 28), ink from 0 to 1."""
    mask = mnist > DRAWN * float(mnist.max())
    padded = np.pad(mask, 1)
    ink = padded.view(np.int8)
    across, down = ((np.diff(ink, axis=axis) == 1).sum(axis=axis) for axis in (1, 0))
    top, left, bottom, right = box_of(mask)
    height, width = bottom - top, right - left
    pen = max(stroke_width(mask, max(height, width)), 0.5)
    return Shape(
        loops=pieces_of(~padded).count - 1,
        across=int(across.max()),
        down=int(down.max()),
        crowded=float((across > 2).sum()) / height,
        length=float(mask.sum()) / pen,
        width=pen,
        aspect=width / height,
        fill=float(mask.sum()) / (height * width),
    )


def shape_doubts(shape: Shape, marks: int = 1) -> tuple[str, ...]:
    """The reasons why this is no one digit; none if it looks like one. ``marks``: how many digits there seem to be."""
    told = {
        f"{marks} marks of like size; crop to one digit": marks > 1,
        "more loops than a digit has": shape.loops > 2,
        "more strokes side by side than a digit has": shape.across > 3 or shape.down > 4 or shape.crowded > 0.22,
        "longer strokes than a digit's": shape.length > 58,
        "wider than a digit; are there two?": shape.aspect > 1.5 or (shape.aspect > 1.2 and shape.fill > 0.45),
        "a blot rather than strokes": shape.aspect > 0.6 and (shape.width > 4.6 or shape.fill > 0.62),
    }
    return tuple(reason for reason, holds in told.items() if holds)
