"""Pictures to model inputs, by the geometry of the data set: picture -> ink -> 28x28 -> 20x20 -> (400,).

MNIST fits each digit's box into 20x20, keeping its aspect, and centers it by mass in 28x28 (LeCun et al., the MNIST
page); the course then shrank 28x28 to 20x20. Both steps are repeated here, so that a drawing meets the model as its
training images did.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np

from edgedigits.bundle.dataset import SIDE, to_row
from edgedigits.errors import InputError
from edgedigits.pictures.connected_components import Box, Mask
from edgedigits.pictures.normalization import BOX, MIDDLE, MNIST_SIDE, fit, measure, place, with_usual_pen
from edgedigits.pictures.plausibility import Shape, shape_doubts, shape_of
from edgedigits.pictures.segmentation import DRAWN, WORK, Found, box_of, find_digit, find_ink
from edgedigits.runtimes.tensors import AnyArray, FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

Image64: TypeAlias = "npt.NDArray[np.float64]"
SHEET = 0.72  # of its box is filled: not a digit but the paper that it is on
CLOSE = 46  # pixels: where the digit is smaller on the small copy, its part of the picture is looked at again


@dataclass(frozen=True)
class Look:
    """What was made of a picture, step by step; brightness and ink are float32, 0 to 1.

    Attributes:
        page: the whole picture's brightness, made small.
        part: the part of it that was looked at closely, as a box in it; all of it, or around the digit.
        gray: the part's brightness, made small, (h, w).
        mask: where the digit's ink is, (h, w).
        box: the digit's box in it, (top, left, bottom, right) in pixels.
        mnist: the digit in MNIST's geometry, (28, 28); None for a picture that already was 20x20.
        row: the model's input, (400,) float32 column-major, light ink on dark.
        shape: what was counted of the digit's strokes; None for a picture that already was 20x20.
    """

    page: FloatArray
    part: Box
    gray: FloatArray
    mask: Mask
    box: Box
    mnist: FloatArray | None
    row: FloatArray
    shape: Shape | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why this may be no one digit, in words; see :mod:`edgedigits.pictures.plausibility`."""
        return shape_doubts(self.shape) if self.shape else ()


def read_picture(source: Path | BinaryIO) -> FloatArray:
    """A picture of any size, dark on light or light on dark -> the model's input, (400,) float32; see :func:`look`."""
    return look(source).row


def look(source: Path | BinaryIO, name: str | None = None) -> Look:
    """Open a picture, find the digit on it and bring it into the data set's geometry.

    Args:
        source: a file, or a stream that can seek.
        name: what an error calls it; None for the path.

    Raises:
        InputError: no such file, not a picture, too large, or nothing drawn on it; one line that begins with the name.
    """
    from edgedigits.pictures.decoding import load_gray

    called = str(source) if name is None else name
    gray = load_gray(source, called)
    try:
        return look_at(gray)
    except InputError as error:
        raise InputError(f"{called}: {error}") from None


def look_at(picture: Image) -> Look:
    """A gray picture (Pillow's mode L, or F in 0..255) -> the digit in the data set's geometry; InputError if none."""
    if picture.size in ((SIDE, SIDE), (MNIST_SIDE, MNIST_SIDE)):
        ready = _as_it_is(to_array(picture))
        if ready:
            return ready
    page, found = _find(picture)
    gray, marks = page, found.marks
    part = whole = (0, 0, picture.width, picture.height)
    for _ in range(2):  # the sheet of paper, then the digit on it
        closer = _closer(part, found)
        if closer is None:
            break
        try:
            gray, found = _find(picture.crop(closer))
        except InputError:  # no sheet with a digit, but a blot
            break
        part = closer
        marks = max(marks, found.marks)
    ink, box = with_usual_pen(found.ink, found.mask, found.box)
    mnist = place(fit(ink, measure(ink, box)))
    scale = max(page.shape) / max(whole)
    left, top, right, bottom = (round(at * scale) for at in part)
    shape = shape_of(mnist, _cut(found.ink, found.box), marks)
    return Look(page, (top, left, bottom, right), gray, found.mask, found.box, mnist, to_input(shrink(mnist)), shape)


def _as_it_is(gray: FloatArray) -> Look | None:
    """A 28x28 or 20x20 picture that already has the data set's geometry, else None.

    In all of the data set the center of mass lies within half a pixel of (14, 14), and the box is 20 long; a pixel more
    of either is allowed for what saving did to it.
    """
    ink, _ = find_ink(gray)
    side = len(ink)
    seen = ink * (ink > 0.1)
    mass, scale = float(seen.sum()), MNIST_SIDE / side
    center = [(float(seen.sum(axis=axis) @ np.arange(side)) / mass + 0.5) * scale - 0.5 for axis in (1, 0)]
    mask = ink > DRAWN
    box = box_of(mask)
    longest = max(box[2] - box[0], box[3] - box[1]) * scale
    if max(abs(at - MIDDLE) for at in center) > 1.2 or not BOX - 4 <= longest <= BOX + 1.5:
        return None
    whole = (0, 0, side, side)
    if side == SIDE:
        return Look(gray, whole, gray, mask, box, None, to_input(ink))
    mnist = np.clip(ink, 0.0, 1.0)
    return Look(gray, whole, gray, mask, box, mnist, to_input(shrink(mnist)), shape_of(mnist, _cut(mnist, box)))


