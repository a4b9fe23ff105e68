"""Pictures that do not show exactly one digit are recognized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgedigits.pictures.plausibility import implausibilities, measure_shape
from edgedigits.pictures.predictions import MIN_PROBABILITY, reasons_to_doubt
from edgedigits.pictures.preprocessing import Preprocessed
from edgedigits.pictures.segmentation import Digit
from edgedigits.runtimes.tensors import AnyArray

Lines = list[list[tuple[int, int]]]
Preprocess = Callable[[Image.Image], Preprocessed]
GRID: Lines = [[(a, 30), (a, 170)] for a in (40, 80, 120, 160)] + [[(30, a), (170, a)] for a in (40, 80, 120, 160)]
COMB: Lines = [[(30, 40), (40, 160), (60, 40), (75, 160), (95, 40), (110, 160), (130, 40), (145, 160), (165, 40)]]
CROSSED_BOX: Lines = [[(40, 40), (160, 40), (160, 160), (40, 160), (40, 40), (160, 160)], [(160, 40), (40, 160)]]
# Its loops run together in 28x28 and are open in the finer view.
TANGLE: Lines = [[(40, 40), (150, 50), (60, 75), (160, 80), (50, 100), (150, 120), (45, 130), (160, 160), (60, 165)]]


def drawn(lines: Lines, pen: int = 10) -> Image.Image:
    page = Image.new("L", (200, 200), 255)
    for line in lines:
        ImageDraw.Draw(page).line(line, fill=0, width=pen, joint="curve")
    return page


@pytest.mark.parametrize(
    ("lines", "pen", "reason"),
    [
        (COMB, 10, "more strokes side by side than a digit has"),
        (GRID, 10, "longer strokes than a digit has"),
        (CROSSED_BOX, 10, "more loops than a digit has"),
        (GRID, 10, "more stroke junctions than a digit has"),
        ([*TANGLE, [(70, 30), (80, 170), (110, 30), (120, 170)]], 6, "more stroke junctions than a digit has"),
        ([[(20, 100), (180, 100)]], 10, "wider than a digit; maybe there are two"),
        ([[(100, 50), (100, 150)]], 90, "a blob rather than strokes"),
    ],
)
def test_scribbles(preprocess_image: Preprocess, lines: Lines, pen: int, reason: str) -> None:
    assert reason in preprocess_image(drawn(lines, pen)).implausibilities


def test_digits_are_seldom_implausible(preprocess_image: Preprocess, unseen: AnyArray) -> None:
    """About 2 in 100 of the training digits, on which the limits were fitted."""
    pictures = [Image.fromarray(digit).resize((140, 140), Image.Resampling.BICUBIC) for digit in unseen]
    assert sum(bool(preprocess_image(picture).implausibilities) for picture in pictures) <= 6


def test_random_scribbles_are_mostly_implausible(preprocess_image: Preprocess) -> None:
    """A pen moved at random over ten to thirty points."""
    random = np.random.default_rng(0)
    implausible = 0
    for _ in range(40):
        knots = random.uniform(30, 170, (int(random.integers(10, 30)), 2))
        picture = drawn([[(int(x), int(y)) for x, y in knots]], int(random.integers(5, 13)))
        implausible += bool(preprocess_image(picture).implausibilities)
    assert implausible >= 34


def test_features_of_an_eight() -> None:
    """Two rings, one above the other."""
    mnist = np.zeros((28, 28), dtype=np.float32)
    mnist[4:24, 8:18] = 1.0
    mnist[6:13, 10:16] = mnist[15:22, 10:16] = 0.0
    shape = measure_shape(mnist, Digit(mnist, mnist > 0, (4, 8, 24, 18), 2))
    assert (shape.loops, shape.row_crossings, shape.column_crossings, shape.digits) == (2, 2, 3, 2)
    assert shape.aspect == 0.5
    assert shape.fill == pytest.approx((200 - 84) / 200)
    assert shape.mean_crossings == pytest.approx((14 * 2 + 6) / 20, rel=0.03)  # one where a ring is closed, else two
    # Along the middle of strokes two wide; the length of a horizontal or vertical outline is estimated as pi / 4 of it.
    assert shape.stroke_length == pytest.approx((2 * 18 + 3 * 8) * np.pi / 4, rel=0.1)
    assert shape.junctions == 4 * 4  # in each direction each ring splits once and joins once
    assert implausibilities(replace(shape, stroke_length=40.0)) == ("2 marks of similar size; crop to one digit",)


def test_features_do_not_depend_on_size_and_little_on_rotation(preprocess_image: Preprocess) -> None:
    picture = drawn([[(40, 40), (160, 160), (40, 150), (150, 60), (60, 170)]])
    pictures = [picture.resize((side, side), Image.Resampling.BOX) for side in (200, 160, 120, 90)]
    shapes: list[Any] = [preprocess_image(each).shape for each in (*pictures, picture.rotate(90))]
    for feature, tolerance in (("junctions", 5), ("stroke_length", 4.0)):
        found = [getattr(shape, feature) for shape in shapes]
        assert max(found) - min(found) <= tolerance, feature


def test_probabilities() -> None:
    assert reasons_to_doubt([MIN_PROBABILITY, 1 - MIN_PROBABILITY]) == ()
    assert reasons_to_doubt([MIN_PROBABILITY - 0.01, 1.01 - MIN_PROBABILITY]) == (
        "no digit reaches a probability of 80%",
    )
    assert reasons_to_doubt([1.0, 0.0], ("a reason",)) == ("a reason",)
