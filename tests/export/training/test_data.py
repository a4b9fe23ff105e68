from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.errors import InputError
from edgedigits_export.commands.options import load_dataset
from edgedigits_export.training.data import Dataset, load, load_xy, split
from edgedigits_export.training.labels import is_course_order

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


def test_labels_from_1_are_never_guessed(folder: Path) -> None:
    np.save(folder / "y.npy", np.where(LABELS == 0, 10, LABELS))
    assert "can mean two things: give --labels-from 1" in refused(load_xy, folder)
    assert load(folder, (400,), 10, labels_from=1).y.tolist() == ((LABELS.astype(int).ravel() - 1) % 10).tolist()
    assert "label 10 in row 0; expected 0 to 9" in refused(partial(load, labels_from=0), folder, (400,), 10)


def test_the_courses_own_files_need_no_option(tmp_path: Path, x: Any, y: Any) -> None:
    """They have float64 values and labels 1 to 10, where 10 stands for 0."""
    np.save(tmp_path / "X.npy", x.astype(np.float64))
    np.save(tmp_path / "y.npy", np.where(y == 0, 10, y).astype(np.uint8)[:, None])
    np.testing.assert_array_equal(load_xy(tmp_path)[1], y)
    assert not is_course_order(np.where(y == 0, 10, y)[::-1])


def test_fortran_order(folder: Path, x: Any) -> None:
    np.save(folder / "X.npy", np.asfortranarray(x[:ROWS]))
    np.testing.assert_array_equal(load_xy(folder)[0], x[:ROWS])


@pytest.mark.parametrize(
    ("dtype", "stored", "shape"),
    [
        (np.uint8, (4, 4), (4, 4, 1)),
        (np.int16, (4, 4, 1), (4, 4)),
        (bool, (7,), (7,)),
        (np.float64, (5, 3, 2, 3), (5, None, None, 3)),
    ],
)
def test_any_shape_and_dtype_that_fit(tmp_path: Path, dtype: Any, stored: Any, shape: Any) -> None:
    values = np.random.default_rng(0).integers(0, 2, (6, *stored)).astype(dtype)
    np.savez(tmp_path / "d.npz", X=values, y=np.array([0, 1, 2] * 2))
    found = load(tmp_path / "d.npz", shape, 3)
    assert found.x.dtype == np.float32
    assert len(found.x.shape) == len(shape) + 1
    np.testing.assert_array_equal(found.x.ravel(), values.ravel())


NAMED = np.array(["dog", "ant", "cat", "ant"])


@pytest.mark.parametrize(
    ("stored", "names", "expected"),
    [
        (NAMED, (), [2, 0, 1, 0]),
        (NAMED.astype("S"), (), [2, 0, 1, 0]),
        (NAMED, ("dog", "cat", "ant"), [0, 2, 1, 2]),
        (np.eye(3)[[2, 0, 1, 0]], ("ant", "cat", "dog"), [2, 0, 1, 0]),
        (np.array([2.0, 0, 1, 0]), ("ant", "cat", "dog"), [2, 0, 1, 0]),
    ],
)
def test_names_and_one_hot_rows(tmp_path: Path, stored: Any, names: Any, expected: Any) -> None:
    np.savez(tmp_path / "d.npz", X=np.zeros((4, 2)), y=stored, X_test=np.zeros((4, 2)), y_test=stored)
    found = load(tmp_path / "d.npz", (2,), 3, names=names)
    assert found.y.tolist() == expected
    assert set(found.labels) == {"ant", "cat", "dog"}
    assert found.held_out is not None
    assert found.held_out.y.tolist() == expected


@pytest.mark.parametrize(
    ("stored", "names", "expected"),
    [
        (np.array(list("abcd")), (), "4 different names ('a', 'b', 'c', 'd'), the model has 3 classes"),
        (np.array(list("abaa")), (), "name all in the order of the model's outputs with --labels"),
        (np.array(list("abcd")), ("a", "b", "c"), "'d' in row 3 is not one of 'a', 'b', 'c'"),
        (np.array([0, 1, 2, 0]), ("a", "b"), "--labels names 2 classes, but the model has 3"),
        (np.ones((4, 3)), (), "not every row has a single 1 among zeros"),
        (np.array([1, 2, 3, 3]), (), "labels up to 3 for 3 classes can mean two things"),
        (np.array([0, 300, 1, 1], np.uint16), (), "label 300 in row 1; expected 0 to 2"),
    ],
)
def test_labels_that_fit_no_class(tmp_path: Path, stored: Any, names: Any, expected: str) -> None:
    np.savez(tmp_path / "d.npz", X=np.zeros((4, 2)), y=stored)
    assert expected in refused(partial(load, names=names), tmp_path / "d.npz", (2,), 3)


@pytest.mark.parametrize(
    ("own", "shape", "remedy"),
    [
        ((20, 20), (400,), "X.reshape(len(X), 400) flattens pictures by rows"),
        ((16,), (4, 4, 1), "X.reshape(len(X), 4, 4, 1) if the values are by rows"),
        ((3, 4, 5), (4, 5, 3), "channels go last: X.transpose(0, 2, 3, 1)"),
        ((4, 5, 3), (5, 4, 3), "X.reshape(len(X), 5, 4, 3) if"),
    ],
)
def test_a_picture_is_never_silently_reshaped(tmp_path: Path, own: Any, shape: Any, remedy: str) -> None:
    np.savez(tmp_path / "d.npz", X=np.zeros((6, *own)), y=np.array([0, 1, 2] * 2))
    assert remedy in refused(load, tmp_path / "d.npz", shape, 3)


