"""Decode a picture, to gray where asked: formats, orientation, transparency, color, limits on its size."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import AnyArray, FloatArray

MAX_PIXELS = 50_000_000
LARGE = 2000  # pixels: a JPEG at least twice as long is decoded at a half, a fourth or an eighth of its size
# No other format is loaded: for EPS, Pillow would start Ghostscript and run the program in the file.
FORMATS = {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP"}
EXIF_ORIENTATION = 0x0112
COLOR_SIDE = 64  # pixels: the side of the small copy in which the ink's color is determined


def load_gray(source: Path | BinaryIO | Image.Image | AnyArray) -> Image.Image:
    """A picture's first frame, upright, as mode L, or F in 0 to 255 for more than 8 bits; InputError if unreadable."""
    return load(source, to_gray)


def load(
    source: Path | BinaryIO | Image.Image | AnyArray, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """A picture's first frame, upright and converted; a file, a seekable stream, a Pillow image or a uint8 array.

    InputError if it is unreadable or too large.
    """
    # Given a path as text, Pillow imports only the plugin for its suffix.
    file: Any = str(source) if isinstance(source, Path) else source
    try:
        if isinstance(file, np.ndarray):
            file = from_array(file)
        if isinstance(file, Image.Image):
            return convert(_upright(file))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                if picture.format not in FORMATS:
                    raise UnidentifiedImageError
                longest = max(picture.size)
                if longest >= 2 * LARGE:
                    picture.draft(None, (picture.width * LARGE // longest, picture.height * LARGE // longest))
                return convert(_upright(picture))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError("no such file; give the path of a picture") from None
    except PermissionError:
        raise InputError("permission denied; change the file's permissions") from None
    except UnidentifiedImageError:
        raise InputError("not a supported picture; expected PNG, JPEG, BMP, GIF, TIFF or WebP") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise InputError(f"more than {MAX_PIXELS:,} pixels or too large for the memory; make it smaller") from None
    # What Pillow's decoders raise on damaged files.
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError) as cause:
        raise InputError(f"cannot be read as a picture ({cause}); save it again as PNG") from cause


def from_array(pixels: AnyArray) -> Image.Image:
    """A uint8 array (height, width), or with 1, 3 or 4 channels, as a picture; InputError for any other."""
    shape = pixels.shape[:2] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels.shape
    if pixels.dtype != np.uint8 or 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise InputError(
            f"an array of {pixels.dtype} of shape {pixels.shape} is no picture; expected uint8, (height, width) or "
            "(height, width, 3)"
        )
    return Image.fromarray(np.ascontiguousarray(pixels.reshape(shape)))


def _upright(picture: Image.Image) -> Image.Image:
    """The loaded picture, turned as its EXIF orientation says; DecompressionBombError if it is too large."""
    if picture.width * picture.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if picture.getexif().get(EXIF_ORIENTATION, 1) == 1:
        picture.load()
        return picture
    from PIL import ImageOps

    return ImageOps.exif_transpose(picture)


def has_transparency(picture: Image.Image) -> bool:
    """Whether parts of the picture may be transparent."""
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def to_gray(picture: Image.Image) -> Image.Image:
    """Convert any mode to L, or to F in 0 to 255 for more than 8 bits."""
    transparent = has_transparency(picture)
    if picture.mode == "L" and not transparent:
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":
        return deep_to_gray(picture)
    if picture.mode == "1":
        return picture.convert("L")
    if transparent:
        return _transparent_to_gray(picture.convert("RGBA"))
    return _color_to_gray(picture.convert("RGB"))


def deep_to_gray(picture: Image.Image) -> Image.Image:
    """More than 8 bits -> F. Full scale is the bit depth of the largest value, or 1 for fractions."""
    deep = np.nan_to_num(np.asarray(picture, dtype=np.float64), posinf=0.0, neginf=0.0)
    deep = deep - min(float(deep.min()), 0.0)
    largest = float(deep.max())
    full = 2.0 ** max(8, int(largest).bit_length()) - 1 if largest > 1 else 1.0
    return Image.fromarray((deep * (255.0 / full)).astype(np.float32))


def _transparent_to_gray(picture: Image.Image) -> Image.Image:
    """RGBA -> L, light ink on a black background, and any other on white."""
    small = np.asarray(picture.resize((COLOR_SIDE, COLOR_SIDE), Image.Resampling.BOX), dtype=np.float64)
    alpha = small[..., 3]
    brightness = float((small[..., :3].mean(axis=-1) * alpha).sum()) / max(alpha.sum(), 1e-6)
    background = Image.new("RGBA", picture.size, "black" if brightness > 127.5 and alpha.min() < 128 else "white")
    return _color_to_gray(Image.alpha_composite(background, picture).convert("RGB"))


def _color_to_gray(picture: Image.Image) -> Image.Image:
    """RGB -> L along the main axis of its colors, slow variation subtracted, so red ink shows on green paper."""
    copy = picture.resize((COLOR_SIDE, COLOR_SIDE), Image.Resampling.BOX)
    colors = _channels(copy)
    if np.abs(colors - colors.mean(axis=0)).max() < 12:
        return picture.convert("L")
    slow = copy.resize((4, 4), Image.Resampling.BOX).resize(copy.size, Image.Resampling.BILINEAR)
    fast = colors - _channels(slow)
    axis = np.linalg.eigh((fast @ fast.T).astype(np.float64))[1][:, -1]
    axis *= (1 if axis.sum() >= 0 else -1) / np.abs(axis).sum()
    offset = -255.0 * float(axis[axis < 0].sum())
    red, green, blue = (float(share) for share in axis)
    return picture.convert("L", (red, green, blue, offset))


def _channels(picture: Image.Image) -> FloatArray:
    """Red, green and blue, (3, pixels) float32, 0 to 255, each contiguous for speed."""
    return np.ascontiguousarray(np.asarray(picture).reshape(-1, 3).T, dtype=np.float32)
