from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgedigits.bundle.dataset import to_image
from edgedigits.classifier import Classifier
from edgedigits.pictures.normalization import shrink, to_rows
from edgedigits.pictures.predictions import to_ascii
from edgedigits.runtimes.tensors import AnyArray, FloatArray

Picture = Image.Image


class TestDataSet:
    """X.npy is what these functions make of the 28x28 sources."""

    @pytest.fixture(scope="class")
    def source(self, root: Path) -> AnyArray:
        with np.load(root / "data" / "source.npz") as arrays:
            images: AnyArray = arrays["images"]
        return images

    def test_published_first_row(self, source: AnyArray) -> None:
        """Published with 8 digits after the first, so to half of the last one where a value is below 1."""
        published = np.loadtxt(Path(__file__).with_name("x0_published.txt"))
        np.testing.assert_allclose(shrink(source[0] / 255.0).T.ravel(), published, rtol=0, atol=5e-9)

    def test_all_of_x(self, source: AnyArray, root: Path) -> None:
        """NumPy builds differ in the last bit of a handful of values."""
        rows = to_rows(source)
        np.testing.assert_allclose(rows, np.load(root / "data" / "X.npy"), rtol=0, atol=1e-6)
        published = (-0.131963, 1.127688, 0.131339)
        assert (rows.min(), rows.max(), rows.mean(dtype=np.float64)) == pytest.approx(published, abs=6e-7)


def test_ascii_shows_the_upright_digit(x: AnyArray) -> None:
    lines = to_ascii(to_image(x[1015])).split("\n")
    assert len(lines) == 20
    assert max(map(len, lines)) <= 40
    dark = [(row, column) for row, column in np.argwhere(to_image(x[1015]) > 0.95)]
    assert dark
    assert all(lines[row][2 * column] == "@" for row, column in dark)


def page(digit: AnyArray, width: int, height: int) -> Picture:
    """The digit, light on dark, enlarged to nine tenths of the page's shorter side and off center."""
    side = int(min(width, height) * 0.9)
    drawn = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    picture = Image.new("L", (width, height), 0)
    picture.paste(drawn, ((width - side) // 2, (height - side) // 3))
    return picture


def dark(picture: Picture) -> Picture:
    return picture.point(lambda value: 255 - value)


@pytest.mark.parametrize("ink", [dark, lambda picture: picture], ids=["dark on light", "light on dark"])
@pytest.mark.parametrize(
    ("size", "least"), [((20, 24), 78), ((40, 40), 90), ((64, 48), 90), ((280, 280), 91), ((300, 500), 91)]
)
def test_any_size(preprocess_image: Any, unseen: AnyArray, size: tuple[int, int], least: int, ink: Any) -> None:
    """The model mostly predicts the same for a picture of a digit as for the digit's own array.

    Of 100 digits, 82 agreed at 20x24 and 93 to 95 from 40x40 up. A third would agree if they were upside down.
    """
    rows = np.stack([preprocess_image(ink(page(digit, *size))).row for digit in unseen])
    with Classifier() as classifier:
        assert (classifier.predict(rows) == classifier.predict(to_rows(unseen))).sum() >= least


class TestNormalizedPictures:
    """A picture that already has the data set's geometry is used as it is."""

    @pytest.mark.parametrize("ink", [dark, lambda picture: picture], ids=["dark on light", "light on dark"])
    def test_28x28(self, preprocess_image: Any, unseen: AnyArray, ink: Any) -> None:
        for digit in unseen[::3]:
            row = preprocess_image(ink(Image.fromarray(digit))).row
            np.testing.assert_allclose(row, to_rows(digit[None] * (255 / digit.max()))[0], atol=1e-6)

    def test_20x20(self, preprocess_image: Any, x: FloatArray) -> None:
        """Saved with 8 bits, so values outside 0 to 1 are clipped and the rest is off by half a level."""
        for row in x[::97]:
            picture = Image.fromarray(np.rint(np.clip(to_image(row), 0, 1) * 255).astype(np.uint8))
            expected = np.clip(row, 0, 1) / min(row.max(), 1.0)
            np.testing.assert_allclose(preprocess_image(picture).row, expected, rtol=0, atol=0.02)

    def test_a_drawing_of_28x28_with_another_geometry_is_normalized(self, preprocess_image: Any) -> None:
        drawing = np.zeros((28, 28), dtype=np.uint8)
        drawing[1:12, 2:4] = 255  # a small 1 in a corner
        mnist = preprocess_image(Image.fromarray(drawing)).mnist
        assert mnist.sum(axis=1).nonzero()[0].tolist() == list(range(4, 24))


def unchanged(picture: Picture) -> Picture:
    return picture


def cropped(picture: Picture) -> Picture:
    return picture.crop(dark(picture).point(lambda v: 255 * (v > 60)).getbbox())


def small_on_a_page(picture: Picture) -> Picture:
    sheet = Image.new("L", (2400, 1800), 255)
    sheet.paste(picture, (2000, 300))
    return sheet


def on_paper_on_a_table(picture: Picture) -> Picture:
    table = Image.new("L", (400, 360), 60)
    table.paste(picture, (110, 70))
    return table


def framed(picture: Picture) -> Picture:
    sheet = Image.new("L", (260, 260), 255)
    sheet.paste(picture, (30, 30))
    ImageDraw.Draw(sheet).rectangle((6, 6, 253, 253), outline=0, width=3)
    return sheet


def unevenly_lit_with_noise(picture: Picture) -> Picture:
    light = np.linspace(1.0, 0.5, 200)[None] * np.linspace(1.0, 0.9, 200)[:, None] ** 2
    noise = np.random.default_rng(0).normal(0, 6, (200, 200))
    return Image.fromarray(np.clip(np.asarray(picture) * light + noise, 0, 255).astype(np.uint8))


def on_a_ruled_line(picture: Picture) -> Picture:
    ImageDraw.Draw(picture).line((0, 92, 199, 95), fill=90, width=2)
    return picture


def colored(ink: tuple[int, ...], paper: tuple[int, ...]) -> Callable[[Picture], Picture]:
    def color(picture: Picture) -> Picture:
        sheet = Image.new("RGB", picture.size, paper)
        sheet.paste(ink, mask=dark(picture))
        return sheet

    return color


@pytest.mark.parametrize(
    "surround",
    [
        unchanged,
        cropped,
        small_on_a_page,
        on_paper_on_a_table,
        framed,
        unevenly_lit_with_noise,
        on_a_ruled_line,
        pytest.param(colored((200, 60, 60), (60, 150, 60)), id="red on green"),
        pytest.param(colored((255, 255, 0), (255, 255, 255)), id="yellow on white"),
        pytest.param(colored((0, 0, 255), (0, 0, 0)), id="blue on black"),
        pytest.param(colored((150,) * 3, (190,) * 3), id="gray on gray"),
    ],
)
def test_surroundings_hardly_change_the_digit(preprocess_image: Any, unseen: AnyArray, surround: Any) -> None:
    """The root mean square difference from MNIST's own 28x28, averaged over some digits."""
    differences = []
    for digit in unseen[3::9]:
        picture = surround(dark(Image.fromarray(digit).resize((200, 200), Image.Resampling.BICUBIC)))
        mnist = preprocess_image(picture).mnist
        differences.append(float(np.sqrt(((mnist - digit / 255.0) ** 2).mean())))
    assert sum(differences) / len(differences) < (0.1 if surround is unchanged else 0.12)
