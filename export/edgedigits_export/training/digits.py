"""Make data/X.npy and data/y.npy from the 28x28 digits: ``python -m edgedigits_export.training.digits``.

The files are kept, since NumPy builds differ in the last bit of some values and the reference logits belong to the
exact X.npy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgedigits.bundle.dataset import load_28x28
from edgedigits.pictures.normalization import to_rows
from edgedigits.system.files import atomic_files


def make(source: Path, folder: Path) -> None:
    """Write X.npy and y.npy into a folder."""
    images, labels = load_28x28(source)
    with atomic_files(folder / "X.npy", folder / "y.npy") as (inputs, classes):
        np.save(inputs, to_rows(images))
        np.save(classes, labels.astype(np.uint8)[:, None])


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
