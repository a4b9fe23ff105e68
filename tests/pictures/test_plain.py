"""Pictures for models other than the digits': resized, scaled and laid out, and nothing else."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edgedigits.bundle.contract import Contract
from edgedigits.pictures.decoding import EXIF_ORIENTATION
from edgedigits.pictures.reading import read_picture
from edgedigits.runtimes.tensors import AnyArray

GRAY = Contract((12, 9, 1), pictures="plain", scale=255.0)


def row_of(picture: Image.Image, contract: Contract, exif: Image.Exif | None = None) -> AnyArray:
    stream = BytesIO()
    picture.save(stream, "png", exif=exif or Image.Exif())
    return read_picture(stream, contract).row


@pytest.fixture
def pixels() -> AnyArray:
    return np.random.default_rng(1).integers(0, 256, (12, 9, 3), np.uint8)


@pytest.mark.parametrize(
    "contract",
    [GRAY, Contract((12, 9), pictures="plain"), Contract((9, 12), pictures="plain", order="columns", scale=127.5)],
)
def test_a_gray_picture_of_the_same_size_is_unchanged(contract: Contract, pixels: AnyArray) -> None:
    gray = pixels[..., 0]
    row = row_of(Image.fromarray(gray), contract)
    assert (row.shape, str(row.dtype), row.flags.c_contiguous) == (contract.shape, "float32", True)
    np.testing.assert_array_equal(contract.to_picture(row), gray.astype(np.float32) / np.float32(contract.scale))


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_a_picture_in_color_is_unchanged(order: str, pixels: AnyArray) -> None:
    shape = (12, 9, 3) if order == "rows" else (9, 12, 3)
    contract = Contract(shape, pictures="plain", order=order)
    np.testing.assert_array_equal(contract.to_picture(row_of(Image.fromarray(pixels), contract)), pixels)


def test_other_sizes_are_resized_without_aliasing() -> None:
    stripes = np.zeros((120, 90), np.uint8)
    stripes[::2] = 255
    np.testing.assert_allclose(row_of(Image.fromarray(stripes), GRAY), 0.5, atol=0.05)


def test_orientation_color_and_transparency(pixels: AnyArray) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # to be turned clockwise
    turned = row_of(Image.fromarray(np.rot90(pixels[..., 0]).copy()), GRAY, exif)
    np.testing.assert_array_equal(GRAY.to_picture(turned), pixels[..., 0] / np.float32(255))
    assert row_of(Image.new("RGBA", (9, 12), (0, 0, 0, 0)), GRAY).min() == 1  # transparent: white
    red = row_of(Image.new("RGB", (9, 12), (255, 0, 0)), GRAY)
    np.testing.assert_allclose(red, 76 / 255, rtol=1e-6)  # the weights of ITU-R 601
    deep = Image.fromarray(np.full((12, 9), 65535, np.uint16))
    np.testing.assert_allclose(row_of(deep, GRAY), 1.0)
    np.testing.assert_allclose(row_of(deep, Contract((12, 9, 3), pictures="plain")), 255)
