"""What is not one digit is said to be so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgedigits.pictures.plausibility import ABREAST, FORKS, LENGTH, Shape, shape_doubts, shape_of
from edgedigits.pictures.predictions import LEAST, UNCLEAR, doubts
from edgedigits.pictures.preprocessing import look_at
from edgedigits.runtimes.tensors import AnyArray, FloatArray

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
        (GRID, "strokes that part and meet more often than a digit's"),
        ([[(20, 100), (180, 100)]], "wider than a digit; are there two?"),
    ],
)
def test_scribbles(lines: Lines, reason: str) -> None:
    assert reason in look_at(drawn(lines)).doubts


def shape(picture: Image.Image) -> Shape:
    found = look_at(picture).shape
    assert found
    return found


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


def eight() -> FloatArray:
    """Two rings, one over the other, as in an 8, in 28x28."""
    mnist = np.zeros((28, 28), dtype=np.float32)
    mnist[4:24, 8:18] = 1.0
    mnist[6:13, 10:16] = mnist[15:22, 10:16] = 0.0
    return mnist


def test_counts() -> None:
    mnist = eight()
    shape = shape_of(mnist, mnist[4:24, 8:18])
    assert (shape.loops, shape.across, shape.down, shape.marks) == (2, 2, 3, 1)
    assert shape.aspect == 0.5
    assert shape.fill == pytest.approx((200 - 84) / 200)
    assert shape.abreast == pytest.approx((14 * 2 + 6) / 20, rel=0.03)  # one stroke where a ring is closed, else two
    # Along the middle of strokes two wide; an outline all level and upright is taken for pi / 4 of its length.
    assert shape.length == pytest.approx((2 * 18 + 3 * 8) * np.pi / 4, rel=0.1)
    # On the way down each ring parts once and meets once; so on the way across and, but for its corners, aslant.
    assert shape.forks == 4 * 4
    assert shape_doubts(replace(shape, length=40.0)) == ()
    assert shape_doubts(replace(shape, length=40.0, aspect=1.6)) == ("wider than a digit; are there two?",)


@pytest.mark.parametrize(
    ("count", "limit", "reason"),
    [
        ("forks", FORKS, "strokes that part and meet more often than a digit's"),
        ("abreast", ABREAST, "more strokes side by side than a digit has"),
        ("length", LENGTH, "longer strokes than a digit's"),
    ],
)
def test_limits(count: str, limit: float, reason: str) -> None:
    at, beyond = ({count: value} for value in (limit, limit + 0.01))
    plain = Shape(1, 2, 3, 3.0, 0.7, 0.4, 8, 1.2, 40.0)
    assert shape_doubts(replace(plain, **cast("Any", at))) == ()
    assert shape_doubts(replace(plain, **cast("Any", beyond))) == (reason,)


def test_counts_do_not_depend_on_the_pictures_size() -> None:
    """Nor, but for some forks, on how it is turned."""
    lines = [[(40, 40), (160, 160), (40, 150), (150, 60), (60, 170)]]
    shapes = [shape(drawn(lines).resize((side, side), Image.Resampling.BOX)) for side in (200, 160, 120, 90)]
    shapes += [shape(drawn(lines).transpose(Image.Transpose.ROTATE_90))]
    for count, most in (("forks", 5), ("length", 4.0)):
        found = [getattr(each, count) for each in shapes]
        assert max(found) - min(found) <= most, count


def test_a_tangle_that_runs_together_in_28x28() -> None:
    """Its loops are too small there; in the finer view they are open."""
    lines = [[(40, 40), (150, 50), (60, 75), (160, 80), (50, 100), (150, 120), (45, 130), (160, 160), (60, 165)]]
    found = shape(drawn([*lines, [(70, 30), (80, 170), (110, 30), (120, 170)]], 6))
    assert "strokes that part and meet more often than a digit's" in shape_doubts(found)


def test_scribbles_are_seldom_sure(unseen: AnyArray) -> None:
    """A pen moved at random over ten to thirty points; the shape alone gives away four in five or more."""
    random = np.random.default_rng(0)
    doubted = 0
    for _ in range(40):
        knots = random.uniform(30, 170, (int(random.integers(10, 30)), 2))
        doubted += bool(look_at(drawn([[(int(x), int(y)) for x, y in knots]], int(random.integers(5, 13)))).doubts)
    assert doubted >= 34


def test_probabilities() -> None:
    assert doubts([LEAST, 1 - LEAST]) == ()
    assert doubts([LEAST - 0.01, 1.01 - LEAST]) == (UNCLEAR,)
    assert doubts([1.0, 0.0], ("a reason",)) == ("a reason",)
