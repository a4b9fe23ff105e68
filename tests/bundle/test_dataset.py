from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.dataset import load_28x28, to_image, to_row
from edgedigits.errors import InputError


def refused(load: Callable[..., Any], *arguments: Any) -> str:
    """The message of the InputError, which is one line."""
    with pytest.raises(InputError) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_column_major_there_and_back() -> None:
    image = np.arange(400).reshape(20, 20)
    row = to_row(image)
    assert row[:3].tolist() == [0, 20, 40]  # down the first column
    np.testing.assert_array_equal(to_image(row), image)


def test_28x28(tmp_path: Path, unseen: Any) -> None:
    path = tmp_path / "digits.npz"
    np.savez(path, images=unseen, labels=np.zeros(100, np.uint8))
    images, labels = load_28x28(path)
    np.testing.assert_array_equal(images, unseen)
    assert labels.dtype == np.int64


IMAGES = np.zeros((2, 28, 28), np.uint8)


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": IMAGES},
        {"images": IMAGES, "labels": np.zeros(3, np.uint8)},
        {"images": IMAGES[:, :20], "labels": np.zeros(2, np.uint8)},
        {"images": IMAGES.astype(float), "labels": np.zeros(2, np.uint8)},
        {"images": IMAGES[:0], "labels": np.zeros(0, np.uint8)},
    ],
    ids=["no labels", "other length", "28x20", "float", "none"],
)
def test_bad_28x28(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "digits.npz"
    np.savez(path, **arrays)
    message = refused(load_28x28, path)
    assert message.startswith(f"{path}: ")
    assert "; expected" in message


def test_damaged_28x28(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    assert "no such file; expected an .npz" in refused(load_28x28, path)
    np.savez(path, images=IMAGES, labels=np.zeros(2, np.uint8))
    path.write_bytes(path.read_bytes()[:400])
    assert "expected an .npz with images and labels" in refused(load_28x28, path)
