"""Whether a picture looks like one digit at all: reasons to doubt an answer that lie in the shape, in words.

A network answers for whatever it is given, a scribble too, and often with confidence; so the shape is asked as well:
the digit in 28x28, and a finer view of its ink, in which a tangle has not run together. The limits were chosen on
pictures drawn from the training digits and on drawn scribbles, signs and touching digits (``benchmarks/doubts.py``);
``benchmarks/pictures.py`` counts both anew on digits that no training saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgedigits.pictures.connected_components import Mask, forks_of, pieces_of
from edgedigits.pictures.normalization import BOX, framed, stroke_width
from edgedigits.pictures.segmentation import box_of
from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

DRAWN = 0.4  # of the strongest ink, in 28x28
FINE = 40  # pixels: the digit's longer side in the finer view
FORKS, ABREAST, LENGTH = 21, 1.88, 59.0  # the limits that were fitted; two loops make about 16 forks


@dataclass(frozen=True)
class Shape:
    """What is counted of a digit; lengths are in pixels of MNIST, where the digit is ``BOX`` long.

    Attributes:
        loops: pieces of background that strokes enclose.
        across, down: the most strokes that a row, and a column, meets.
        width: of the strokes.
        aspect: the box's width by its height.
        fill: the share of the box that is ink.
        forks: in the finer view, how often strokes part and join on the way down, across and along both diagonals.
        abreast: in the finer view, the mean count of strokes that a row meets.
        length: in the finer view, of all strokes together: the area by the mean width.
        marks: how many digits there seem to be.
    """

    loops: int
    across: int
    down: int
    width: float
    aspect: float
    fill: float
    forks: int
    abreast: float
    length: float
    marks: int = 1


def shape_of(mnist: FloatArray, ink: FloatArray, marks: int = 1) -> Shape:
    """Count in a digit, (28, 28), and in its ink, of any size and cut out at its box, both 0 to 1."""
    mask = mnist > DRAWN * float(mnist.max())
    padded = framed(mask, 1)
    top, left, bottom, right = box_of(mask)
    height, width = bottom - top, right - left
    fine, turned = _finer(ink)
    upright = fine[2:-2, 2:-2]
    drawn = int(np.count_nonzero(upright)) * (BOX / FINE) ** 2
    met = _met(fine)
    return Shape(
        loops=pieces_of(~padded).count - 1,
        across=int(_met(padded).max()),
        down=int(_met(padded.T).max()),
        width=max(stroke_width(mask, max(height, width)), 0.5),
        aspect=width / height,
        fill=int(np.count_nonzero(mask)) / (height * width),
        forks=forks_of(_stacked(fine, fine.T, turned, turned.T)),
        abreast=int(met.sum()) / max(int(np.count_nonzero(met)), 1),
        length=drawn / max(stroke_width(upright, FINE), 0.5),
        marks=marks,
    )


def _finer(ink: FloatArray) -> tuple[Mask, Mask]:
    """Ink cut out at its box -> where it is drawn, ``FINE`` long and two pixels of nothing around it; and that turned.

    It is turned by 45 degrees, so that the one's columns are the other's diagonals.
    """
    from PIL import Image

    height, width = (max(1, round(side * FINE / max(ink.shape))) for side in ink.shape)
    kind = Image.Resampling.HAMMING if max(ink.shape) > FINE else Image.Resampling.BICUBIC
    levels = np.clip(ink * np.float32(255.0), 0, 255).astype(np.uint8)
    page = Image.new("L", (width + 4, height + 4))
    page.paste(Image.fromarray(levels).resize((width, height), kind), (2, 2))
    turned = page.rotate(45, Image.Resampling.BILINEAR, expand=True)
    return np.asarray(page) > 127, np.asarray(turned) > 127


def _met(mask: Mask) -> npt.NDArray[np.int64]:
    """How many strokes each row of a mask meets, (h,), the mask's first column being empty."""
    met: npt.NDArray[np.int64] = np.count_nonzero(mask[:, 1:] & ~mask[:, :-1], axis=1)
    return met


def _stacked(*masks: Mask) -> Mask:
    """Masks one below the other, so that all are gone through at once; they are empty at their borders."""
    page = np.zeros((sum(len(mask) for mask in masks), max(mask.shape[1] for mask in masks)), dtype=bool)
    top = 0
    for mask in masks:
        page[top : top + len(mask), : mask.shape[1]] = mask
        top += len(mask)
    return page


def shape_doubts(shape: Shape) -> tuple[str, ...]:
    """The reasons why this is no one digit; none if it looks like one."""
    told = {
        f"{shape.marks} marks of like size; crop to one digit": shape.marks > 1,
        "more loops than a digit has": shape.loops > 2,
        "more strokes side by side than a digit has": shape.across > 3 or shape.down > 4 or shape.abreast > ABREAST,
        "strokes that part and meet more often than a digit's": shape.forks > FORKS,
        "longer strokes than a digit's": shape.length > LENGTH,
        "wider than a digit; are there two?": shape.aspect > 1.5,
        "a blot rather than strokes": shape.aspect > 0.6 and (shape.width > 4.6 or shape.fill > 0.62),
    }
    return tuple(reason for reason, holds in told.items() if holds)
