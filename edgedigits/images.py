"""Pictures to model inputs, by the geometry of the data set: picture -> ink -> 28x28 -> 20x20 -> (400,).

MNIST fits each digit's box into 20x20, keeping its aspect, and centers it by mass in 28x28 (LeCun et al., the MNIST
page); the course then shrank 28x28 to 20x20. Both steps are repeated here, so that a drawing meets the model as its
training images did.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgedigits.dataset import SIDE, to_row
from edgedigits.errors import InputError
from edgedigits.tensors import AnyArray, FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

Image64: TypeAlias = "npt.NDArray[np.float64]"
MNIST_SIDE, BOX = 28, 20
MAX_PIXELS = 50_000_000
LEAST_CONTRAST = 0.08  # of full scale; below it, paper grain and JPEG noise pass for ink


def read_picture(path: Path) -> FloatArray:
    """A PNG, JPEG or BMP file of any size, dark on light or light on dark -> the model's input, (400,) float32.

    Raises:
        InputError: no such file, not a picture, too large, or nothing drawn on it.
    """
    gray = load_gray(path)
    try:
        return to_input(gray)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_gray(path: Path) -> Image64:
    """Open a picture and give its brightness, (height, width) in 0 (black) to 1 (white); transparency is white."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    size = f"{picture.width}x{picture.height}"
                    raise InputError(f"{path}: {size} pixels, at most {MAX_PIXELS:,} are read; make it smaller")
                upright = ImageOps.exif_transpose(picture)
                if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                    upright = upright.convert("RGBA")
                    upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
                if upright.mode.startswith("I") or upright.mode == "F":  # 16 bits and more: the range is the picture's
                    deep: Image64 = np.asarray(upright, dtype=np.float64)
                    return deep / max(65535.0 if deep.max() > 255 else 255.0, float(deep.max()))
                return np.asarray(upright.convert("L"), dtype=np.float64) / 255.0
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a picture") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a picture that can be read; expected PNG, JPEG or BMP") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{path}: too many pixels, at most {MAX_PIXELS:,} are read; make it smaller") from None
    except (OSError, ValueError, SyntaxError, EOFError) as cause:
        raise InputError(f"{path}: cannot be read as a picture ({cause}); save it again as PNG") from cause


def to_input(gray: Image64) -> FloatArray:
    """Brightness (height, width) in 0..1 -> the model's input, (400,) float32 column-major, light ink on dark."""
    ink = find_ink(gray)
    if ink.shape == (SIDE, SIDE):
        small = ink  # already what the model sees
    elif ink.shape == (MNIST_SIDE, MNIST_SIDE):
        small = shrink(ink)  # already MNIST's geometry
    else:
        small = shrink(center(ink))
    return np.ascontiguousarray(to_row(small), dtype=np.float32)


def find_ink(gray: Image64) -> Image64:
    """Brightness -> ink, same shape, 0 on the background and 1 at its strongest.

    The background is the border's median brightness; ink is what differs from it towards the side that differs most.
    """
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    background = float(np.median(border))
    lighter, darker = float(gray.max()) - background, background - float(gray.min())
    contrast = max(lighter, darker)
    if contrast < LEAST_CONTRAST:
        raise InputError(
            "no digit found: the picture is all of one brightness; draw darker, or on a plainer background"
        )
    difference = gray - background if lighter >= darker else background - gray
    return np.clip(difference, 0.0, None) / contrast


def center(ink: Image64) -> Image64:
    """Ink of any size -> (28, 28): the digit's box scaled into 20x20, its center of mass put at the middle."""
    from PIL import Image

    drawn = ink > 0.25
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    crop[crop < 0.1] = 0.0  # what is left of the background
    scale = BOX / max(crop.shape)
    height, width = (max(1, round(n * scale)) for n in crop.shape)
    picture = Image.fromarray(crop.astype(np.float32))
    # A box filter when shrinking averages the pixels, as antialiased pen strokes do; enlarging needs a smooth one.
    kind = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    digit = np.clip(np.asarray(picture.resize((width, height), kind), dtype=np.float64), 0.0, 1.0)
    digit /= max(digit.max(), 1e-6)
    mass = digit.sum()
    at_row = (digit.sum(axis=1) @ np.arange(height)) / mass
    at_column = (digit.sum(axis=0) @ np.arange(width)) / mass
    top = int(np.clip(round((MNIST_SIDE - 1) / 2 - at_row), 0, MNIST_SIDE - height))
    left = int(np.clip(round((MNIST_SIDE - 1) / 2 - at_column), 0, MNIST_SIDE - width))
    page = np.zeros((MNIST_SIDE, MNIST_SIDE))
    page[top : top + height, left : left + width] = digit
    return page


def shrink(images: Image64) -> Image64:
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
