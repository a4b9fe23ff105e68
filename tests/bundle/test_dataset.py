from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.dataset import load_28x28, load_xy, to_image, to_row
from edgedigits.errors import InputError

ROWS = 12
LABELS = np.arange(ROWS, dtype=np.uint8)[:, None] % 10


@pytest.fixture
def data(tmp_path: Path, x: Any) -> Path:
    """A small folder as the course has it: float64 X, labels (m, 1)."""
    np.save(tmp_path / "X.npy", x[:ROWS].astype(np.float64))
    np.save(tmp_path / "y.npy", LABELS)
    return tmp_path


def refused(load: Callable[..., Any], *arguments: Any) -> str:
    """The message of the InputError, which is one line."""
    with pytest.raises(InputError) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_course_files(data: Path, x: Any) -> None:
    found, labels = load_xy(data)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, x[:ROWS])
    assert labels.dtype == np.int64
    assert labels.tolist() == LABELS.ravel().tolist()


@pytest.mark.parametrize("stored", [LABELS.ravel(), LABELS.astype(np.float64), LABELS.astype(">i4")], ids=str)
def test_labels_in_another_form(data: Path, stored: Any) -> None:
    np.save(data / "y.npy", stored)
    assert load_xy(data)[1].tolist() == LABELS.ravel().tolist()


def test_label_ten_stands_for_zero(data: Path) -> None:
    np.save(data / "y.npy", np.where(LABELS == 0, 10, LABELS))
    assert load_xy(data)[1].tolist() == LABELS.ravel().tolist()


def test_fortran_order(data: Path, x: Any) -> None:
    np.save(data / "X.npy", np.asfortranarray(x[:ROWS]))
    np.testing.assert_array_equal(load_xy(data)[0], x[:ROWS])


def test_other_sizes(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.ones((3, 7)))
    np.save(tmp_path / "y.npy", np.array([0, 1, 2]))
    assert load_xy(tmp_path, features=7, classes=3)[0].shape == (3, 7)


def test_whole_course_data(root: Path, x: Any, y: Any) -> None:
    """The project's own folder is what the bundle was made from."""
    found, labels = load_xy(root / "data")
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(labels, y)
    assert np.bincount(labels).tolist() == [500] * 10


def nan_at(row: int, value: float) -> Any:
    stored = np.zeros((ROWS, 400))
    stored[row, 17] = value
    return stored


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.zeros((ROWS, 399)), "shape (12, 399); expected (m, 400)"),
        (np.zeros((ROWS, 20, 20)), "shape (12, 20, 20); expected (m, 400)"),
        (np.zeros(400), "shape (400,); expected (m, 400)"),
        (np.zeros((0, 400)), "shape (0, 400); expected (m, 400)"),
        (np.zeros((ROWS, 400), complex), "dtype complex128; expected float32 or float64"),
        (np.full((ROWS, 400), "a"), "dtype <U1; expected float32 or float64"),
        (np.zeros((ROWS, 400), bool), "dtype bool; expected float32 or float64"),
        (nan_at(3, np.nan), "NaN or infinity in 1 rows, the first is row 3; remove or repair them"),
        (nan_at(4, -np.inf), "NaN or infinity in 1 rows, the first is row 4; remove or repair them"),
        (nan_at(5, 1e300), "NaN or infinity in 1 rows, the first is row 5; remove or repair them"),
    ],
)
def test_bad_x(data: Path, stored: Any, expected: str) -> None:
    np.save(data / "X.npy", stored)
    assert refused(load_xy, data) == f"{data / 'X.npy'}: {expected}" + (
        ", one row per image" if "(m, 400)" in expected else ""
    )


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.zeros((ROWS, 2)), "shape (12, 2); expected (m, 1) or (m,), one label per image"),
        (np.zeros(()), "shape (); expected (m, 1) or (m,)"),
        (np.full(ROWS, 0.5), "not whole numbers; expected integers 0..9"),
        (np.full(ROWS, np.nan), "not whole numbers; expected integers 0..9"),
        (np.full(ROWS, "7"), "labels of dtype <U1 that are not whole numbers"),
        (np.full(ROWS, 11), "label 11 in row 0; expected 0..9, or 1..10 with 10 for 0"),
        (np.arange(ROWS) - 1, "label -1 in row 0"),
        (np.arange(ROWS) % 11, "label 10 in row 10; expected 0..9, or 1..10 with 10 for 0"),  # both 0 and 10
        (np.zeros(ROWS - 1), "X.npy has 12 rows and y.npy has 11; they must have the same length"),
        (np.zeros(0), "X.npy has 12 rows and y.npy has 0; they must have the same length"),
    ],
)
def test_bad_y(data: Path, stored: Any, expected: str) -> None:
    np.save(data / "y.npy", stored)
    assert expected in refused(load_xy, data)


@pytest.mark.parametrize(
    "content",
    [b"", pickle.dumps([1, 2]), b"PK\x03\x04"],
)
def test_not_an_array(data: Path, content: bytes) -> None:
    (data / "y.npy").write_bytes(content)
    message = refused(load_xy, data)
    assert message.startswith(f"{data / 'y.npy'}: not a readable .npy array (")
    assert message.endswith("); write it with numpy.save")


def test_missing(data: Path) -> None:
    (data / "X.npy").unlink()
    assert refused(load_xy, data).startswith(f"{data / 'X.npy'}: no such file; expected a NumPy .npy array there")
    (data / "X.npy").mkdir()
    assert "no such file" in refused(load_xy, data)


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