def _cut(ink: FloatArray, box: Box) -> FloatArray:
    top, left, bottom, right = box
    return ink[top:bottom, left:right]


def _find(picture: Image) -> tuple[FloatArray, Found]:
    """The picture's brightness, small enough to work on, and the digit on it."""
    factor = -(-max(picture.size) // WORK)  # rounded up
    gray = to_array(picture.reduce(factor) if factor > 1 else picture)
    return gray, find_digit(gray)


def _closer(part: Box, found: Found) -> Box | None:
    """What to look at again, or None: a sheet of paper on a table, or a digit small on its page.

    ``part`` is the part of the picture in which something was found, and so is the result: (left, top, right, bottom)
    in the picture's pixels, as Pillow has it.
    """
    height, width = found.ink.shape
    left, top, right, bottom = part
    scale = max(right - left, bottom - top) / max(height, width)
    y0, x0, y1, x1 = found.box
    high, wide = y1 - y0, x1 - x0
    if found.mask.sum() > SHEET * high * wide and min(high, wide) > 0.3 * max(height, width):
        room = -0.03 * min(high, wide)
    elif scale > 1 and max(high, wide) < CLOSE:
        room = max(3.0, 0.35 * max(high, wide))
    else:
        return None
    return (
        max(left, left + int((x0 - room) * scale)),
        max(top, top + int((y0 - room) * scale)),
        min(right, left + int((x1 + room) * scale)),
        min(bottom, top + int((y1 + room) * scale)),
    )


def to_array(picture: Image) -> FloatArray:
    """A gray picture, 0 to 255 -> brightness (height, width) float32, 0 to 1."""
    return np.asarray(picture, dtype=np.float32) / np.float32(255.0)


def to_input(small: AnyArray) -> FloatArray:
    """An upright (20, 20) image -> the model's input, (400,) float32 column-major."""
    return np.ascontiguousarray(to_row(small), dtype=np.float32)


def shrink(images: AnyArray) -> Image64:
    """(..., 28, 28) -> (..., 20, 20): the very resize that made X.npy from MNIST; values may leave 0..1 by 0.13.

    Bicubic, antialiased, edge pixels repeated; see :func:`resize_weights`.
    """
    weights = resize_weights(MNIST_SIDE, SIDE)
    return weights @ images @ weights.T


def to_rows(images: AnyArray) -> FloatArray:
    """MNIST images (m, 28, 28) uint8 -> the model's inputs (m, 400) float32, each image column by column."""
    small = shrink(images / 255.0)
    return np.ascontiguousarray(small.transpose(0, 2, 1)).reshape(len(small), -1).astype(np.float32)


@functools.cache
def resize_weights(n_in: int, n_out: int) -> Image64:
    """The (n_out, n_in) matrix of an antialiased bicubic resize along one axis, each row's sum 1.

    Source: R. G. Keys, "Cubic convolution interpolation for digital image processing" (1981), a = -0.5, the kernel
    widened by n_in / n_out when shrinking.
    """
    scale = n_out / n_in
    stretch = min(scale, 1.0)
    centers = (np.arange(n_out) + 0.5) / scale - 0.5
    reach = 2 / stretch
    taps = np.floor(centers - reach)[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)
    kernel = _keys_cubic(stretch * (centers[:, None] - taps))
    kernel /= kernel.sum(axis=1, keepdims=True)
    weights = np.zeros((n_out, n_in))
    np.add.at(weights, (np.arange(n_out)[:, None], np.clip(taps, 0, n_in - 1).astype(int)), kernel)
    return weights


def _keys_cubic(t: Image64) -> Image64:
    a = np.abs(t)
    near = (1.5 * a - 2.5) * a * a + 1.0
    far = ((-0.5 * a + 2.5) * a - 4.0) * a + 2.0
    return np.where(a <= 1, near, np.where(a <= 2, far, 0.0))


def to_ascii(row: FloatArray) -> str:
    """The model's input (400,) as 20 lines of text, two characters a pixel, for a look at what it saw."""
    shades = np.array(list(" .:-=+*#%@"))
    levels = np.clip(np.rint(row.reshape(SIDE, SIDE).T * 9), 0, 9).astype(int)
    return "\n".join("".join(line).rstrip() for line in np.repeat(shades[levels], 2, axis=1))
