"""Finding the ink: paper, noise, pieces, lines, pens, and the one digit among other marks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from edgedigits.errors import InputError
from edgedigits.pictures.background import background, noise_of, two_levels
from edgedigits.pictures.connected_components import forks_of, pieces_of
from edgedigits.pictures.normalization import filtered, fit, framed, measure, place, stroke_width, with_usual_pen
from edgedigits.pictures.ruled_lines import without_lines
from edgedigits.pictures.segmentation import box_of, find_digit, find_ink, grown
from edgedigits.runtimes.tensors import FloatArray


def sheet(height: int = 100, width: int = 100) -> FloatArray:
    return np.full((height, width), 0.9, dtype=np.float32)


def with_bar(gray: FloatArray, top: int = 20, left: int = 45, high: int = 60, wide: int = 8) -> FloatArray:
    """A copy with a dark upright bar on it."""
    drawn = gray.copy()
    drawn[top : top + high, left : left + wide] *= 0.2
    return drawn


class TestPaper:
    def test_flat(self) -> None:
        np.testing.assert_array_equal(background(with_bar(sheet())), sheet())

    def test_uneven_light_and_noise(self) -> None:
        y, x = np.mgrid[-1:1:100j, -1:1:100j]
        paper = (0.7 - 0.25 * x + 0.1 * y - 0.1 * x * x).astype(np.float32)
        noisy = (with_bar(paper, wide=24) + np.random.default_rng(0).normal(0, 0.02, paper.shape)).astype(np.float32)
        assert np.abs(background(noisy) - paper).max() < 0.015
        assert noise_of(noisy) == pytest.approx(0.02, rel=0.15)

    def test_a_digit_cut_out_close_leaves_two_brightnesses(self) -> None:
        close = with_bar(sheet(60, 24), 0, 0, 60, 13)  # more ink than paper, and along three sides
        assert two_levels(close) == pytest.approx((0.18, 0.9), abs=0.01)
        assert background(close)[0, 0] == pytest.approx(0.9)

    def test_noise_is_the_median_step(self) -> None:
        """Exactly, for pixels of 8 bits."""
        for reach in (1, 2, 3, 6, 40, 256):
            levels = np.random.default_rng(reach).integers(0, reach, (41, 30))
            expected = float(np.median(np.abs(np.diff(levels, axis=1)))) / 255 / 0.954
            assert noise_of((levels / np.float32(255)).astype(np.float32)) == pytest.approx(expected, rel=1e-6, abs=0)
        two = np.array([[0, 1, 3]], dtype=np.float32) / 255
        assert noise_of(two) == pytest.approx(1.5 / 255 / 0.954)

    def test_light_from_one_side_is_not_two_brightnesses(self) -> None:
        assert two_levels(np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)) is None

    @pytest.mark.parametrize("light_on_dark", [False, True])
    def test_ink_is_what_few_pixels_have(self, light_on_dark: bool) -> None:
        gray = with_bar(sheet())
        ink, _ = find_ink(1 - gray if light_on_dark else gray)
        assert ink[50, 48] == pytest.approx(1.0)
        assert ink[5, 5] == pytest.approx(0.0, abs=1e-6)

    def test_grain_is_no_ink(self) -> None:
        grain = np.random.default_rng(0).normal(0.6, 0.03, (90, 90)).astype(np.float32)
        with pytest.raises(InputError, match="no digit found"):
            find_ink(grain)


@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_pieces_are_those_of_a_flood(height: int, width: int, seed: int, share: float) -> None:
    """Against an oracle that floods from each pixel."""
    mask = np.random.default_rng(seed).random((height, width)) < share
    found = pieces_of(mask)
    labels = np.zeros(mask.shape, dtype=int)
    for number in range(found.count):
        labels += (number + 1) * found.mask_of([number])
    assert ((labels > 0) == mask).all()
    np.testing.assert_array_equal(found.mask_of(list(range(found.count))), mask)
    seen: set[tuple[int, int]] = set()
    pieces = 0
    for start in map(tuple, np.argwhere(mask)):
        if start in seen:
            continue
        pieces += 1
        flood = [start]
        seen.add(start)
        while flood:
            y, x = flood.pop()
            assert labels[y, x] == labels[start]
            for at in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if 0 <= at[0] < height and 0 <= at[1] < width and mask[at] and at not in seen:
                    seen.add(at)
                    flood.append(at)
    assert found.count == pieces
    ink = np.random.default_rng(seed).random(mask.shape).astype(np.float32)
    blobs = found.blobs(ink)
    assert [blob.mass for blob in blobs] == sorted((blob.mass for blob in blobs), reverse=True)
    for blob in blobs:
        own = labels == blob.label + 1
        assert (blob.box, blob.pixels) == (box_of(own), own.sum())
        assert blob.mass == pytest.approx(float(ink[own].sum()), rel=1e-4)


@pytest.mark.parametrize(
    ("rows", "forks"),
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
def test_forks(rows: list[str], forks: int) -> None:
    mask = np.array([[pixel == "#" for pixel in row] for row in rows])
    assert forks_of(mask) == forks_of(mask[::-1]) == forks_of(mask[:, ::-1]) == forks


def test_grown() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 2] = mask[0, 8] = True
    wide = grown(mask, 2)
    assert wide[2:7, 0:5].all()
    assert wide[0:3, 6:9].all()
    assert wide.sum() == 25 + 9


@pytest.mark.parametrize("reach", [0, 1, 2, 3, 4, 9])
@pytest.mark.parametrize(("widest", "kind"), [(np.maximum, ImageFilter.MaxFilter), (np.minimum, ImageFilter.MinFilter)])
def test_largest_and_smallest_of_a_square(reach: int, widest: np.ufunc, kind: Any) -> None:
    """As Pillow's rank filters have it."""
    image = np.random.default_rng(reach).random((31, 23)).astype(np.float32)
    expected = np.asarray(Image.fromarray(framed(image, reach)).filter(kind(2 * reach + 1)))
    np.testing.assert_array_equal(filtered(image, reach, widest), expected[reach : 31 + reach, reach : 23 + reach])


