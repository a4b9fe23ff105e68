"""What is not one digit is said to be so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgedigits.answers import LEAST, UNCLEAR, doubts
from edgedigits.doubts import shape_doubts, shape_of
from edgedigits.images import look_at
from edgedigits.tensors import AnyArray

Lines = list[list[tuple[int, int]]]
GRID: Lines = [[(a, 30), (a, 170)] for a in (40, 80, 120, 160)] + [[(30, a), (170, a)] for a in (40, 80, 120, 160)]
COMB: Lines = [[(30, 40), (40, 160), (60, 40), (75, 160), (95, 40), (110, 160), (130, 40), (145, 160), (165, 40)]]
CROSSED_BOX: Lines = [[(40, 40), (160, 40), (160, 160), (40, 160), (40, 40), (160, 160)], [(160, 40), (40, 160)]]


def drawn(lines: Lines, pen: int = 10) -> Image.Image:
    page = Image.new("L", (200, 200), 255)
    for line in lines:
        ImageDraw.Draw(page).line(line, fill=0, width=pen, joint="curve")
    return page


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (GRID, "more loops than a digit has"),
        (COMB, "more strokes side by side than a digit has"),
        (GRID, "longer strokes than a digit's"),
        (CROSSED_BOX, "more loops than a digit has"),
        ([[(20, 100), (180, 100)]], "wider than a digit; are there two?"),
    ],
)
def test_scribbles(lines: Lines, reason: str) -> None:
    assert reason in look_at(drawn(lines)).doubts


def test_a_blot() -> None:
    page = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(page).ellipse((50, 45, 150, 155), fill=0)
    assert "a blot rather than strokes" in look_at(page).doubts


def test_several_digits(unseen: AnyArray) -> None:
    page = np.zeros((28, 84), dtype=np.uint8)
    page[:, :28], page[:, 56:] = unseen[22], unseen[33]
    told = look_at(Image.fromarray(page).resize((420, 140), Image.Resampling.BICUBIC)).doubts
    assert told[0] == "2 marks of like size; crop to one digit"


def test_digits_are_seldom_doubted(unseen: AnyArray) -> None:
    """Of the training digits, on which the limits were chosen, about 2 in 100."""
    pictures = [Image.fromarray(digit).resize((140, 140), Image.Resampling.BICUBIC) for digit in unseen]
    assert sum(bool(look_at(picture).doubts) for picture in pictures) <= 6


def test_counts() -> None:
    """Two rings, one over the other, as in an 8."""
    mnist = np.zeros((28, 28), dtype=np.float32)
    mnist[4:24, 8:18] = 1.0
    mnist[6:13, 10:16] = mnist[15:22, 10:16] = 0.0
    shape = shape_of(mnist)
    assert (shape.loops, shape.across, shape.down, shape.crowded) == (2, 2, 3, 0.0)
    assert shape.aspect == 0.5
    assert shape.fill == pytest.approx((200 - 84) / 200)
    assert shape_doubts(shape) == ()
    assert shape_doubts(replace(shape, aspect=1.6, fill=0.3)) == ("wider than a digit; are there two?",)
    assert shape_doubts(replace(shape, aspect=1.3, fill=0.5)) == ("wider than a digit; are there two?",)
    assert shape_doubts(replace(shape, aspect=1.3, fill=0.3)) == ()


def test_probabilities() -> None:
    assert doubts([LEAST, 1 - LEAST]) == ()
    assert doubts([LEAST - 0.01, 1.01 - LEAST]) == (UNCLEAR,)
    assert doubts([1.0, 0.0], ("a reason",)) == ("a reason",)
