"""The training data: X.npy, one image a row, and y.npy, their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgedigits.bundle.arrays import read_npy
from edgedigits.bundle.dataset import SIDE, Labels
from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.limits import RefusedError


def load_xy(folder: Path, features: int = SIDE * SIDE, classes: int = 10) -> tuple[FloatArray, Labels]:
    """Read and check ``X.npy`` and ``y.npy``.

    float64 is converted to float32. Labels are 0..classes-1, or 1..classes where the last stands for 0, as in a .mat.

    Returns:
        X (m, features) float32, every value finite; y (m,) int64 in 0..classes-1.

    Raises InputError if a file is missing, damaged, pickled, of another shape or dtype, or not finite, or the lengths
    differ.
    """
    x = _finite_matrix(folder / "X.npy", features)
    y = _labels(folder / "y.npy", classes)
    if len(x) != len(y):
        raise InputError(f"{folder}: X.npy has {len(x)} rows and y.npy has {len(y)}; they must have the same length")
    return x, y


def _read_npy(path: Path) -> AnyArray:
    """One array from a .npy file, never unpickled; InputError says what is wrong with the file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a NumPy .npy array there (see data/README.md)")
    try:
        return read_npy(path)
    except (OSError, RefusedError) as cause:
        raise InputError(f"{path}: not a readable .npy array ({cause}); write it with numpy.save") from cause


def _finite_matrix(path: Path, features: int) -> FloatArray:
    raw = _read_npy(path)
    if raw.ndim != 2 or raw.shape[1] != features or len(raw) == 0:
        raise InputError(f"{path}: shape {raw.shape}; expected (m, {features}), one row per image")
    if raw.dtype.kind not in "fiu":
        raise InputError(f"{path}: dtype {raw.dtype}; expected float32 or float64")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        x = np.ascontiguousarray(raw, dtype=np.float32)
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise InputError(
            f"{path}: NaN or infinity in {bad.sum()} rows, the first is row {bad.argmax()}; remove or repair them"
        )
    return x


def _labels(path: Path, classes: int) -> Labels:
    raw = _read_npy(path)
    if not (raw.ndim == 1 or (raw.ndim == 2 and raw.shape[1] == 1)):
        raise InputError(f"{path}: shape {raw.shape}; expected (m, 1) or (m,), one label per image")
    if raw.dtype.kind not in "iuf" or not (np.isfinite(raw).all() and (raw == np.floor(raw)).all()):
        raise InputError(
            f"{path}: labels of dtype {raw.dtype} that are not whole numbers; expected integers 0..{classes - 1}"
        )
    y: Labels = raw.reshape(-1).astype(np.int64)
    if y.size and y.max() == classes and y.min() >= 1:
        y = y % classes  # the .mat convention: 10 stands for 0
    wrong = (y < 0) | (y >= classes)
    if wrong.any():
        first = wrong.argmax()
        expected = f"expected 0..{classes - 1}, or 1..{classes} with {classes} for 0"
        raise InputError(f"{path}: label {y[first]} in row {first}; {expected}")
    return y
