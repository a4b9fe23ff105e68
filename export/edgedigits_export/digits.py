"""How data/X.npy and data/y.npy were made, once, from the 28x28 digits: ``python -m edgedigits_export.digits``.

Made once and kept: NumPy builds differ in the last bit of a handful of values, and the golden outputs belong to the
very bits of X.npy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgedigits.dataset import Labels
from edgedigits.errors import InputError
from edgedigits.images import MNIST_SIDE, shrink
from edgedigits.tensors import AnyArray, FloatArray


def load_28x28(path: Path) -> tuple[AnyArray, Labels]:
    """Read ``images`` (m, 28, 28) uint8 and ``labels`` (m,) from an .npz; InputError if it does not hold them."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError) as cause:
        raise InputError(f"{path}: cannot be read ({cause}); expected an .npz with images and labels") from cause
    if images.shape[1:] != (MNIST_SIDE, MNIST_SIDE) or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise InputError(
            f"{path}: images {images.dtype} {images.shape}, labels {labels.shape}; expected uint8 (m, 28, 28) and (m,)"
        )
    return images, labels.astype(np.int64)


def to_rows(images: AnyArray) -> FloatArray:
    """(m, 28, 28) uint8 -> the model's inputs, (m, 400) float32, each image column by column."""
    small = shrink(images / 255.0)
    return np.ascontiguousarray(small.transpose(0, 2, 1)).reshape(len(small), -1).astype(np.float32)


def make(source: Path, folder: Path) -> None:
    """Write X.npy and y.npy into a folder."""
    images, labels = load_28x28(source)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "X.npy", to_rows(images))
    np.save(folder / "y.npy", labels.astype(np.uint8)[:, None])


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
