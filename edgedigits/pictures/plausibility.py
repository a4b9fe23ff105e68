"""Check whether a picture looks like one digit at all.

A network predicts a digit even for a scribble, often with high confidence. So the shape is checked as well, in 28x28
and in a finer view, where dense strokes stay apart. ``benchmarks/plausibility.py`` fits the limits on training digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from edgedigits.pictures.connected_components import count_junctions, find_components
from edgedigits.pictures.geometry import BOX_SIDE, Integers, Mask, bounding_box, pad, stroke_width
from edgedigits.pictures.segmentation import Digit
from edgedigits.runtimes.tensors import FloatArray

STROKE_LEVEL = 0.4  # of the strongest ink, in 28x28
FINE_SIDE = 40  # pixels: the digit's longer side in the finer view
MAX_JUNCTIONS, MAX_MEAN_CROSSINGS, MAX_STROKE_LENGTH = 21, 1.88, 59.0  # fitted; two loops have about 16 junctions


@dataclass(frozen=True)
class ShapeFeatures:
    """Features of a digit's shape; lengths are in pixels of 28x28, where the digit is 20 long."""

    loops: int  # background areas enclosed by strokes
    row_crossings: int  # the most strokes that a row crosses
    column_crossings: int
    stroke_width: float  # the mean over all strokes
    aspect: float  # the box's width divided by its height
    fill: float  # the share of the box that is ink
    junctions: int  # in the finer view, how often strokes split and join, summed over four directions
    mean_crossings: float  # in the finer view, the mean number of strokes that a row crosses
    stroke_length: float  # in the finer view, the area divided by the mean width
    digits: int  # how many digits there seem to be


def measure_shape(mnist: FloatArray, digit: Digit) -> ShapeFeatures:
    """Measure a digit in 28x28, and its ink in a finer view."""
    mask = mnist > STROKE_LEVEL * float(mnist.max())
    padded = pad(mask, 1)
    top, left, bottom, right = bounding_box(mask)
    height, width = bottom - top, right - left
    fine, rotated = _finer_masks(digit)
    upright = fine[2:-2, 2:-2]
    area = int(np.count_nonzero(upright)) * (BOX_SIDE / FINE_SIDE) ** 2
    crossings = _row_crossings(fine)
    directions = _stack(fine, fine.T, rotated, rotated.T)
    return ShapeFeatures(
        loops=find_components(~padded).count - 1,
        row_crossings=int(_row_crossings(padded).max()),
        column_crossings=int(_row_crossings(padded.T).max()),
        stroke_width=max(stroke_width(mask) * BOX_SIDE / max(height, width), 0.5),
        aspect=width / height,
        fill=int(np.count_nonzero(mask)) / (height * width),
        junctions=count_junctions(directions),
        mean_crossings=int(crossings.sum()) / max(int(np.count_nonzero(crossings)), 1),
        stroke_length=area / max(stroke_width(upright) * BOX_SIDE / FINE_SIDE, 0.5),
        digits=digit.count,
    )


def _finer_masks(digit: Digit) -> tuple[Mask, Mask]:
    """The digit's mask, ``FINE_SIDE`` long with a border of two pixels, and the same rotated by 45 degrees."""
    top, left, bottom, right = digit.box
    ink = digit.ink[top:bottom, left:right]
    height, width = (max(1, round(side * FINE_SIDE / max(ink.shape))) for side in ink.shape)
    kind = Image.Resampling.HAMMING if max(ink.shape) > FINE_SIDE else Image.Resampling.BICUBIC
    levels = np.clip(ink * np.float32(255.0), 0, 255).astype(np.uint8)
    page = Image.new("L", (width + 4, height + 4))
    page.paste(Image.fromarray(levels).resize((width, height), kind), (2, 2))
    rotated = page.rotate(45, Image.Resampling.BILINEAR, expand=True)
    return np.asarray(page) > 127, np.asarray(rotated) > 127


def _row_crossings(mask: Mask) -> Integers:
    """How many strokes each row of a mask crosses, (h,); the mask's first column is empty."""
    crossings: Integers = np.count_nonzero(mask[:, 1:] & ~mask[:, :-1], axis=1)
    return crossings


def _stack(*masks: Mask) -> Mask:
    """Put masks with empty borders below each other, to process them at once."""
    page = np.zeros((sum(len(mask) for mask in masks), max(mask.shape[1] for mask in masks)), dtype=bool)
    top = 0
    for mask in masks:
        page[top : top + len(mask), : mask.shape[1]] = mask
        top += len(mask)
    return page


def implausibilities(shape: ShapeFeatures) -> tuple[str, ...]:
    """The reasons why this is not exactly one digit; none if it looks like one."""
    crossings = shape.row_crossings > 3 or shape.column_crossings > 4 or shape.mean_crossings > MAX_MEAN_CROSSINGS
    checks = {
        f"{shape.digits} marks of similar size; crop to one digit": shape.digits > 1,
        "more loops than a digit has": shape.loops > 2,
        "more strokes side by side than a digit has": crossings,
        "more stroke junctions than a digit has": shape.junctions > MAX_JUNCTIONS,
        "longer strokes than a digit has": shape.stroke_length > MAX_STROKE_LENGTH,
        "wider than a digit; maybe there are two": shape.aspect > 1.5,
        "a blob rather than strokes": shape.aspect > 0.6 and (shape.stroke_width > 4.6 or shape.fill > 0.62),
    }
    return tuple(reason for reason, holds in checks.items() if holds)
