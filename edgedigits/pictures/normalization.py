"""The digit's ink to MNIST's geometry: its box scaled into 20x20, centered by mass in 28x28.

Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits": aspect kept, antialiased,
center of mass at the center of the field. Measured on the data set: the box is exactly 20 on its longer side, and the
whole pixel by which it is moved is round(14 - center) on both axes, in all 5000 digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgedigits.pictures.connected_components import Box, Mask
from edgedigits.pictures.segmentation import RIM, box_of
from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = TypeVar("Array", FloatArray, "npt.NDArray[np.bool_]")

MNIST_SIDE, BOX, MIDDLE = 28, 20, 14.0
STROKE = (2.1, 3.9)  # pixels of MNIST: about 85 in 100 of the data set's digits have strokes between these
AIM = (2.6, 3.6)  # what a thinner and a thicker pen are brought to
ROOM = 4  # pixels around the ink, for a box that reaches past its picture
EDGE = 0.5  # of the strongest ink: where a stroke ends, between two pixels


def stroke_width(mask: Mask, longest: int) -> float:
    """The mean width of the strokes, in pixels of MNIST (the digit is ``BOX`` long): twice the area by the outline.

    The outline is the count of pixel sides on it times pi / 4, its expected share whatever the direction (Cauchy and
    Crofton).
    """
    padded = framed(mask, 1)
    sides = int(np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(padded[:, 1:] != padded[:, :-1]))
    return 2 * np.count_nonzero(mask) / (sides * np.pi / 4) * BOX / longest


def with_usual_pen(ink: FloatArray, mask: Mask, box: Box) -> tuple[FloatArray, Box]:
    """Ink whose strokes are much thinner or thicker than the data set's -> widened or narrowed, and its box.

    By a maximum or minimum over a square; parts of a pixel by a mean of two squares. Others come back as they are. The
    box is in the pixels of what comes back, which is no more than the digit and what is around it.
    """
    longest = max(box[2] - box[0], box[3] - box[1])
    width = stroke_width(mask, longest)
    aim = AIM[0] if width < STROKE[0] else AIM[1] if width > STROKE[1] else width
    reach = abs(aim - width) / 2 * longest / BOX
    if reach < 0.1:
        return ink, box
    widest = np.maximum if aim > width else np.minimum
    top, left, bottom, right = box
    room = int(reach) + 2
    padded = framed(ink[max(0, top - RIM) : bottom + RIM, max(0, left - RIM) : right + RIM], room)
    less = filtered(padded, int(reach), widest)
    more = filtered(less, 1, widest)
    share = np.float32(reach % 1)
    drawn = (1 - share) * less + share * more
    return drawn, box_of(drawn > 0.3 * drawn.max())


def filtered(image: FloatArray, reach: int, widest: np.ufunc) -> FloatArray:
    """The maximum or minimum over a square of ``2 * reach + 1`` pixels around each pixel; 0 lies around the image.

    Each step doubles what a pixel stands for, so that a square of any size takes few of them; Pillow's rank filters
    sort every square.
    """
    image = framed(image, reach)
    covers = 0  # what each pixel stands for so far: itself and so many behind it, each way
    while covers < 2 * reach:
        step = min(covers + 1, 2 * reach - covers)
        image = widest(image[step:], image[:-step])
        image = widest(image[:, step:], image[:, :-step])
        covers += step
    return image


def framed(image: Array, pixels: int) -> Array:
    """The image with so many pixels of 0 at each side; NumPy's own ``pad`` takes four times as long."""
    height, width = image.shape
    wide: Array = np.zeros((height + 2 * pixels, width + 2 * pixels), dtype=image.dtype)
    wide[pixels : pixels + height, pixels : pixels + width] = image
    return wide


def measure(ink: FloatArray, box: Box) -> tuple[float, float, float, float]:
    """The box's edges to a part of a pixel: where the ink passes ``EDGE``, between the pixels' centers."""
    top, left, bottom, right = box
    crop = ink[top:bottom, left:right]
    edges = []
    for axis, start, size in ((1, top, bottom - top), (0, left, right - left)):
        profile = crop.max(axis=axis)
        edges.append((start + _rise(profile), start + size - _rise(profile[::-1])))
    (top_at, bottom_at), (left_at, right_at) = edges
    return top_at, left_at, max(bottom_at, top_at + 1), max(right_at, left_at + 1)


def _rise(profile: FloatArray) -> float:
    """How far from the start of a profile its ink begins."""
    level = EDGE * float(profile.max())
    first = int(np.argmax(profile >= level))
    before = float(profile[first - 1]) if first else 0.0
    here = float(profile[first])
    return first - (here - level) / max(here - before, 1e-6)


def fit(ink: FloatArray, box: tuple[float, float, float, float]) -> FloatArray:
    """Ink within a box -> the digit, its longer side 20 pixels; 1 where it is strongest."""
    from PIL import Image

    top, left, bottom, right = box
    scale = BOX / max(bottom - top, right - left)
    height, width = (max(1, round(n * scale)) for n in (bottom - top, right - left))
    room = framed(ink, ROOM)
    limits = (float(room.shape[1]), float(room.shape[0]))
    x0, x1 = (min(max(at + ROOM, 0.0), limits[0]) for at in (left, right))
    y0, y1 = (min(max(at + ROOM, 0.0), limits[1]) for at in (top, bottom))
    kind = Image.Resampling.HAMMING if scale < 1 else Image.Resampling.BICUBIC
    digit = np.asarray(Image.fromarray(room).resize((width, height), kind, box=(x0, y0, x1, y1)))
    digit = np.clip(digit, 0.0, 1.0)
    return digit / max(float(digit.max()), 1e-6)


def place(digit: FloatArray) -> FloatArray:
    """The digit, at most 20x20 -> (28, 28), moved by whole pixels until its center of mass is nearest to (14, 14)."""
    height, width = digit.shape
    mass = float(digit.sum())
    rows, columns = (digit.sum(axis=axis) for axis in (1, 0))
    top = round(MIDDLE - float(rows @ np.arange(height)) / mass)
    left = round(MIDDLE - float(columns @ np.arange(width)) / mass)
    top, left = min(max(top, 0), MNIST_SIDE - height), min(max(left, 0), MNIST_SIDE - width)
    page = np.zeros((MNIST_SIDE, MNIST_SIDE), dtype=np.float32)
    page[top : top + height, left : left + width] = digit
    return page
