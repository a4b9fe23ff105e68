"""The contract of a bundle's model: the shape and values of its input, what a picture becomes, and what it outputs."""

# Without `from __future__ import annotations`: the schema reads them, and parsing them again costs at every start.

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from edgedigits.runtimes.tensors import AnyArray, FloatArray, check_shape
from edgedigits.system.limits import RefusedError, short
from edgedigits.system.schema import ANY_SIGN, Check, within

PICTURES, ORDERS, OUTPUTS = ("digits", "plain", "none"), ("rows", "columns"), ("logits", "softmax", "sigmoid")
DIGITS_SIDE = 20  # pixels of the course's digits, which are (400,) column by column


def one_of(names: tuple[str, ...]) -> Check:
    """A check that a value is one of the names."""

    def check(value: Any) -> None:
        if value not in names:
            raise RefusedError(f"is {short(value)!r}, expected {', '.join(names[:-1])} or {names[-1]}")

    return check


@dataclass(frozen=True)
class Contract:
    """What the model takes and gives.

    Attributes:
        shape: of one input, without the batch axis.
        minimum, mean, maximum: of the values in X; None in a bundle that is older than this contract.
        pictures: how a picture becomes an input. ``digits``: segmented and normalized like the course's digits;
            ``plain``: resized to the input's height and width, gray or RGB, and divided by ``scale``; ``none``: never.
        order: how the pixels of a picture are laid out, by ``rows`` or by ``columns`` (transposed).
        scale: of ``plain``: what pixel values, 0 to 255, are divided by.
        output: ``logits``, ``softmax`` (probabilities of the classes) or ``sigmoid`` (one: that of the second class).
    """

    shape: Annotated[tuple[int, ...], check_shape]
    minimum: Annotated[float | None, ANY_SIGN] = None
    mean: Annotated[float | None, ANY_SIGN] = None
    maximum: Annotated[float | None, ANY_SIGN] = None
    pictures: Annotated[str, one_of(PICTURES)] = "none"
    order: Annotated[str, one_of(ORDERS)] = "rows"
    scale: Annotated[float, within(1e-6, 1e6)] = 1.0
    output: Annotated[str, one_of(OUTPUTS)] = "logits"

    def __post_init__(self) -> None:
        if self.pictures == "digits" and (self.shape != (DIGITS_SIDE**2,) or self.order != "columns"):
            raise RefusedError(f"reads digits into inputs of shape {self.shape} by {self.order}, not (400,) by columns")
        if self.pictures == "plain" and self.picture_shape is None:
            raise RefusedError(f"reads plain pictures into inputs of shape {self.shape}, which hold none")

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels (1 or 3) of the picture that an input can hold; None if it holds none."""
        shape = self.shape
        if len(shape) == 1:
            side = math.isqrt(shape[0])
            return (side, side, 1) if side > 1 and side * side == shape[0] else None
        if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)):
            height, width = shape[1::-1] if self.order == "columns" else shape[:2]
            return height, width, 1 if len(shape) == 2 else shape[2]
        return None

    @property
    def outputs(self) -> str:
        """The output in words, for messages and tables."""
        return {"logits": "logits", "softmax": "softmax probabilities", "sigmoid": "one sigmoid"}[self.output]

    @property
    def pixel_scale(self) -> float:
        """What the pixel values of a picture, 0 to 255, are divided by to give the values of an input."""
        return 255.0 if self.pictures == "digits" else self.scale

    def to_input(self, x: AnyArray) -> AnyArray:
        """Upright gray pictures (height, width) or (m, height, width) as inputs; other arrays unchanged."""
        size = self.picture_shape
        if self.pictures == "none" or size is None or size[2] != 1 or x.ndim not in (2, 3):
            return x
        if x.shape[-2:] != size[:2] or x.shape[x.ndim - len(self.shape) :] == self.shape:
            return x
        pictures = x.swapaxes(-2, -1) if self.order == "columns" else x
        return pictures.reshape(*x.shape[:-2], *self.shape)

    def to_picture(self, x: AnyArray) -> AnyArray:
        """An input as an upright picture, (height, width) or (height, width, 3); any dtype.

        RefusedError if inputs of this shape are no pictures.
        """
        size = self.picture_shape
        if size is None or x.shape != self.shape:
            raise RefusedError(f"an input of shape {x.shape} cannot be shown as a picture")
        height, width, channels = size
        sides = (width, height) if self.order == "columns" else (height, width)
        picture = x.reshape(*sides, *([channels] if channels == 3 else []))
        return picture.swapaxes(0, 1) if self.order == "columns" else picture

    def from_picture(self, picture: AnyArray) -> AnyArray:
        """An upright picture, as :meth:`to_picture` returns it, as a C-contiguous input; any dtype."""
        upright = picture.swapaxes(0, 1) if self.order == "columns" else picture
        return np.ascontiguousarray(upright.reshape(self.shape))

    def scores(self, outputs: FloatArray) -> FloatArray:
        """Outputs (..., n) as one score per class, (..., classes), whose argmax is the predicted class.

        A sigmoid p becomes (0.5, p), whose quanta and ties are those of p.
        """
        if self.output != "sigmoid":
            return outputs
        return np.concatenate([np.full_like(outputs, 0.5), outputs], axis=-1)

    def probabilities(self, outputs: FloatArray, temperature: float = 1.0) -> FloatArray:
        """Outputs (..., n) as probabilities of the classes, (..., classes); logits are divided by the temperature."""
        if self.output == "logits":
            return softmax(outputs / np.float32(temperature))
        return outputs if self.output == "softmax" else np.concatenate([1 - outputs, outputs], axis=-1)


def softmax(logits: FloatArray) -> FloatArray:
    """Logits (..., classes) to probabilities of the same shape, without overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: FloatArray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def contract_of_schema_1(facts: dict[str, Any]) -> dict[str, Any]:
    """The contract of a manifest that is older than contracts: logits, and digits where one of our recipes made it."""
    try:
        shape, recipe = list(facts["artifacts"][0]["input"]["shape"]), facts["training"].get("recipe")
    except (LookupError, TypeError, AttributeError):  # the artifacts' own check says what is wrong
        return {"shape": []}
    digits = shape == [DIGITS_SIDE**2] and recipe in ("notebook", "robust")
    return {"shape": shape, **({"pictures": "digits", "order": "columns"} if digits else {})}
