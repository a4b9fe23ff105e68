"""From a picture file to the model's input: decoding, segmentation, normalization, plausibility."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edgedigits.errors import InputError
from edgedigits.pictures.decoding import load_gray
from edgedigits.pictures.geometry import Box
from edgedigits.pictures.normalization import normalize, to_input
from edgedigits.pictures.plausibility import ShapeFeatures, implausibilities, measure_shape
from edgedigits.pictures.segmentation import Digit, segment
from edgedigits.runtimes.tensors import AnyArray, FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Preprocessed:
    """The result of each step; brightness and ink are float32, 0 to 1."""

    page: FloatArray  # the brightness of the whole picture, downscaled
    part: Box  # of the page in which the digit was segmented
    digit: Digit
    mnist: FloatArray | None  # the digit in the data set's geometry, (28, 28); None for a normalized 20x20 picture
    row: FloatArray  # the model's input, (400,) float32 column-major, light ink on dark
    shape: ShapeFeatures | None  # None for a normalized 20x20 picture

    @property
    def implausibilities(self) -> tuple[str, ...]:
        """The reasons why this may not be one digit."""
        return implausibilities(self.shape) if self.shape else ()


def preprocess(source: Path | BinaryIO | Image | AnyArray, name: str | None = None) -> Preprocessed:
    """Load a picture (as :func:`load_gray` does) and bring the digit on it into the data set's geometry.

    InputError, which starts with the name (by default the path), if it cannot be read or shows no digit.
    """
    try:
        picture = load_gray(source)
        page, part, digit = segment(picture)
    except InputError as error:
        raise InputError(f"{source if name is None else name}: {error}") from error.__cause__
    mnist = normalize(digit)
    row = to_input(digit.ink if mnist is None else mnist)
    shape = None if mnist is None else measure_shape(mnist, digit)
    return Preprocessed(page, part, digit, mnist, row, shape)