def test_a_test_fraction_holds_out_the_same_share_of_each_class(tmp_path: Path) -> None:
    y = np.repeat([0, 1, 2], [100, 50, 10])
    np.savez(tmp_path / "d.npz", X=np.arange(160.0)[:, None], y=y)

    def halves(seed: int = 1) -> Dataset:
        return load(tmp_path / "d.npz", (1,), 3, test_fraction=0.2, seed=seed)

    first, again = halves(), halves()
    assert first.held_out is not None
    assert again.held_out is not None
    assert np.bincount(first.held_out.y).tolist() == [20, 10, 2]
    assert sorted([*first.x[:, 0], *first.held_out.x[:, 0]]) == list(range(160))
    np.testing.assert_array_equal(first.held_out.x, again.held_out.x)
    assert (split(y, 0.2, 1) != split(y, 0.2, 2)).any()
    assert "is 0; give another" in refused(partial(load, test_fraction=0.001), tmp_path / "d.npz", (1,), 3)


def test_a_test_set_needs_both_arrays_and_no_fraction(folder: Path, x: Any) -> None:
    np.save(folder / "X_test.npy", x[:4])
    assert refused(load_xy, folder).startswith(f"{folder / 'y_test.npy'}: no such file")
    np.save(folder / "y_test.npy", LABELS[:3])
    assert "y_test.npy has 3; they must" in refused(load_xy, folder)
    np.save(folder / "y_test.npy", LABELS[:4])
    assert "leave one of them out" in refused(partial(load, test_fraction=0.5), folder, (400,), 10)


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
        (np.zeros((ROWS, 399)), "shape (12, 399); expected (m, 400), one row per input"),
        (np.zeros(400), "shape (400,); expected (m, 400)"),
        (np.zeros((0, 400)), "shape (0, 400); expected (m, 400)"),
        (np.zeros((ROWS, 400), complex), "dtype complex128; expected numbers, such as float32 or uint8"),
        (np.full((ROWS, 400), "a"), "dtype <U1; expected numbers"),
        (nan_at(3, np.nan), "NaN or infinity in 1 rows, the first is row 3; remove or repair them"),
        (nan_at(4, -np.inf), "NaN or infinity in 1 rows, the first is row 4; remove or repair them"),
        (nan_at(5, 1e300), "NaN or infinity in 1 rows, the first is row 5; remove or repair them"),
    ],
)
def test_bad_x(folder: Path, stored: Any, expected: str) -> None:
    np.save(folder / "X.npy", stored)
    assert refused(load_xy, folder).startswith(f"{folder / 'X.npy'}: {expected}")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.zeros((ROWS, 2)), "shape (12, 2); expected one label per row of X, (m,) or (m, 1), or one-hot (m, 10)"),
        (np.zeros(()), "shape (); expected one label per row"),
        (
            np.arange(ROWS) / 2,
            "0.5 in row 1 is not a whole number, as in a regression; expected the classes 0 to 9, or",
        ),
        (np.full(ROWS, np.nan), "nan in row 0 is not a whole number"),
        (np.full(ROWS, 11), "label 11 in row 0; expected 0 to 9 for the model's 10 classes"),
        (np.full(ROWS, 1e300), "label 1e+300; expected 0 to 9"),
        (np.arange(ROWS) - 1, "label -1 in row 0"),
        (np.arange(ROWS) % 11, "label 10 in row 10; expected 0 to 9"),  # both 0 and 10
        (np.zeros(ROWS - 1), "y.npy has 11; they must have the same length"),
        (np.zeros(0), "y.npy has 0; they must have the same length"),
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
    (folder / "y.npy").unlink()
    assert refused(load_xy, folder).startswith(f"{folder / 'X.npy'}: cannot be read (Is a directory)")
    assert refused(load_xy, folder / "none.npz").startswith(f"{folder / 'none.npz'}: no such file or folder")
    np.savez(folder / "d.npz", X=np.zeros((4, 2)), y=np.zeros(4), X_test=np.zeros((4, 2)))
    missing = refused(load_xy, folder / "d.npz")
    assert "y_test is missing; write it with numpy.savez(file, X=X, y=y, X_test=X_test, y_test=y_test)" in missing


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.full((8, 7), np.nan), np.arange(8) % 3, "NaN or infinity in 8 rows"),
        (np.zeros((8, 7)), np.arange(7) % 3, "must have the same length"),
        (np.zeros((8, 7)), np.arange(8) % 5, "label 3 in row 3; expected 0 to 2"),
        (np.zeros((8, 7)), np.arange(8) % 3 + 1, "can mean two things"),
        (np.zeros((8, 7)), np.array(list("abcdabcd")), "4 different names"),
    ],
)
def test_the_export_refuses_bad_data_and_writes_nothing(
    small: tuple[Any, Any, Any], tmp_path: Path, x: Any, y: Any, message: str
) -> None:
    from edgedigits_export.commands.export import export

    small[0].save(tmp_path / "own.keras")
    np.savez(tmp_path / "own.npz", X=x, y=y)
    before = sorted(tmp_path.iterdir())
    arguments = ["--model", tmp_path / "own.keras", "--data", tmp_path / "own.npz", "--out", tmp_path / "bundle"]
    assert message in refused(partial(export.main, list(map(str, arguments)), standalone_mode=False))
    assert sorted(tmp_path.iterdir()) == before


def test_the_digits_in_the_package_can_be_held_out_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_dataset(None, (400,), 10, test_fraction=0.1)
    assert found.held_out is not None
    assert (len(found.x), len(found.held_out.x)) == (4500, 500)
    assert "give its X and y with --data" in refused(load_dataset, None, (7,), 3)
