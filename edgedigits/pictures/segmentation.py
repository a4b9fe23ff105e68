"""Find the digit on a page: background, ruled lines, components, zoom. Brightness and ink are float32, 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgedigits.bundle.dataset import SIDE
from edgedigits.errors import InputError
from edgedigits.pictures.background import NOISE_SIGMAS, subtract_background
from edgedigits.pictures.connected_components import find_components, select_digit
from edgedigits.pictures.geometry import BOX_SIDE, MNIST_SIDE, RIM, Box, Mask, bounding_box, square_filter
from edgedigits.pictures.ruled_lines import remove_ruled_lines
from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

WORKING_SIZE = 128  # pixels: larger pictures are downscaled, so the time does not depend on the camera
STROKE_LEVEL = 0.3  # of the strongest ink: a pixel with more belongs to a stroke
SHEET_FILL = 0.72  # of its bounding box: a component that fills more is a sheet of paper rather than a digit
SMALL_DIGIT = 46  # pixels on the working copy: a smaller digit is segmented again at a higher resolution


@dataclass(frozen=True)
class Digit:
    """A segmented digit; mask and ink are (h, w)."""

    ink: FloatArray  # everything but the digit is erased, unless it is normalized
    mask: Mask
    box: Box
    count: int = 1  # how many digits were found
    normalized: bool = False  # the picture already has the data set's geometry


def segment(picture: Image) -> tuple[FloatArray, Box, Digit]:
    """Find the digit on a gray picture (mode L, or F in 0..255); zoom in on a sheet of paper and then on a small digit.

    Returns the page's brightness (h, w), the part of it that was segmented, and the digit. InputError if there is none.
    """
    page = _to_brightness(picture)
    part = (0, 0, *picture.size)
    digit = _normalized_digit(page) if picture.size in ((SIDE, SIDE), (MNIST_SIDE, MNIST_SIDE)) else None
    if digit:
        return page, part, digit
    digit = find_digit(page)
    count = digit.count
    for _ in range(2):
        closer = _zoom(part, digit)
        if closer is None:
            break
        try:
            digit = find_digit(_to_brightness(picture.crop(closer)))
        except InputError:  # a blot rather than a sheet with a digit
            break
        part = closer
        count = max(count, digit.count)
    scale = max(page.shape) / max(picture.size)
    left, top, right, bottom = (round(at * scale) for at in part)
    return page, (top, left, bottom, right), replace(digit, count=count)


def _to_brightness(picture: Image) -> FloatArray:
    """A gray picture, 0 to 255, as brightness (h, w), 0 to 1, downscaled to the working size."""
    factor = -(-max(picture.size) // WORKING_SIZE)  # rounded up
    small = picture.reduce(factor) if factor > 1 else picture
    return np.asarray(small, dtype=np.float32) / np.float32(255.0)


def _normalized_digit(gray: FloatArray) -> Digit | None:
    """The digit on a 28x28 or 20x20 picture that has the data set's geometry to about a pixel, else None."""
    ink, _ = subtract_background(gray)
    mask = ink > STROKE_LEVEL
    box = bounding_box(mask)
    visible = ink * (ink > 0.1)
    mass, scale = float(visible.sum()), MNIST_SIDE / len(ink)
    center = [(float(visible.sum(axis=axis) @ np.arange(len(ink))) / mass + 0.5) * scale - 0.5 for axis in (1, 0)]
    longest = max(box[2] - box[0], box[3] - box[1]) * scale
    if max(abs(at - MNIST_SIDE / 2) for at in center) > 1.2 or not BOX_SIDE - 4 <= longest <= BOX_SIDE + 1.5:
        return None
    return Digit(ink, mask, box, normalized=True)


def find_digit(gray: FloatArray) -> Digit:
    """Segment a page of at most ``WORKING_SIZE`` pixels; InputError if there is no digit on it."""
    if min(gray.shape) < 3 or max(gray.shape) < 8:
        raise InputError("no digit found: the picture is too small or too narrow; use a larger one")
    ink, noise = subtract_background(gray)
    typical = float(ink[ink > 0.5].mean())  # so that one very dark pixel does not set the scale
    noise /= typical
    ink = remove_ruled_lines(np.minimum(ink / typical, 1.0), max(STROKE_LEVEL / 2, NOISE_SIGMAS * noise))
    components = find_components(ink > min(max(STROKE_LEVEL, NOISE_SIGMAS * noise), 0.6))
    measured = components.measure(ink)
    if not measured:
        raise InputError("no digit found: only a line or noise; use darker ink or a plainer background")
    parts, count = select_digit(measured, ink.shape)
    mask = components.mask(parts)
    tops, lefts, bottoms, rights = zip(*(part.box for part in parts), strict=True)
    box = min(tops), min(lefts), max(bottoms), max(rights)
    around = tuple(slice(max(0, low - RIM), high + RIM) for low, high in (box[::2], box[1::2]))
    near = square_filter(mask[around], RIM, np.maximum) & (ink[around] > (2.0 * noise if noise > 0.01 else 0.0))
    kept = np.zeros_like(ink)
    kept[around] = ink[around] * near
    return Digit(kept, mask, box, count)


def _zoom(part: tuple[int, int, int, int], digit: Digit) -> tuple[int, int, int, int] | None:
    """The part to segment next if the digit is a sheet of paper or small on its page: Pillow boxes, or None."""
    height, width = digit.ink.shape
    left, top, right, bottom = part
    scale = max(right - left, bottom - top) / max(height, width)
    y0, x0, y1, x1 = digit.box
    high, wide = y1 - y0, x1 - x0
    if digit.mask.sum() > SHEET_FILL * high * wide and min(high, wide) > 0.3 * max(height, width):
        margin = -0.03 * min(high, wide)
    elif scale > 1 and max(high, wide) < SMALL_DIGIT:
        margin = max(3.0, 0.35 * max(high, wide))
    else:
        return None
    x0, y0, x1, y1 = (int(at * scale) for at in (x0 - margin, y0 - margin, x1 + margin, y1 + margin))
    return max(left, left + x0), max(top, top + y0), min(right, left + x1), min(bottom, top + y1)
