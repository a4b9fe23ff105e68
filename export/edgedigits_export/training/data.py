"""The training data: inputs X and labels y, with or without a test set, in a folder of .npy files or in one .npz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedigits.bundle.arrays import read_npy, read_npz
from edgedigits.bundle.dataset import SIDE, Labels
from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.limits import RefusedError
from edgedigits_export.training.labels import is_course_order, label_reader

Shape = tuple[int | None, ...]
NAMES = ("X", "y", "X_test", "y_test")


@dataclass(frozen=True)
class HeldOut:
    """Inputs (m, ...) float32 and labels (m,) that neither tuning nor calibration may see.

    ``images`` are the 28x28 digits of an unseen.npz that the inputs were made from; a bundle does not contain those.
    """

    x: FloatArray
    y: Labels
    images: AnyArray | None = None


@dataclass(frozen=True)
class Dataset:
    """Inputs x (m, ...) float32, every value finite, their classes y (m,) int64, and the names of all classes."""

    x: FloatArray
    y: Labels
    labels: tuple[str, ...]
    held_out: HeldOut | None = None


def load_xy(path: Path) -> tuple[FloatArray, Labels]:
    """X (m, 400) and y (m,) of the digits; raises as :func:`load`."""
    data = load(path, (SIDE * SIDE,), 10)
    return data.x, data.y


def load(
    path: Path,
    shape: Shape,
    classes: int,
    *,
    names: Sequence[str] = (),
    labels_from: int | None = None,
    test_fraction: float | None = None,
    seed: int = 1234,
) -> Dataset:
    """Read and check X, y and, if they are there, X_test and y_test.

    Args:
        path: a folder with X.npy and y.npy, or an .npz with X and y.
        shape: of the model's input; None is any length.
        classes: how many the model has.
        names: the classes' names, in the order of the model's outputs.
        labels_from: the label that stands for the first class; None: 0, unless the labels end at ``classes``.
        test_fraction: the share of each class that is held out from X.
        seed: random seed of that choice.

    Raises InputError if something is missing, damaged, pickled, of another shape or dtype, or not finite, if lengths
    differ, or if a label is no class.
    """
    arrays, where = _read(path)
    if "X_test" in arrays and test_fraction is not None:
        raise InputError(f"{path} has X_test, so --test-fraction is not needed; leave one of them out")
    return check_arrays(arrays, where, shape, classes, names, labels_from, test_fraction, seed)


def check_arrays(
    arrays: Mapping[str, AnyArray],
    where: Mapping[str, str],
    shape: Shape,
    classes: int,
    names: Sequence[str] = (),
    labels_from: int | None = None,
    test_fraction: float | None = None,
    seed: int = 1234,
) -> Dataset:
    """Check X, y and, optionally, X_test and y_test as :func:`load` does; ``where`` names each in messages."""
    x, stored = _inputs(arrays["X"], shape, where["X"]), arrays["y"]
    course = shape == (SIDE * SIDE,) and is_course_order(stored)
    reader = label_reader(stored, where["y"], classes, names, labels_from, course)
    y = reader.read(stored, where["y"])
    _check_lengths(where, x, y)
    held_out = None
    if "X_test" in arrays:
        inputs, labels = (
            _inputs(arrays["X_test"], shape, where["X_test"]),
            reader.read(arrays["y_test"], where["y_test"]),
        )
        _check_lengths(where, inputs, labels, "_test")
        held_out = HeldOut(inputs, labels)
    elif test_fraction is not None:
        chosen = split(y, test_fraction, seed)
        if not chosen.any() or chosen.all():
            raise InputError(f"--test-fraction {test_fraction} of {len(y)} rows is {chosen.sum()}; give another")
        held_out, x, y = HeldOut(x[chosen], y[chosen]), x[~chosen], y[~chosen]
    return Dataset(x, y, reader.names, held_out)


def split(y: Labels, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which rows are held out, (m,): ``fraction`` of each class, rounded, at random."""
    generator, chosen = np.random.default_rng(seed), np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        chosen[generator.permutation(rows)[: round(len(rows) * fraction)]] = True
    return chosen


