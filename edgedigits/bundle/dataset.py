"""The layout of a digit in X, which is column-major, and the 28x28 digits of an .npz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import AnyArray
from edgedigits.system.limits import MOST_ARCHIVE_BYTES, RefusedError, read_file

if TYPE_CHECKING:
    import numpy.typing as npt

Labels: TypeAlias = "npt.NDArray[np.int64]"
SIDE = 20


def to_image(row: AnyArray) -> AnyArray:
    """(400,) column-major -> (20, 20) upright image, rows from the top; any dtype, no copy. Else InputError."""
    if row.shape != (SIDE * SIDE,):
        raise InputError(f"only inputs of shape (400,) can be shown as a 20x20 image, not {row.shape}")
    return row.reshape(SIDE, SIDE).T


def to_row(image: AnyArray) -> AnyArray:
    """(20, 20) upright image -> (400,) column-major; any dtype."""
    return image.T.reshape(SIDE * SIDE)


def load_28x28(path: Path) -> tuple[AnyArray, Labels]:
    """Read ``images`` (m, 28, 28) uint8 and ``labels`` (m,) from an .npz; InputError if it does not hold them."""
    from edgedigits.bundle.arrays import WHOLE, from_npz

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected an .npz with images and labels (see data/README.md)")
    try:
        content = read_file(path, MOST_ARCHIVE_BYTES)
        images, labels = from_npz(content, images=(["uint8"], (None, 28, 28)), labels=(WHOLE, (None,)))
    except (OSError, RefusedError) as cause:
        raise InputError(f"{path}: cannot be read ({cause}); expected an .npz with images and labels") from cause
    if len(labels) != len(images) or not len(images):
        raise InputError(f"{path}: {len(images)} images, {len(labels)} labels; expected one label per image")
    return images, labels.astype(np.int64)
