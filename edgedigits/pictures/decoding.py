"""Picture files to one gray picture: formats, orientation, transparency, color, sizes that are too large."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
LARGE = 2000  # pixels: a JPEG whose longer side has twice as many is unpacked at a half, a fourth or an eighth
# No other is loaded: for EPS, Pillow would start Ghostscript, and run the program that such a picture is.
FORMATS = frozenset(
    {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP"}
)
ORIENTATION = 0x0112  # the tag of EXIF
COLORS = 64  # pixels of the copy in which the ink's color is looked for


def load_gray(source: Path | BinaryIO, name: str) -> Image:
    """Open a picture and give it gray and upright: Pillow's mode L, or F in 0 to 255 for more than 8 bits.

    Of a picture with several frames, the first is taken.

    Raises:
        InputError: no such file, not a picture, damaged, or too many pixels; the line begins with ``name``.
    """
    from PIL import Image, UnidentifiedImageError

    # Given a path as text, Pillow loads the format of that suffix and no other.
    file = str(source) if isinstance(source, Path) else source
    too_many = f"{name}: {{}}, at most {MAX_PIXELS:,} are read; make it smaller"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                if picture.format not in FORMATS:
                    raise InputError(f"{name}: {picture.format} is not read; save it as PNG")
                longest = max(picture.size)
                if longest >= 2 * LARGE:
                    picture.draft(None, (picture.width * LARGE // longest, picture.height * LARGE // longest))
                if picture.width * picture.height > MAX_PIXELS:
                    raise InputError(too_many.format(f"{picture.width}x{picture.height} pixels"))
                return to_gray(upright(picture))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; give the path of a picture") from None
    except PermissionError:
        raise InputError(f"{name}: may not be read; change its permissions, or read it as its owner") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture that can be read; expected PNG, JPEG or BMP") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(too_many.format("too many pixels")) from None
    except MemoryError:
        raise InputError(f"{name}: too large for this machine's memory; make it smaller") from None
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError) as cause:
        raise InputError(f"{name}: cannot be read as a picture ({cause}); save it again as PNG") from cause


def upright(picture: Image) -> Image:
    """Turned as its EXIF orientation says; loaded."""
    if picture.getexif().get(ORIENTATION, 1) == 1:
        picture.load()
        return picture
    from PIL import ImageOps

    return ImageOps.exif_transpose(picture)


def to_gray(picture: Image) -> Image:
    """Any mode -> L, or F in 0 to 255."""
    if picture.mode == "L" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":
        return _deep_to_gray(picture)
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return _transparent_to_gray(picture.convert("RGBA"))
    return color_to_gray(picture.convert("RGB"))


def _deep_to_gray(picture: Image) -> Image:
    """More than 8 bits: full scale is what the bits that the largest value needs can hold; of fractions it is 1."""
    from PIL import Image

    deep = np.nan_to_num(np.asarray(picture, dtype=np.float64), posinf=0.0, neginf=0.0)
    deep = deep - min(float(deep.min()), 0.0)
    largest = float(deep.max())
    full = 2.0 ** max(8, int(largest).bit_length()) - 1 if largest > 1 else 1.0
    return Image.fromarray((deep * (255.0 / full)).astype(np.float32))


def _transparent_to_gray(picture: Image) -> Image:
    """RGBA on a sheet of the other brightness than what is drawn: black ink on white, white ink on black."""
    from PIL import Image

    small = np.asarray(picture.resize((COLORS, COLORS), Image.Resampling.BOX), dtype=np.float64)
    cover = small[..., 3].sum()
    light = float((small[..., :3].mean(axis=-1) * small[..., 3]).sum()) / max(cover, 1e-6)
    sheet = Image.new("RGBA", picture.size, "black" if light > 127.5 and small[..., 3].min() < 128 else "white")
    return color_to_gray(Image.alpha_composite(sheet, picture).convert("RGB"))


def color_to_gray(picture: Image) -> Image:
    """RGB -> L along the direction in which the colors vary most: red ink on green paper of the same brightness shows.

    That is the first principal axis of the colors of a small copy, after what varies slowly is taken away.
    """
    from PIL import Image

    copy = picture.resize((COLORS, COLORS), Image.Resampling.BOX)
    colors = _planes(copy)
    if np.abs(colors - colors.mean(axis=0)).max() < 12:
        return picture.convert("L")
    slow = copy.resize((4, 4), Image.Resampling.BOX).resize(copy.size, Image.Resampling.BILINEAR)
    quick = colors - _planes(slow)
    axis = np.linalg.eigh((quick @ quick.T).astype(np.float64))[1][:, -1]
    axis *= (1 if axis.sum() >= 0 else -1) / np.abs(axis).sum()
    offset = -255.0 * float(axis[axis < 0].sum())
    red, green, blue = (float(share) for share in axis)
    return picture.convert("L", (red, green, blue, offset))


def _planes(picture: Image) -> FloatArray:
    """The values of red, green and blue, (3, pixels) float32, 0 to 255; a color by itself is quicker to go through."""
    return np.ascontiguousarray(np.asarray(picture).reshape(-1, 3).T, dtype=np.float32)
