"""Bring a picture to the size and the values that a model was trained on, without looking at what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from edgedigits.bundle.contract import Contract
from edgedigits.errors import InputError
from edgedigits.pictures.decoding import deep_to_gray, has_transparency, load
from edgedigits.runtimes.tensors import AnyArray, FloatArray

PAGE_SIZE = 400  # pixels: pictures are downscaled to at most this for drawing


@dataclass(frozen=True)
class PlainPicture:
    """A picture and the model's input that it became."""

    page: FloatArray  # the whole picture, downscaled, (h, w) or (h, w, 3), 0 to 1
    row: FloatArray  # the model's input
    implausibilities: tuple[str, ...] = ()  # any picture may show what the model knows


def read_plain(source: Path | BinaryIO | Image.Image | AnyArray, contract: Contract) -> PlainPicture:
    """Load a picture, resize it to the model's height and width, and scale its values; InputError if unreadable."""
    size = contract.picture_shape
    if size is None:
        raise InputError(f"inputs of shape {contract.shape} hold no picture")
    height, width, channels = size
    picture = load(source, partial(to_plain, channels=channels))
    # Pillow widens the filter when it shrinks a picture; at the same size no pixel changes.
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    page = picture.reduce(-(-max(picture.size) // PAGE_SIZE))
    return PlainPicture(
        np.asarray(page, dtype=np.float32) / np.float32(255.0),
        contract.from_picture(pixels / np.float32(contract.scale)),
    )


def to_plain(picture: Image.Image, channels: int) -> Image.Image:
    """Convert any mode to L, or F in 0 to 255 for more than 8 bits, or RGB (3 channels); transparent parts: white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        gray = deep_to_gray(picture)
        return gray if channels == 1 else gray.convert("L").convert("RGB")
    if has_transparency(picture):
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("L" if channels == 1 else "RGB")
