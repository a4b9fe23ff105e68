"""Files as people have them and files that are no pictures: read, or refused in one clear line."""

from __future__ import annotations

import os
import struct
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
from edgedigits.pictures.preprocessing import look, read_picture
from edgedigits.runtimes.tensors import AnyArray

Picture = Image.Image


def drawn(digit: AnyArray, side: int = 100) -> Picture:
    """Light on dark, smooth."""
    return Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)


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

    @pytest.mark.parametrize("kind", ["EPS", "ICO", "SGI", "PDF"])
    def test_formats_that_are_not_meant(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """An EPS is a program, which Pillow would have Ghostscript run: here by a file of that name on the path."""
        (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
        (tmp_path / "gs").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        path = tmp_path / f"digit.{kind.lower()}"
        Image.new("L", (40, 40), "white").save(path, kind)
        for source in (path, BytesIO(path.read_bytes())):
            with pytest.raises(InputError, match=f"^it: ({kind} is not read; save it as PNG|not a picture)"):
                look(source, "it")
        assert not (tmp_path / "ran").exists()

    def test_missing(self, refused: Any) -> None:
        assert refused(None) == "no such file; give the path of a picture"

    def test_folder(self, refused: Any, tmp_path: Path) -> None:
        (tmp_path / "digit.png").mkdir()
        assert "cannot be read as a picture" in refused(None)

    @pytest.mark.parametrize("content", [b"", b"not a picture", bytes(1000), b"%PDF-1.7"])
    def test_not_a_picture(self, refused: Any, content: bytes) -> None:
        assert refused(content) == "not a picture that can be read; expected PNG, JPEG or BMP"

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".tif", ".webp"])
    def test_truncated(self, refused: Any, unseen: AnyArray, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"whole{suffix}"
        drawn(unseen[0]).save(path)
        content = path.read_bytes()
        assert "cannot be read as a picture" in refused(content[: len(content) // 2])

    @pytest.mark.parametrize("side", [8_000, 20_000, 60_000], ids=["64 million", "400 million", "3.6 billion pixels"])
    def test_too_many_pixels(self, refused: Any, side: int) -> None:
        """Told from the head of the file: its pixels are never unpacked."""
        said = refused(png_of_size(side, side))
        assert "at most 50,000,000 are read; make it smaller" in said

    @pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 20), (20, 0)])
    def test_of_no_size(self, refused: Any, width: int, height: int) -> None:
        assert refused(png_of_size(width, height)) == "not a picture that can be read; expected PNG, JPEG or BMP"

    @pytest.mark.parametrize(
        "content",
        [
            b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 0, 0, 1, 24, 0, 0, 0, 0, 0, 0),
            b"GIF89a" + struct.pack("<HHBBB", 0, 0, 0, 0, 0) + b";",
            b"P5 0 0 255\n",
        ],
        ids=["BMP", "GIF", "PGM"],
    )
    def test_of_no_size_in_other_formats(self, refused: Any, content: bytes) -> None:
        assert refused(content) == "not a picture that can be read; expected PNG, JPEG or BMP"

    @pytest.mark.parametrize("size", [(1, 1), (2, 500), (7, 7), (20_000, 9)], ids=str)
    def test_too_small_to_hold_a_digit(self, refused: Any, size: tuple[int, int]) -> None:
        speckled = np.random.default_rng(0).integers(0, 256, size[::-1]).astype(np.uint8)
        assert refused(Image.fromarray(speckled)).startswith("no digit found: the picture is too small or too narrow")

    def test_bytes_changed_anywhere(self, unseen: AnyArray, tmp_path: Path) -> None:
        """Read or refused, but never another exception and never a warning (which the tests make an error)."""
        random = np.random.default_rng(0)
        for suffix in (".png", ".jpg", ".gif", ".bmp", ".tif", ".webp"):
            whole = tmp_path / f"whole{suffix}"
            drawn(unseen[30]).save(whole)
            content = whole.read_bytes()
            for number in range(40):
                changed = bytearray(content)
                for at in random.integers(2, len(changed), 4):
                    changed[at] = random.integers(256)
                path = tmp_path / f"{number}{suffix}"
                path.write_bytes(changed)
                try:
                    assert np.isfinite(read_picture(path)).all()
                except InputError as error:
                    assert str(error).startswith(f"{path}: ")  # noqa: PT017 (either is right)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read every file")
    def test_no_permission(self, refused: Any, tmp_path: Path) -> None:
        (tmp_path / "digit.png").write_bytes(b"")
        (tmp_path / "digit.png").chmod(0)
        assert refused(None) == "may not be read; change its permissions, or read it as its owner"

    @pytest.mark.skipif(not Path("/proc/1/mem").exists(), reason="there is no file here that nobody may read")
    def test_no_permission_for_anybody(self) -> None:
        with pytest.raises(InputError, match=r"/proc/1/mem: (may not|cannot) be read"):
            read_picture(Path("/proc/1/mem"))