class TestLines:
    @pytest.mark.parametrize("upright", [False, True])
    @pytest.mark.parametrize("rise", [0, 3])
    def test_a_line_goes_and_what_crosses_it_stays(self, upright: bool, rise: int) -> None:
        ink = np.zeros((100, 100), dtype=np.float32)
        ink[20:80, 45:53] = 1.0
        bar = ink.copy()
        for x in range(100):
            y = 60 + round(rise * x / 99)
            ink[y : y + 2, x] = 1.0
        cleaned = without_lines(ink.T if upright else ink, 0.2)
        np.testing.assert_allclose((cleaned.T if upright else cleaned)[:, :43], bar[:, :43])
        np.testing.assert_array_equal((cleaned.T if upright else cleaned)[:, 46:52], bar[:, 46:52])

    def test_all_lines_go_each_way(self) -> None:
        ink = np.zeros((100, 120), dtype=np.float32)
        ink[10::20] = ink[11::20] = 1.0
        assert without_lines(ink, 0.2).max() == 0
        ink[:, 15::30] = 1.0
        left = without_lines(ink, 0.2)
        assert left[:, 30:40].max() == 0
        assert (left > 0).sum() <= 5 * 4 * 4 * 2  # where two lines cross, a pixel or two may stay

    def test_a_stroke_that_does_not_reach_both_borders_is_no_line(self) -> None:
        ink = np.zeros((100, 100), dtype=np.float32)
        ink[30:33, 6:94] = 1.0
        ink[60, :4] = ink[60, -4:] = 1.0
        np.testing.assert_array_equal(without_lines(ink, 0.2), ink)

    def test_a_thick_bar_is_no_line(self) -> None:
        ink = np.zeros((100, 100), dtype=np.float32)
        ink[30:42] = 1.0
        np.testing.assert_array_equal(without_lines(ink, 0.2), ink)


