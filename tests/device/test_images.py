from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedigits.classifier import Classifier
from edgedigits.dataset import to_image
from edgedigits.errors import InputError
from edgedigits.images import center, find_ink, read_picture, resize_weights, shrink, to_ascii, to_rows
from edgedigits.tensors import AnyArray

Picture = Image.Image


class TestDataSet:
    """X.npy is what these functions make of the 28x28 sources."""

    @pytest.fixture(scope="class")
    def source(self, root: Path) -> AnyArray:
        with np.load(root / "data" / "source.npz") as arrays:
            images: AnyArray = arrays["images"]
        return images

    def test_published_first_row(self, source: AnyArray) -> None:
        """As printed to 8 digits after the first, so to half of the last one where a value is below 1."""
        published = np.loadtxt(Path(__file__).with_name("x0_published.txt"))
        row = shrink(source[0] / 255.0).T.ravel()
        np.testing.assert_allclose(row, published, rtol=0, atol=5e-9)

    def test_all_of_x(self, source: AnyArray, root: Path) -> None:
        """NumPy builds differ in the last bit of a handful of values."""
        np.testing.assert_allclose(to_rows(source), np.load(root / "data" / "X.npy"), rtol=0, atol=1e-6)

    def test_published_extremes(self, source: AnyArray) -> None:
        rows = to_rows(source)
        assert round(float(rows.min()), 6) == -0.131963
        assert round(float(rows.max()), 6) == 1.127688
        assert round(float(rows.mean(dtype=np.float64)), 6) == 0.131339


def test_shrink_takes_one_image_or_many(unseen: AnyArray) -> None:
    images = unseen[:4] / 255.0
    assert shrink(images[0]).shape == (20, 20)
    np.testing.assert_allclose(shrink(images)[2], shrink(images[2]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_in", "n_out"), [(28, 20), (20, 28), (5, 5), (100, 3)])
def test_resize_keeps_a_plain_area_plain(n_in: int, n_out: int) -> None:
    weights = resize_weights(n_in, n_out)
    assert weights.shape == (n_out, n_in)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], rtol=0, atol=1e-12)  # no drift to either side


def test_center_puts_the_mass_in_the_middle() -> None:
    ink = np.zeros((90, 70))
    ink[5:45, 50:60] = 1.0  # a bar in a corner
    page = center(ink)
    assert page.shape == (28, 28)
    assert page.sum(axis=1).nonzero()[0].tolist() == list(range(4, 24))  # 20 high, centered
    assert abs((page.sum(axis=0) @ np.arange(28)) / page.sum() - 13.5) <= 0.5


def test_ink_is_what_differs_from_the_border() -> None:
    paper = np.full((10, 10), 0.75)
    paper[4:6, 4:6] = 0.25
    for gray in (paper, 1.0 - paper):
        ink = find_ink(gray)
        assert ink[5, 5] == 1.0
        assert ink[0, 0] == 0.0


def test_ascii_shows_the_upright_digit(x: AnyArray) -> None:
    lines = to_ascii(x[1015]).split("\n")
    assert len(lines) == 20
    assert max(map(len, lines)) <= 40
    dark = [(row, column) for row, column in np.argwhere(to_image(x[1015]) > 0.95)]
    assert dark
    assert all(lines[row][2 * column] == "@" for row, column in dark)


