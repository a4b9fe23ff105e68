from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.errors import InputError
from edgedigits_export.training.data import load_xy

ROWS = 12
LABELS = np.arange(ROWS, dtype=np.uint8)[:, None] % 10


@pytest.fixture
def folder(tmp_path: Path, x: Any) -> Path:
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


def test_course_files(folder: Path, x: Any) -> None:
    found, labels = load_xy(folder)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, x[:ROWS])
    assert labels.dtype == np.int64
    assert labels.tolist() == LABELS.ravel().tolist()


@pytest.mark.parametrize("stored", [LABELS.ravel(), LABELS.astype(np.float64), LABELS.astype(">i4")], ids=str)
def test_labels_in_another_form(folder: Path, stored: Any) -> None:
    np.save(folder / "y.npy", stored)
    assert load_xy(folder)[1].tolist() == LABELS.ravel().tolist()


def test_label_ten_stands_for_zero(folder: Path) -> None:
    np.save(folder / "y.npy", np.where(LABELS == 0, 10, LABELS))
    assert load_xy(folder)[1].tolist() == LABELS.ravel().tolist()


def test_fortran_order(folder: Path, x: Any) -> None:
    np.save(folder / "X.npy", np.asfortranarray(x[:ROWS]))
    np.testing.assert_array_equal(load_xy(folder)[0], x[:ROWS])


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
def test_bad_x(folder: Path, stored: Any, expected: str) -> None:
    np.save(folder / "X.npy", stored)
    assert refused(load_xy, folder) == f"{folder / 'X.npy'}: {expected}" + (
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
def test_bad_y(folder: Path, stored: Any, expected: str) -> None:
    np.save(folder / "y.npy", stored)
    assert expected in refused(load_xy, folder)


@pytest.mark.parametrize(
    "content",
    [b"", pickle.dumps([1, 2]), b"PK\x03\x04"],
)
def test_not_an_array(folder: Path, content: bytes) -> None:
    (folder / "y.npy").write_bytes(content)
    message = refused(load_xy, folder)
    assert message.startswith(f"{folder / 'y.npy'}: not a readable .npy array (")
    assert message.endswith("); write it with numpy.save")


def test_missing(folder: Path) -> None:
    (folder / "X.npy").unlink()
    assert refused(load_xy, folder).startswith(f"{folder / 'X.npy'}: no such file; expected a NumPy .npy array there")
    (folder / "X.npy").mkdir()
    assert "no such file" in refused(load_xy, folder)
