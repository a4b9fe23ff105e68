"""Pictures of every supported kind are read; other files are refused in one clear line."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedigits.errors import InputError
from edgedigits.pictures.decoding import load_gray
from edgedigits.pictures.preprocessing import preprocess
from edgedigits.runtimes.tensors import AnyArray

Picture = Image.Image


def drawn(digit: AnyArray, side: int = 100) -> Picture:
    """Light on dark, smooth."""
    return Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header declares that many gray pixels, and that holds one row of them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes(width + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class TestRefusedPictures:
    @pytest.fixture
    def refused(self, tmp_path: Path) -> Callable[[bytes | Picture | None], str]:
        """Why a file is refused, without its name."""

        def message(content: bytes | Picture | None) -> str:
            path = tmp_path / "digit.png"
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content is not None:
                content.save(path)
            with pytest.raises(InputError) as caught:
                preprocess(path)
            name, _, reason = str(caught.value).partition(": ")
            assert name == str(path)
            assert "\n" not in reason
            return reason

        return message

    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "1"])
    def test_blank(self, refused: Any, mode: str) -> None:
        picture = Image.new(mode, (50, 40), {"RGB": (1, 1, 1), "RGBA": (1, 1, 1, 1)}.get(mode, 1))
        assert refused(picture).startswith("no digit found: the picture has only one brightness; use darker ink")

    @pytest.mark.parametrize("size", [(1, 1), (2, 500), (7, 7), (20_000, 9)], ids=str)
    def test_too_small_to_show_a_digit(self, refused: Any, size: tuple[int, int]) -> None:
        speckled = np.random.default_rng(0).integers(0, 256, size[::-1]).astype(np.uint8)
        assert refused(Image.fromarray(speckled)).startswith("no digit found: the picture is too small or too narrow")

    @pytest.mark.parametrize("kind", ["EPS", "ICO", "SGI", "PDF"])
    def test_unsupported_formats(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An EPS is a program that Pillow would run with Ghostscript, here replaced by a file named gs on the path."""
        (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
        (tmp_path / "gs").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        path = tmp_path / f"digit.{kind.lower()}"
        Image.new("L", (40, 40), "white").save(path, kind)
        for source in (path, BytesIO(path.read_bytes())):
            with pytest.raises(InputError, match=r"^it: not a supported picture"):
                preprocess(source, "it")
        assert not (tmp_path / "ran").exists()

    def test_missing_file_and_folder(self, refused: Any, tmp_path: Path) -> None:
        assert refused(None) == "no such file; give the path of a picture"
        (tmp_path / "digit.png").mkdir()
        assert "cannot be read as a picture" in refused(None)

    @pytest.mark.parametrize(
        "content",
        [b"", b"not a picture", bytes(1000), png_of_size(0, 20)],
        ids=["empty", "text", "zeros", "PNG without pixels"],
    )
    def test_not_a_picture(self, refused: Any, content: bytes) -> None:
        assert refused(content) == "not a supported picture; expected PNG, JPEG, BMP, GIF, TIFF or WebP"

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".tif", ".webp"])
    def test_damaged_files(self, refused: Any, unseen: AnyArray, tmp_path: Path, suffix: str) -> None:
        """Changed bytes: read or refused, but never another exception or a warning (which pytest makes an error)."""
        random = np.random.default_rng(0)
        path = tmp_path / f"whole{suffix}"
        drawn(unseen[30]).save(path)
        content = path.read_bytes()
        assert "cannot be read as a picture" in refused(content[: len(content) // 2])
        for _ in range(40):
            changed = bytearray(content)
            for at in random.integers(2, len(changed), 4):
                changed[at] = random.integers(256)
            try:
                assert np.isfinite(preprocess(BytesIO(changed), "it").row).all()
            except InputError as error:
                assert str(error).startswith("it: ")  # noqa: PT017 (both outcomes are right)

    @pytest.mark.parametrize("side", [8_000, 20_000, 60_000], ids=["64 million", "400 million", "3.6 billion pixels"])
    def test_too_many_pixels(self, refused: Any, side: int) -> None:
        """The header suffices; the pixels are never decoded."""
        assert "more than 50,000,000 pixels" in refused(png_of_size(side, side))

    @pytest.mark.skipif(not Path("/proc/1/mem").exists(), reason="there is no file here that nobody may read")
    def test_no_permission(self) -> None:
        with pytest.raises(InputError, match=r"^/proc/1/mem: (permission denied|cannot be read)"):
            preprocess(Path("/proc/1/mem"))


class TestKinds:
    """Every way to store a picture of a digit gives the same model input as the plain one."""

    @pytest.fixture
    def plain(self, unseen: AnyArray) -> Picture:
        """Black on white."""
        return drawn(unseen[30]).point(lambda v: 255 - v)

    @pytest.fixture
    def same(self, plain: Picture, tmp_path: Path) -> Callable[..., None]:
        def check(picture: Picture, suffix: str = ".png", tolerance: float = 0.05, **options: Any) -> None:
            plain.save(tmp_path / "plain.png")
            picture.save(tmp_path / f"other{suffix}", **options)
            expected, found = (preprocess(tmp_path / name).row for name in ("plain.png", f"other{suffix}"))
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)

        return check

    def test_more_than_8_bits(self, same: Any, plain: Picture) -> None:
        gray = np.asarray(plain)
        for factor in (257, 16):  # 16 and 12 bits
            same(Image.fromarray(gray.astype(np.uint16) * factor), ".png", 0.01)
        same(Image.fromarray(gray.astype(np.int32) * 1000 - 99_999), ".tif", 0.02)
        fractions = gray.astype(np.float32) / 255
        same(Image.fromarray(fractions), ".tif", 0.02)
        fractions[0, 0], fractions[1, 1] = np.nan, np.inf
        same(Image.fromarray(fractions), ".tif", 0.02)

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P"])
    def test_modes(self, same: Any, plain: Picture, mode: str) -> None:
        same(plain.convert(mode), ".tif")
        if mode != "P":
            same(plain.convert(mode), ".jpg", 0.1, quality=95)
        same(plain.convert("1", dither=Image.Dither.NONE), tolerance=0.45)  # a hard edge instead of a soft one

    @pytest.mark.parametrize(
        ("orientation", "stored"),
        [
            (3, Image.Transpose.ROTATE_180),
            (6, Image.Transpose.ROTATE_90),
            (8, Image.Transpose.ROTATE_270),
            (2, Image.Transpose.FLIP_LEFT_RIGHT),
        ],
    )
    def test_exif_orientation(self, same: Any, plain: Picture, orientation: int, stored: Any) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        same(plain.transpose(stored), exif=exif)

    @pytest.mark.parametrize("suffix", [".gif", ".png"])
    def test_first_frame_of_an_animation(self, same: Any, plain: Picture, suffix: str) -> None:
        blank = Image.new("L", plain.size, 255)
        same(plain, suffix, save_all=True, append_images=[blank, blank])

    @pytest.mark.parametrize("suffix", [".gif", ".png"])
    def test_palette_with_transparency(self, same: Any, plain: Picture, suffix: str) -> None:
        """The transparent color is bright red, which must not show."""
        picture = Image.new("P", plain.size, 0)
        picture.putpalette([255, 0, 0, 0, 0, 0, *[9] * 750])
        picture.paste(1, mask=plain.point(lambda v: 255 * (v < 128)))
        same(picture, suffix, 0.45, transparency=0)  # a hard edge instead of a soft one

    @pytest.mark.parametrize("shade", [0, 255], ids=["black", "white"])
    def test_ink_on_a_transparent_background(self, same: Any, plain: Picture, shade: int) -> None:
        picture = Image.new("RGBA", plain.size, (shade, shade, shade, 0))
        picture.putalpha(plain.point(lambda v: 255 - v))
        same(picture)

    @pytest.mark.parametrize(("size", "factor"), [((4000, 3000), 2), ((2250, 4000), 2), ((8000, 8000), 4)])
    def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(
        self, plain: Picture, size: tuple[int, int], factor: int
    ) -> None:
        stream = BytesIO()
        plain.resize(size).save(stream, "JPEG")
        assert load_gray(stream).size == (size[0] // factor, size[1] // factor)