def page(digit: AnyArray, width: int, height: int) -> Picture:
    """The digit, light on dark, on a page: enlarged to nine tenths of the shorter side and off the middle."""
    side = int(min(width, height) * 0.9)
    drawn = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    picture = Image.new("L", (width, height), 0)
    picture.paste(drawn, ((width - side) // 2, (height - side) // 3))
    return picture


def dark(picture: Picture) -> Picture:
    return picture.point(lambda value: 255 - value)


def transparent(picture: Picture) -> Picture:
    """Black ink on nothing at all."""
    drawing = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    drawing.putalpha(picture)
    return drawing


def sixteen_bits(picture: Picture) -> Picture:
    return Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)


class TestPictures:
    """The model's answer to a picture is mostly the one that it gives to the digit's own array.

    Of 100 digits redrawn at another size the two agreed on 86 at 20x24 and on 88 to 92 from 40x40 up, however the
    picture was stored; a digit mirrored or upside down would agree on a third.
    """

    @pytest.fixture(scope="class")
    def classifier(self) -> Iterator[Classifier]:
        with Classifier() as opened:
            yield opened

    @pytest.fixture
    def agreeing(
        self, classifier: Classifier, unseen: AnyArray, tmp_path: Path
    ) -> Callable[[Callable[[AnyArray], Picture], str], int]:
        direct = classifier.predict(to_rows(unseen))

        def count(draw: Callable[[AnyArray], Picture], suffix: str, **options: Any) -> int:
            rows = []
            for number, digit in enumerate(unseen):
                path = tmp_path / f"{number}{suffix}"
                draw(digit).save(path, **options)
                rows.append(read_picture(path))
            return int((classifier.predict(np.stack(rows)) == direct).sum())

        return count

    @pytest.mark.parametrize("look", [dark, lambda picture: picture], ids=["dark on light", "light on dark"])
    @pytest.mark.parametrize(
        ("size", "least"), [((20, 24), 80), ((40, 40), 84), ((64, 48), 84), ((280, 280), 84), ((300, 500), 84)]
    )
    def test_any_size(self, agreeing: Any, size: tuple[int, int], least: int, look: Any) -> None:
        assert agreeing(lambda digit: look(page(digit, *size)), ".png") >= least

    @pytest.mark.parametrize("look", [dark, lambda picture: picture], ids=["dark on light", "light on dark"])
    def test_28x28_is_already_the_data_sets_geometry(self, agreeing: Any, look: Any) -> None:
        assert agreeing(lambda digit: look(Image.fromarray(digit)), ".png") >= 99

    @pytest.mark.parametrize(
        ("convert", "suffix"),
        [
            (dark, ".jpg"),
            (dark, ".bmp"),
            (lambda picture: dark(picture).convert("RGB"), ".png"),
            (lambda picture: dark(picture).convert("P"), ".png"),
            (lambda picture: dark(picture).convert("1"), ".png"),
            (transparent, ".png"),
            (lambda picture: sixteen_bits(dark(picture)), ".png"),
            (sixteen_bits, ".png"),
        ],
        ids=["JPEG", "BMP", "RGB", "palette", "1 bit", "transparent", "16 bit", "16 bit light on dark"],
    )
    def test_any_format(self, agreeing: Any, convert: Any, suffix: str) -> None:
        assert agreeing(lambda digit: convert(page(digit, 120, 100)), suffix) >= 84

    @pytest.mark.parametrize(
        ("orientation", "stored"),
        [
            (3, Image.Transpose.ROTATE_180),
            (6, Image.Transpose.ROTATE_90),
            (8, Image.Transpose.ROTATE_270),
            (2, Image.Transpose.FLIP_LEFT_RIGHT),
        ],
    )
    def test_photograph_held_otherwise(self, agreeing: Any, orientation: int, stored: Any) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert agreeing(lambda digit: dark(page(digit, 100, 120)).transpose(stored), ".jpg", exif=exif) >= 84


class TestRefusedPictures:
    @pytest.fixture
    def refused(self, tmp_path: Path) -> Callable[[bytes | Picture | None], str]:
        def message(content: bytes | Picture | None) -> str:
            path = tmp_path / "digit.png"
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content is not None:
                content.save(path)
            with pytest.raises(InputError) as caught:
                read_picture(path)
            said = str(caught.value)
            assert said.startswith(f"{path}: ")
            assert "\n" not in said
            return said.removeprefix(f"{path}: ")

        return message

    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "1"])
    @pytest.mark.parametrize("shade", [0, 1])
    def test_blank(self, refused: Any, mode: str, shade: int) -> None:
        picture = Image.new(mode, (50, 40), {"RGB": (shade,) * 3, "RGBA": (shade,) * 4}.get(mode, shade))
        assert refused(picture).startswith("no digit found: the picture is all of one brightness; draw darker")

    def test_paper_grain_is_not_ink(self, refused: Any) -> None:
        grain = np.random.default_rng(0).integers(235, 251, (60, 60)).astype(np.uint8)
        assert refused(Image.fromarray(grain)).startswith("no digit found")

    def test_missing(self, refused: Any) -> None:
        assert refused(None) == "no such file; give the path of a picture"

    def test_folder(self, refused: Any, tmp_path: Path) -> None:
        (tmp_path / "digit.png").mkdir()
        assert "cannot be read as a picture" in refused(None)

    @pytest.mark.parametrize("content", [b"", b"not a picture", bytes(1000), b"%PDF-1.7"])
    def test_not_a_picture(self, refused: Any, content: bytes) -> None:
        assert refused(content) == "not a picture that can be read; expected PNG, JPEG or BMP"

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
    def test_truncated(self, refused: Any, unseen: AnyArray, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"whole{suffix}"
        page(unseen[0], 100, 100).save(path)
        content = path.read_bytes()
        assert "cannot be read as a picture" in refused(content[: len(content) // 2])

    @pytest.mark.parametrize("side", [8_000, 60_000], ids=["64 million pixels", "3.6 billion pixels"])
    def test_too_many_pixels(self, refused: Any, side: int) -> None:
        """Told from the head of the file: its pixels are never unpacked."""
        said = refused(png_of_size(side, side))
        assert "at most 50,000,000 are read; make it smaller" in said


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose head promises that many gray pixels, and that holds one row of them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes(width + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