class TestKinds:
    """Every way to store a picture of a digit gives the same model input as the plain one."""

    @pytest.fixture
    def plain(self, unseen: AnyArray) -> Picture:
        """Black on white."""
        return drawn(unseen[30]).point(lambda v: 255 - v)

    @pytest.fixture
    def same(self, plain: Picture, tmp_path: Path) -> Callable[..., None]:
        def check(picture: Picture, suffix: str = ".png", most: float = 0.05, **options: Any) -> None:
            plain.save(tmp_path / "plain.png")
            picture.save(tmp_path / f"other{suffix}", **options)
            expected, found = (read_picture(tmp_path / name) for name in ("plain.png", f"other{suffix}"))
            np.testing.assert_allclose(found, expected, rtol=0, atol=most)

        return check

    def test_16_and_12_bits(self, same: Any, plain: Picture) -> None:
        for factor in (257, 16):
            same(Image.fromarray(np.asarray(plain).astype(np.uint16) * factor), ".png", 0.01)

    def test_32_bits_and_fractions(self, same: Any, plain: Picture) -> None:
        same(Image.fromarray(np.asarray(plain).astype(np.int32) * 1000 - 99_999), ".tif", 0.02)
        same(Image.fromarray(np.asarray(plain).astype(np.float32) / 255), ".tif", 0.02)

    def test_not_a_number(self, same: Any, plain: Picture) -> None:
        gray = np.asarray(plain).astype(np.float32) / 255
        gray[0, 0], gray[1, 1] = np.nan, np.inf
        same(Image.fromarray(gray), ".tif", 0.02)

    def test_cmyk(self, same: Any, plain: Picture) -> None:
        same(plain.convert("CMYK"), ".tif")
        same(plain.convert("CMYK"), ".jpg", 0.1, quality=95)

    @pytest.mark.parametrize("suffix", [".gif", ".png"])
    def test_of_an_animation_the_first_frame(self, same: Any, plain: Picture, suffix: str) -> None:
        blank = Image.new("L", plain.size, 255)
        same(plain, suffix, save_all=True, append_images=[blank, blank])

    @pytest.mark.parametrize("suffix", [".gif", ".png"])
    def test_palette_with_transparency(self, same: Any, plain: Picture, suffix: str) -> None:
        """The transparent color is a loud one, which must not show."""
        picture = Image.new("P", plain.size, 0)
        picture.putpalette([255, 0, 0, 0, 0, 0, *[9] * 750])
        picture.paste(1, mask=plain.point(lambda v: 255 * (v < 128)))
        same(picture, suffix, 0.45, transparency=0)  # a hard edge instead of a soft one

    @pytest.mark.parametrize("shade", [0, 255], ids=["black", "white"])
    def test_ink_of_any_shade_on_nothing(self, same: Any, plain: Picture, shade: int) -> None:
        picture = Image.new("RGBA", plain.size, (shade, shade, shade, 0))
        picture.putalpha(plain.point(lambda v: 255 - v))
        same(picture)

    def test_from_a_stream(self, plain: Picture, tmp_path: Path) -> None:
        plain.save(tmp_path / "plain.png")
        found = look(BytesIO((tmp_path / "plain.png").read_bytes()), "standard input").row
        np.testing.assert_array_equal(found, read_picture(tmp_path / "plain.png"))
        with pytest.raises(InputError, match=r"^standard input: not a picture"):
            look(BytesIO(b"nothing"), "standard input")

    def test_a_large_jpeg_is_unpacked_at_a_part_of_its_size(self, plain: Picture, tmp_path: Path) -> None:
        path = tmp_path / "large.jpg"
        plain.resize((5000, 5000)).save(path)
        assert max(load_gray(path, "large").size) <= 2500

    @pytest.mark.parametrize("size", [(4000, 3000), (2250, 4000)])
    def test_a_phones_photo_is_unpacked_at_a_half(self, plain: Picture, tmp_path: Path, size: tuple[int, int]) -> None:
        path = tmp_path / "large.jpg"
        plain.resize(size).save(path)
        assert load_gray(path, "large").size == (size[0] // 2, size[1] // 2)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose head promises that many gray pixels, and that holds one row of them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes(width + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
