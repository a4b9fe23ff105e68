"""Pictures that do not show exactly one digit, drawn from fixed seeds: scribbles, signs, several digits.

``plausibility.py`` draws them with training digits, ``pictures.py`` with unseen ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from drawing import SIDE, Rng, ink, on_paper, saved
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import numpy.typing as npt

    Digits = npt.NDArray[np.uint8]

GRID = (40.0, 80.0, 120.0, 160.0)


def scribble(digits: Digits, rng: Rng) -> Image.Image:
    """A pen moved at random, without a pause."""
    steps = int(rng.integers(10, 30))
    knots = np.clip(np.cumsum(rng.normal(0, 55, (steps, 2)), axis=0) % 280, 0, 280)
    knots = 30 + np.where(knots > 140, 280 - knots, knots)
    at = np.linspace(0, steps - 1, 40 * steps)
    path = [tuple(p) for p in np.stack([np.interp(at, range(steps), knots[:, axis]) for axis in (0, 1)], axis=1)]
    return _stroke([path], rng)


def hatching(digits: Digits, rng: Rng) -> Image.Image:
    """One or two zigzags, as for crossing something out."""
    lines = []
    for _ in range(int(rng.integers(1, 3))):
        count, angle = int(rng.integers(6, 14)), rng.uniform(0, np.pi)
        along, to = np.linspace(-65, 65, count), np.where(np.arange(count) % 2, 55, -55) * rng.uniform(0.7, 1, count)
        x, y = along * np.cos(angle) - to * np.sin(angle), along * np.sin(angle) + to * np.cos(angle)
        lines.append([(100 + float(a), 100 + float(b)) for a, b in zip(x, y, strict=True)])
    return _stroke(lines, rng)


def sign(digits: Digits, rng: Rng) -> Image.Image:
    """A box, a grid, a star, a filled disc, a cross, concentric rings."""
    kind = int(rng.integers(6))
    lines: list[list[tuple[float, float]]] = []
    if kind == 0:
        lines = [[(40, 45), (160, 40), (155, 160), (42, 158), (40, 45)], [(40, 45), (155, 160)], [(160, 40), (42, 158)]]
    elif kind == 1:
        lines = [[(a, 30.0), (a, 170.0)] for a in GRID] + [[(30.0, a), (170.0, a)] for a in GRID]
    elif kind == 2:
        turns = np.arange(6) * 4 * np.pi / 5 - np.pi / 2
        lines = [[(100 + 70 * float(np.cos(t)), 100 + 70 * float(np.sin(t))) for t in turns]]
    elif kind == 3:
        picture = Image.new("L", (SIDE, SIDE))
        ImageDraw.Draw(picture).ellipse((50, 45, 150, 155), fill=255)
        return picture
    elif kind == 4:
        lines = [[(100, 30), (100, 170)], [(30, 100), (170, 100)], [(50, 50), (150, 150)], [(150, 50), (50, 150)]]
    else:
        turns = np.linspace(0, 2 * np.pi, 60)
        lines = [[(100 + r * float(np.cos(t)), 100 + r * float(np.sin(t))) for t in turns] for r in (15, 40, 65)]
    jitter = rng.normal(0, 4, 2)
    return _stroke([[(x + jitter[0], y + jitter[1]) for x, y in line] for line in lines], rng)


def several(digits: Digits, rng: Rng) -> Image.Image:
    """Two to four digits in a row, not touching."""
    count = int(rng.integers(2, 5))
    page = Image.new("L", (count * 150, SIDE))
    for place in range(count):
        page.paste(ink(digits[rng.integers(len(digits))], 150), (place * 150, int(rng.integers(10, 40))))
    return page


def touching(digits: Digits, rng: Rng) -> Image.Image:
    """Two digits so close that they touch or nearly do."""
    page = np.zeros((SIDE, 330), dtype=np.uint8)
    left = np.asarray(ink(digits[rng.integers(len(digits))], SIDE))
    right = np.asarray(ink(digits[rng.integers(len(digits))], SIDE))
    end, begin = int(np.flatnonzero(left.any(axis=0))[-1]), int(np.flatnonzero(right.any(axis=0))[0])
    shift = min(max(end - begin - 2, 0), 130)
    page[:, :SIDE] = left
    page[:, shift : shift + SIDE] = np.maximum(page[:, shift : shift + SIDE], right)
    return Image.fromarray(page)


def _stroke(lines: list[list[tuple[float, float]]], rng: Rng) -> Image.Image:
    """Lines drawn with a round pen of 6 to 14 pixels, antialiased, (200, 200)."""
    picture = Image.new("L", (2 * SIDE, 2 * SIDE))
    draw, pen = ImageDraw.Draw(picture), float(rng.uniform(6, 14))
    for line in lines:
        draw.line([(2 * x, 2 * y) for x, y in line], fill=255, width=round(2 * pen), joint="curve")
        for x, y in (line[0], line[-1]):
            draw.ellipse((2 * x - pen, 2 * y - pen, 2 * x + pen, 2 * y + pen), fill=255)
    return picture.reduce(2)


KINDS: dict[str, Callable[[Digits, Rng], Image.Image]] = {
    "scribble": scribble,
    "hatching": hatching,
    "sign": sign,
    "several digits": several,
    "touching digits": touching,
}


def scrawl(kind: str, digits: Digits, number: int) -> bytes:
    """One picture as PNG, dark on white; the number is the seed."""
    rng = np.random.default_rng([number, *kind.encode()])
    return saved(on_paper(KINDS[kind](digits, rng)))
