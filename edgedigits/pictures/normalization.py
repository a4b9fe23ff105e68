"""Bring a digit's ink to the geometry of the data set: 20x20 in 28x28, centered by mass, then shrunk to 20x20.

Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits". In all 5000 digits of the
data set the box's longer side is exactly 20, and the digit is shifted by whole pixels: round(14 - center) on both axes.
"""

from __future__ import annotations

import functools

import numpy as np

from edgedigits.bundle.dataset import SIDE, to_row
from edgedigits.pictures.geometry import BOX_SIDE, MNIST_SIDE, RIM, Box, bounding_box, pad, square_filter, stroke_width
from edgedigits.pictures.segmentation import Digit
from edgedigits.runtimes.tensors import AnyArray, FloatArray

USUAL_STROKES = (2.1, 3.9)  # pixels of 28: the strokes of about 85 % of the data set's digits lie in this range
ADJUSTED_STROKES = (2.6, 3.6)  # the width to which thinner and thicker strokes are brought
MARGIN = 4  # pixels around the ink, for a box that extends beyond its picture
EDGE_LEVEL = 0.5  # of the strongest ink: where a stroke ends


def normalize(digit: Digit) -> FloatArray | None:
    """The digit in 28x28, float32, 0 to 1, with strokes of the usual width; None if it is already in 20x20."""
    if digit.normalized:
        return np.clip(digit.ink, 0.0, 1.0) if len(digit.ink) == MNIST_SIDE else None
    ink, box = adjust_strokes(digit)
    return center_by_mass(scale_to_box(ink, subpixel_box(ink, box)))


def adjust_strokes(digit: Digit) -> tuple[FloatArray, Box]:
    """Dilate thin strokes and erode thick ones, by fractions of a pixel too; return the cropped ink and its box."""
    top, left, bottom, right = digit.box
    longest = max(bottom - top, right - left)
    width = stroke_width(digit.mask) * BOX_SIDE / longest
    thin, thick = width < USUAL_STROKES[0], width > USUAL_STROKES[1]
    aim = ADJUSTED_STROKES[0] if thin else ADJUSTED_STROKES[1] if thick else width
    reach = abs(aim - width) / 2 * longest / BOX_SIDE
    if reach < 0.1:
        return digit.ink, digit.box
    extreme = np.maximum if aim > width else np.minimum
    cropped = digit.ink[max(0, top - RIM) : bottom + RIM, max(0, left - RIM) : right + RIM]
    less = square_filter(pad(cropped, int(reach) + 2), int(reach), extreme)
    more = square_filter(less, 1, extreme)
    share = np.float32(reach % 1)
    adjusted = (1 - share) * less + share * more
    return adjusted, bounding_box(adjusted > 0.3 * adjusted.max())


def subpixel_box(ink: FloatArray, box: Box) -> tuple[float, float, float, float]:
    """The box's edges to a fraction of a pixel: where the ink crosses ``EDGE_LEVEL`` between pixel centers."""
    top, left, bottom, right = box
    crop = ink[top:bottom, left:right]
    rows, columns = crop.max(axis=1), crop.max(axis=0)
    top_edge, bottom_edge = top + _rise(rows), bottom - _rise(rows[::-1])
    left_edge, right_edge = left + _rise(columns), right - _rise(columns[::-1])
    return top_edge, left_edge, max(bottom_edge, top_edge + 1), max(right_edge, left_edge + 1)


def _rise(profile: FloatArray) -> float:
    """How far from the start of a profile its ink begins."""
    level = EDGE_LEVEL * float(profile.max())
    first = int(np.argmax(profile >= level))
    before = float(profile[first - 1]) if first else 0.0
    here = float(profile[first])
    return first - (here - level) / max(here - before, 1e-6)


def scale_to_box(ink: FloatArray, box: tuple[float, float, float, float]) -> FloatArray:
    """Scale the ink within a box so that its longer side is 20 pixels and its strongest ink is 1."""
    from PIL import Image

    top, left, bottom, right = box
    scale = BOX_SIDE / max(bottom - top, right - left)
    height, width = (max(1, round(n * scale)) for n in (bottom - top, right - left))
    padded = pad(ink, MARGIN)
    x0, x1 = (min(max(at + MARGIN, 0.0), float(padded.shape[1])) for at in (left, right))
    y0, y1 = (min(max(at + MARGIN, 0.0), float(padded.shape[0])) for at in (top, bottom))
    kind = Image.Resampling.HAMMING if scale < 1 else Image.Resampling.BICUBIC
    digit = np.asarray(Image.fromarray(padded).resize((width, height), kind, box=(x0, y0, x1, y1)))
    digit = np.clip(digit, 0.0, 1.0)
    return digit / max(float(digit.max()), 1e-6)


def center_by_mass(digit: FloatArray) -> FloatArray:
    """Place a digit of at most 20x20 in (28, 28), shifted by whole pixels so that its mass is centered at (14, 14)."""
    height, width = digit.shape
    mass = float(digit.sum())
    rows, columns = (digit.sum(axis=axis) for axis in (1, 0))
    top = round(MNIST_SIDE / 2 - float(rows @ np.arange(height)) / mass)
    left = round(MNIST_SIDE / 2 - float(columns @ np.arange(width)) / mass)
    top, left = min(max(top, 0), MNIST_SIDE - height), min(max(left, 0), MNIST_SIDE - width)
    page = np.zeros((MNIST_SIDE, MNIST_SIDE), dtype=np.float32)
    page[top : top + height, left : left + width] = digit
    return page


def to_input(image: FloatArray) -> FloatArray:
    """A 28x28 image, or one that is already 20x20, -> the model's input, (400,) float32 column-major."""
    small = shrink(image) if len(image) == MNIST_SIDE else image
    return np.ascontiguousarray(to_row(small), dtype=np.float32)


def shrink(images: AnyArray) -> AnyArray:
    """(..., 28, 28) -> (..., 20, 20) float64: the antialiased bicubic resize that made X.npy; overshoots by 0.13."""
    weights = _resize_weights()
    return weights @ images @ weights.T


def to_rows(images: AnyArray) -> FloatArray:
    """MNIST images (m, 28, 28) uint8 -> the model's inputs (m, 400) float32, each image column-major."""
    return shrink(images / 255.0).transpose(0, 2, 1).reshape(len(images), -1).astype(np.float32)


@functools.cache
def _resize_weights() -> AnyArray:
    """The (20, 28) float64 matrix of an antialiased bicubic resize along one axis, edges repeated; row sums are 1.

    Source: R. G. Keys, "Cubic convolution interpolation for digital image processing" (1981), a = -0.5.
    """
    scale = SIDE / MNIST_SIDE
    centers = (np.arange(SIDE) + 0.5) / scale - 0.5
    taps = np.floor(centers - 2 / scale)[:, None] + np.arange(int(np.ceil(4 / scale)) + 2)
    t = np.abs(scale * (centers[:, None] - taps))
    near = (1.5 * t - 2.5) * t * t + 1.0
    far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    kernel = np.where(t <= 1, near, np.where(t <= 2, far, 0.0))
    kernel /= kernel.sum(axis=1, keepdims=True)
    weights = np.zeros((SIDE, MNIST_SIDE))
    np.add.at(weights, (np.arange(SIDE)[:, None], np.clip(taps, 0, MNIST_SIDE - 1).astype(int)), kernel)
    return weights