class TestWhichMark:
    def test_dust_is_left_out(self) -> None:
        gray = with_bar(sheet())
        gray[5:7, 5:7] = 0.1
        found = find_digit(gray)
        assert (found.box, found.marks) == ((20, 45, 80, 53), 1)
        assert found.ink[5:7, 5:7].max() == 0

    def test_a_part_of_the_digit_is_kept(self) -> None:
        gray = with_bar(sheet())
        gray[20:26, 56:75] = 0.18  # as the bar of a 5 that was set down anew
        found = find_digit(gray)
        assert (found.box, found.marks) == ((20, 45, 80, 75), 1)

    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_several_side_by_side(self, count: int) -> None:
        gray = sheet(100, 128)
        for number in range(count):
            gray = with_bar(gray, 20, 10 + 28 * number)
        assert find_digit(gray).marks == count

    def test_one_over_the_other(self) -> None:
        gray = with_bar(with_bar(sheet(), 5, 45, 35), 60, 45, 35)
        assert find_digit(gray).marks == 2

    def test_what_hangs_in_from_the_border_is_not_the_digit(self) -> None:
        gray = with_bar(sheet())
        gray[:, :12] = 0.1
        found = find_digit(gray)
        assert (found.box, found.marks) == ((20, 45, 80, 53), 1)


class TestMnistGeometry:
    def test_the_mass_is_brought_to_the_middle(self) -> None:
        """(14, 14), and not 13.5 as the middle of 28 pixels would be: so it is in all of the data set."""
        digit = np.zeros((20, 12), dtype=np.float32)
        digit[:, :3] = 1.0
        page = place(digit)
        assert (page.sum(axis=1) @ np.arange(28)) / page.sum() == pytest.approx(14, abs=0.5)
        assert (page.sum(axis=0) @ np.arange(28)) / page.sum() == pytest.approx(14, abs=0.5)
        assert page.sum() == digit.sum()

    def test_it_is_so_in_the_data_set(self, unseen: FloatArray) -> None:
        for digit in unseen:
            top, left, bottom, right = box_of(digit > 0)
            page = place((digit[top:bottom, left:right] / 255).astype(np.float32))
            np.testing.assert_allclose(page, digit / 255, atol=1e-6)

    def test_a_box_between_the_pixels(self) -> None:
        """A bar of 10.5 by 3.25 pixels, drawn antialiased: its edges are found to a tenth."""
        ink = np.zeros((30, 30), dtype=np.float32)
        ink[5:15, 10:13] = 1.0
        ink[15, 10:13] = 0.5
        ink[5:15, 13] = 0.25
        ink[15, 13] = 0.125
        assert measure(ink, (5, 10, 16, 14)) == pytest.approx((5, 10, 15.5, 13.25), abs=0.5)

    @pytest.mark.parametrize(("high", "wide"), [(60, 30), (30, 60), (9, 9), (200, 3)])
    def test_the_longer_side_is_20(self, high: int, wide: int) -> None:
        digit = fit(np.ones((high, wide), dtype=np.float32), (0, 0, high, wide))
        scale = 20 / max(high, wide)
        assert digit.shape == (max(1, round(high * scale)), max(1, round(wide * scale)))
        assert digit.max() == 1.0
        assert digit.min() > 0.5  # at its rim the page shines through

    @pytest.mark.parametrize(("wide", "aim"), [(2, 2.6), (8, 2.67), (16, 3.6)])
    def test_pens_thinner_and_thicker_than_the_data_sets(self, wide: int, aim: float) -> None:
        """A ring 60 pixels across, drawn with pens of 0.7, 2.7 and 5.3 pixels of MNIST."""
        y, x = np.mgrid[-40:40:80j, -40:40:80j]
        radius = np.hypot(x, y)
        ink = (np.abs(radius - (30 - wide / 2)) < wide / 2).astype(np.float32)
        drawn, box = with_usual_pen(ink, ink > 0.5, box_of(ink > 0.5))
        longest = max(box[2] - box[0], box[3] - box[1])
        assert stroke_width(drawn > 0.5, longest) == pytest.approx(aim, abs=0.35)