def _read(path: Path) -> tuple[dict[str, AnyArray], dict[str, str]]:
    """The arrays by name, and what to call each in a message; never unpickled."""
    if path.is_file():
        return _read_npz(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a folder with X.npy and y.npy, or an .npz")
    files = {name: path / f"{name}.npy" for name in NAMES}
    arrays = {}
    for name, file in files.items():
        if not file.exists():
            if name.endswith("_test") and not any(files[n].exists() for n in NAMES[2:]):
                continue
            raise InputError(f"{file}: no such file; expected a NumPy .npy array there (see data/README.md)")
        try:
            arrays[name] = read_npy(file)
        except OSError as cause:
            raise InputError(
                f"{file}: cannot be read ({cause.strerror or cause}); expected a NumPy .npy array there"
            ) from cause
        except RefusedError as cause:
            raise InputError(f"{file}: not a readable .npy array ({cause}); write it with numpy.save") from cause
    return arrays, {name: str(file) for name, file in files.items()}


def _read_npz(path: Path) -> tuple[dict[str, AnyArray], dict[str, str]]:
    try:
        arrays = read_npz(path, NAMES)
    except (OSError, RefusedError) as cause:
        raise InputError(f"{path}: not a readable .npz ({cause}); write it with numpy.savez(file, X=X, y=y)") from cause
    missing = [name for name in NAMES[: 4 if arrays.keys() & set(NAMES[2:]) else 2] if name not in arrays]
    if missing:
        arguments = ", ".join(f"{name}={name}" for name in NAMES[: 4 if missing[-1] in NAMES[2:] else 2])
        raise InputError(f"{path}: {', '.join(missing)} is missing; write it with numpy.savez(file, {arguments})")
    return arrays, {name: f"{path}, {name}" for name in NAMES}


def _check_lengths(where: Mapping[str, str], x: FloatArray, y: Labels, suffix: str = "") -> None:
    if len(x) != len(y):
        names = where[f"X{suffix}"], where[f"y{suffix}"]
        raise InputError(f"{names[0]} has {len(x)} rows and {names[1]} has {len(y)}; they must have the same length")


def _inputs(raw: AnyArray, shape: Shape, where: str) -> FloatArray:
    """Inputs (m, *shape) float32 from an array of that shape, or of one that lacks or adds a last axis of 1."""
    if raw.dtype.kind not in "fiub":
        raise InputError(f"{where}: dtype {raw.dtype}; expected numbers, such as float32 or uint8")
    own = raw.shape[1:]
    fitting = [size for size in (own, (*own, 1), own[:-1] if own[-1:] == (1,) else own) if _fits(size, shape)]
    if not fitting or not len(raw):
        expected = ", ".join("any" if n is None else str(n) for n in ("m", *shape)) + ("," if not shape else "")
        raise InputError(
            f"{where}: shape {raw.shape}; expected ({expected}){_reshaped(own, shape) if len(raw) else ''}"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        x = np.ascontiguousarray(raw.reshape(len(raw), *fitting[0]), dtype=np.float32)
    bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    if bad.any():
        raise InputError(
            f"{where}: NaN or infinity in {bad.sum()} rows, the first is row {bad.argmax()}; remove or repair them"
        )
    return x


def _fits(own: tuple[int, ...], shape: Shape) -> bool:
    return len(own) == len(shape) and all(b in (None, a) for a, b in zip(own, shape, strict=True))


def _reshaped(own: tuple[int, ...], shape: Shape) -> str:
    """What to type for inputs that have as many values as the model takes, but in another shape."""
    if None in shape or int(np.prod(own)) != int(np.prod([n or 0 for n in shape])):
        return ", one row per input"
    if len(own) == len(shape) == 3 and _fits((own[1], own[2], own[0]), shape):
        return "; channels go last: X.transpose(0, 2, 3, 1)"
    if len(shape) == 1:
        return f"; X.reshape(len(X), {shape[0]}) flattens pictures by rows; the order must be that of the training"
    return f"; X.reshape(len(X), {', '.join(map(str, shape))}) if the values are by rows, as in the training"
