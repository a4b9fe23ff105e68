"""Segmentation and normalization: background, connected components, ruled lines, which components form the digit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from edgedigits.errors import InputError
from edgedigits.pictures.background import estimate_background, estimate_noise, subtract_background, two_levels
from edgedigits.pictures.connected_components import count_junctions, find_components
from edgedigits.pictures.geometry import bounding_box, pad, square_filter, stroke_width
from edgedigits.pictures.normalization import adjust_strokes, center_by_mass, scale_to_box, subpixel_box
from edgedigits.pictures.ruled_lines import remove_ruled_lines
from edgedigits.pictures.segmentation import Digit, find_digit
from edgedigits.runtimes.tensors import FloatArray


def sheet(height: int = 100, width: int = 100) -> FloatArray:
    return np.full((height, width), 0.9, dtype=np.float32)


def with_bar(gray: FloatArray, top: int = 20, left: int = 45, high: int = 60, wide: int = 8) -> FloatArray:
    """A copy with a dark vertical bar."""
    drawn = gray.copy()
    drawn[top : top + high, left : left + wide] *= 0.2
    return drawn


class TestBackground:
    def test_flat(self) -> None:
        np.testing.assert_array_equal(estimate_background(with_bar(sheet())), sheet())

    def test_uneven_light_and_noise(self) -> None:
        y, x = np.mgrid[-1:1:100j, -1:1:100j]
        paper = (0.7 - 0.25 * x + 0.1 * y - 0.1 * x * x).astype(np.float32)
        noisy = (with_bar(paper, wide=24) + np.random.default_rng(0).normal(0, 0.02, paper.shape)).astype(np.float32)
        assert np.abs(estimate_background(noisy) - paper).max() < 0.015
        assert estimate_noise(noisy) == pytest.approx(0.02, rel=0.15)

    def test_a_tightly_cropped_digit_has_two_levels(self) -> None:
        close = with_bar(sheet(60, 24), 0, 0, 60, 13)  # more ink than paper, and along three sides
        assert two_levels(close) == pytest.approx((0.18, 0.9), abs=0.01)
        assert estimate_background(close)[0, 0] == pytest.approx(0.9)
        assert two_levels(np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)) is None

    def test_noise_is_the_median_difference(self) -> None:
        """Exactly, for 8-bit pixels."""
        for reach in (1, 2, 3, 6, 40, 256):
            gray = (np.random.default_rng(reach).integers(0, reach, (41, 30)) / np.float32(255)).astype(np.float32)
            expected = float(np.median(np.abs(np.diff(gray, axis=1)))) / 0.954
            assert estimate_noise(gray) == pytest.approx(expected, rel=1e-5, abs=0)

    @pytest.mark.parametrize("light_on_dark", [False, True])
    def test_ink_is_what_differs_most(self, light_on_dark: bool) -> None:
        gray = with_bar(sheet())
        ink, _ = subtract_background(1 - gray if light_on_dark else gray)
        assert ink[50, 48] == pytest.approx(1.0)
        assert ink[5, 5] == pytest.approx(0.0, abs=1e-6)

    def test_grain_is_not_ink(self) -> None:
        grain = np.random.default_rng(0).normal(0.6, 0.03, (90, 90)).astype(np.float32)
        with pytest.raises(InputError, match="no digit found"):
            subtract_background(grain)


@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_components_match_a_flood_fill(height: int, width: int, seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((height, width)) < share
    ink = random.random(mask.shape).astype(np.float32)
    found = find_components(mask)
    measured = found.measure(ink)
    assert [each.mass for each in measured] == sorted((each.mass for each in measured), reverse=True)
    expected = set()
    left = set(map(tuple, np.argwhere(mask)))
    while left:
        flood = [left.pop()]
        for y, x in flood:
            neighbors = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= neighbors
            flood += neighbors
        expected.add(frozenset(flood))
    masks = {each.label: found.mask([each]) for each in measured}
    assert {frozenset(map(tuple, np.argwhere(own))) for own in masks.values()} == expected
    assert found.count == len(measured) == len(expected)
    for each in measured:
        own = masks[each.label]
        assert each.box == bounding_box(own)
        assert each.mass == pytest.approx(float(ink[own].sum()), rel=1e-4)


@pytest.mark.parametrize(
    ("rows", "junctions"),
    [
        ([".#..", "##..", ".##.", "..#."], 0),  # one stroke, however it bends
        (["#..#", "#..#", ".##.", ".##.", "#..#", "#..#"], 2),  # two that meet and part
        (["####", "#..#", "####"], 2),  # a ring
        (["#.#.#", "#.#.#", "#####"], 2),  # three that meet
        (["#.#.#", "#####", ".#.##"], 0),  # rough edges
        (["#.#.#", "#.#.#", ".....", "#####"], 0),
        (["#..", ".#.", "..#"], 0),
        (["...", "..."], 0),
    ],
)
def test_junctions(rows: list[str], junctions: int) -> None:
    mask = np.array([[pixel == "#" for pixel in row] for row in rows])
    assert count_junctions(mask) == count_junctions(mask[::-1]) == count_junctions(mask[:, ::-1]) == junctions


@pytest.mark.parametrize(
    ("extreme", "kind"), [(np.maximum, ImageFilter.MaxFilter), (np.minimum, ImageFilter.MinFilter)]
)
def test_square_filter_matches_pillow(extreme: np.ufunc, kind: Any) -> None:
    image = np.random.default_rng(0).random((31, 23)).astype(np.float32)
    for reach in (0, 1, 2, 3, 4, 9):
        expected = np.asarray(Image.fromarray(pad(image, reach)).filter(kind(2 * reach + 1)))
        expected = expected[reach : 31 + reach, reach : 23 + reach]
        np.testing.assert_array_equal(square_filter(image, reach, extreme), expected)


class TestRuledLines:
    @pytest.mark.parametrize("upright", [False, True])
    @pytest.mark.parametrize("rise", [0, 3])
    def test_a_line_is_removed_and_a_crossing_stroke_stays(self, upright: bool, rise: int) -> None:
        ink = np.zeros((100, 100), dtype=np.float32)
        ink[20:80, 45:53] = 1.0
        bar = ink.copy()
        for x in range(100):
            y = 60 + round(rise * x / 99)
            ink[y : y + 2, x] = 1.0
        cleaned = remove_ruled_lines(ink.T if upright else ink, 0.2)
        np.testing.assert_allclose((cleaned.T if upright else cleaned)[:, :43], bar[:, :43])
        np.testing.assert_array_equal((cleaned.T if upright else cleaned)[:, 46:52], bar[:, 46:52])

    def test_several_lines_in_both_directions(self) -> None:
        ink = np.zeros((100, 120), dtype=np.float32)
        ink[10::20] = ink[11::20] = 1.0
        assert remove_ruled_lines(ink, 0.2).max() == 0
        ink[:, 15::30] = 1.0
        left = remove_ruled_lines(ink, 0.2)
        assert left[:, 30:40].max() == 0
        assert (left > 0).sum() <= 5 * 4 * 4 * 2  # where two lines cross, a pixel or two may stay

    def test_what_is_no_line(self) -> None:
        """A stroke that does not reach both borders, and a thick bar."""
        short = np.zeros((100, 100), dtype=np.float32)
        short[30:33, 6:94] = 1.0
        short[60, :4] = short[60, -4:] = 1.0
        thick = np.zeros((100, 100), dtype=np.float32)
        thick[30:42] = 1.0
        for ink in (short, thick):
            np.testing.assert_array_equal(remove_ruled_lines(ink, 0.2), ink)


class TestDigit:
    def test_dust_is_ignored(self) -> None:
        gray = with_bar(sheet())
        gray[5:7, 5:7] = 0.1
        found = find_digit(gray)
        assert (found.box, found.count) == ((20, 45, 80, 53), 1)
        assert found.ink[5:7, 5:7].max() == 0

    def test_a_part_of_the_digit_is_kept(self) -> None:
        gray = with_bar(sheet())
        gray[20:26, 56:75] = 0.18  # like the bar of a 5, drawn as a separate stroke
        found = find_digit(gray)
        assert (found.box, found.count) == ((20, 45, 80, 75), 1)

    def test_several_digits(self) -> None:
        gray = sheet(100, 128)
        for count in (1, 2, 3, 4):
            gray = with_bar(gray, 20, 28 * count - 18)
            assert find_digit(gray).count == count
        assert find_digit(with_bar(with_bar(sheet(), 5, 45, 35), 60, 45, 35)).count == 2  # one above the other

    def test_what_touches_the_border_is_not_the_digit(self) -> None:
        gray = with_bar(sheet())
        gray[:, :12] = 0.1
        found = find_digit(gray)
        assert (found.box, found.count) == ((20, 45, 80, 53), 1)


class TestMnistGeometry:
    def test_digits_of_the_data_set_stay_in_place(self, unseen: FloatArray) -> None:
        """Their center of mass is at (14, 14), not at 13.5, the middle of 28 pixels."""
        for digit in unseen:
            top, left, bottom, right = bounding_box(digit > 0)
            page = center_by_mass((digit[top:bottom, left:right] / 255).astype(np.float32))
            np.testing.assert_allclose(page, digit / 255, atol=1e-6)

    def test_edges_between_pixels(self) -> None:
        """An antialiased bar of 10.5 by 3.25 pixels."""
        ink = np.zeros((30, 30), dtype=np.float32)
        ink[5:15, 10:13] = 1.0
        ink[15, 10:13] = 0.5
        ink[5:15, 13] = 0.25
        ink[15, 13] = 0.125
        assert subpixel_box(ink, (5, 10, 16, 14)) == pytest.approx((5, 10, 15.5, 13.25), abs=0.5)

    @pytest.mark.parametrize(("high", "wide"), [(60, 30), (30, 60), (9, 9), (200, 3)])
    def test_the_longer_side_is_20(self, high: int, wide: int) -> None:
        digit = scale_to_box(np.ones((high, wide), dtype=np.float32), (0, 0, high, wide))
        scale = 20 / max(high, wide)
        assert digit.shape == (max(1, round(high * scale)), max(1, round(wide * scale)))
        assert digit.max() == 1.0
        assert digit.min() > 0.5  # the page is blended in at its rim

    @pytest.mark.parametrize(("wide", "aim"), [(2, 2.6), (8, 2.67), (16, 3.6)])
    def test_unusual_strokes_are_adjusted(self, wide: int, aim: float) -> None:
        """A ring 60 pixels across, drawn with pens of 0.7, 2.7 and 5.3 pixels of MNIST."""
        y, x = np.mgrid[-40:40:80j, -40:40:80j]
        radius = np.hypot(x, y)
        ink = (np.abs(radius - (30 - wide / 2)) < wide / 2).astype(np.float32)
        drawn, box = adjust_strokes(Digit(ink, ink > 0.5, bounding_box(ink > 0.5)))
        longest = max(box[2] - box[0], box[3] - box[1])
        assert stroke_width(drawn > 0.5) * 20 / longest == pytest.approx(aim, abs=0.35)

    def test_no_ink_has_no_width(self) -> None:
        """A thin, faint digit can vanish when it is resampled."""
        assert stroke_width(np.zeros((9, 9), bool)) == 0
