"""Labels as people store them: whole numbers from 0 or 1, one-hot rows or names, and the classes that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedigits.bundle.dataset import Labels
from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import AnyArray

SHOWN = 5


@dataclass(frozen=True)
class LabelReader:
    """How the labels of a data set become classes 0..classes-1; the same for its test set.

    Attributes:
        names: the classes' names, in the order of the model's outputs; those of stored strings if there are any.
        first: the whole number that stands for class 0.
        wraps: whether ``classes`` stands for class 0, as 10 does in the course's files.
    """

    classes: int
    names: tuple[str, ...]
    first: int = 0
    wraps: bool = False

    def read(self, stored: AnyArray, where: str) -> Labels:
        """The classes (m,) int64 of ``stored`` labels; InputError names the first that is no class."""
        values = _flat(stored, self.classes, where)
        if values.dtype.kind == "U":
            index = {name: number for number, name in enumerate(self.names)}
            y: Labels = np.array([index.get(name, -1) for name in values.tolist()], np.int64)
            if y.min(initial=0) < 0:
                row = int(y.argmin())
                raise InputError(f"{where}: {str(values[row])!r} in row {row} is not one of {_listed(self.names)}")
            return y
        y = values % self.classes if self.wraps else values - self.first
        wrong = (y < 0) | (y >= self.classes)
        if wrong.any():
            row = int(wrong.argmax())
            expected = f"{self.first} to {self.first + self.classes - 1} for the model's {self.classes} classes"
            raise InputError(f"{where}: label {values[row]} in row {row}; expected {expected}")
        return y


def label_reader(
    stored: AnyArray, where: str, classes: int, names: Sequence[str], first: int | None, of_the_course: bool
) -> LabelReader:
    """The reader that fits ``stored``, the labels that go with X.

    Strings without ``names`` are sorted by code point, as numpy.unique, scikit-learn's LabelEncoder and Keras sort
    them. Labels 1..classes are never guessed at, except ``of_the_course``, where 10 stands for 0.

    Raises InputError for labels of no known form, too many or too few strings, and labels 1..classes without ``first``.
    """
    if names and len(names) != classes:
        raise InputError(f"--labels names {len(names)} classes, but the model has {classes}; name each once, in order")
    values = _flat(stored, classes, where)
    if values.dtype.kind == "U":
        found = tuple(sorted(set(values.tolist())))
        if not names and len(found) != classes:
            remedy = "" if len(found) > classes else "; name all in the order of the model's outputs with --labels"
            raise InputError(
                f"{where}: {len(found)} different names ({_listed(found)}), the model has {classes} classes{remedy}"
            )
        return LabelReader(classes, tuple(names) or found)
    known = tuple(names) or tuple(map(str, range(classes)))
    if stored.ndim == 2 and stored.shape[1] == classes > 1:  # one-hot
        return LabelReader(classes, known)
    if first is None and values.size and values.min() >= 1 and values.max() == classes:
        if of_the_course:
            return LabelReader(classes, known, wraps=True)
        raise InputError(
            f"{where}: labels up to {classes} for {classes} classes can mean two things: give --labels-from 1 to "
            f"`edgedigits export` where label 1 is the first class, or save y % {classes} where {classes} stands for 0"
        )
    return LabelReader(classes, known, first or 0)


def is_course_order(stored: AnyArray) -> bool:
    """Whether these are the course's 5000 labels: 500 each of 10, 1, 2 to 9, where 10 stands for 0."""
    order = np.repeat([10, *range(1, 10)], 500)
    return stored.size == order.size and stored.dtype.kind in "iuf" and np.array_equal(stored.reshape(-1), order)


def _flat(stored: AnyArray, classes: int, where: str) -> AnyArray:
    """Labels (m,), int64 or strings, from (m,), (m, 1) or one-hot (m, classes)."""
    kind = stored.dtype.kind
    if stored.ndim == 2 and stored.shape[1] == classes > 1 and kind in "biuf":
        one_hot = ((stored == 0) | (stored == 1)).all() and (stored.sum(axis=1) == 1).all()
        if not one_hot:
            raise InputError(f"{where}: shape {stored.shape}, but not every row has a single 1 among zeros (one-hot)")
        rows: Labels = stored.argmax(axis=1).astype(np.int64)
        return rows
    if not (stored.ndim == 1 or (stored.ndim == 2 and stored.shape[1] == 1)):
        raise InputError(
            f"{where}: shape {stored.shape}; expected one label per row of X, (m,) or (m, 1), or one-hot (m, {classes})"
        )
    flat = stored.reshape(-1)
    if kind in "SU":
        try:
            names: AnyArray = np.char.decode(flat, "utf-8") if kind == "S" else flat
        except UnicodeDecodeError as cause:
            raise InputError(f"{where}: names that are not UTF-8; save them as numpy strings of dtype U") from cause
        return names
    with np.errstate(invalid="ignore"):
        whole = kind in "biu" or (kind == "f" and np.isfinite(flat).all() and (flat == np.floor(flat)).all())
    if not whole:
        whole_ones = flat == np.floor(flat) if kind == "f" else np.zeros(flat.shape, bool)
        row = int(np.argmin(whole_ones))
        raise InputError(
            f"{where}: {flat[row]} in row {row} is not a whole number, as in a regression; expected the classes 0 to "
            f"{classes - 1}, or names"
        )
    if flat.size and np.abs(flat.astype(np.float64)).max() > 2**31:
        raise InputError(
            f"{where}: label {flat[np.abs(flat.astype(np.float64)).argmax()]}; expected 0 to {classes - 1}"
        )
    return flat.astype(np.int64)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(str(name)) for name in names[:SHOWN]) + more
