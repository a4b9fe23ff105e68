"""Reads arrays from .npy and .npz files with NumPy's reader, once the header fits what is expected and the file's size.

Nothing is unpickled, and no memory is taken for what the file does not hold.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.lib import format as npy_format

from edgedigits.runtimes.tensors import AnyArray
from edgedigits.system.limits import MOST_ARCHIVE_BYTES, MOST_ARRAY_BYTES, RefusedError, plain_file, short

# The dtypes that an array may have, and its shape, where None is any length.
Wanted: TypeAlias = "tuple[Sequence[str], tuple[int | None, ...]]"
MOST_HEADER = 1024  # bytes; NumPy writes 118, and parsing takes a stack that grows with it
WHOLE = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def read_npy(path: Path) -> AnyArray:
    """The one array of an .npy file; RefusedError or OSError otherwise."""
    with plain_file(path, MOST_ARRAY_BYTES) as (file, size):
        return _read(file, size)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, AnyArray]:
    """Those of the named arrays that an .npz file holds, of any dtype and shape; RefusedError or OSError otherwise."""
    from edgedigits.bundle.zip_reader import ZipReader

    arrays = {}
    with plain_file(path, MOST_ARCHIVE_BYTES) as (file, size):
        archive = ZipReader(file, size)
        for name in names:
            if f"{name}.npy" in archive.names:
                content = archive.read(f"{name}.npy", MOST_ARRAY_BYTES)
                try:
                    arrays[name] = _read(io.BytesIO(content), len(content))
                except RefusedError as cause:
                    raise RefusedError(f"{name}: {cause}") from cause
    return arrays


def from_npz(content: bytes, **wanted: Wanted) -> list[AnyArray]:
    """Arrays of an .npz, each by its name, the dtypes that it may have, and its shape, where None is any length.

    They are writable, C-contiguous, and in this machine's byte order.

    Raises RefusedError if one is missing or something else, or if the .npz is damaged.
    """
    from edgedigits.bundle.zip_reader import ZipReader

    archive = ZipReader(io.BytesIO(content), len(content))
    arrays = []
    for name, (dtypes, shape) in wanted.items():
        try:
            content = archive.read(f"{name}.npy", MOST_ARRAY_BYTES)
            array = _read(io.BytesIO(content), len(content))
        except FileNotFoundError as cause:
            raise RefusedError(f"{name} is missing") from cause
        except RefusedError as cause:
            raise RefusedError(f"{name}: {cause}") from cause
        fits = len(shape) == array.ndim and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if array.dtype.name not in dtypes or not fits:
            sides = ", ".join("m" if n is None else str(n) for n in shape)
            expected = dtypes[0] if len(dtypes) == 1 else "whole numbers"
            raise RefusedError(f"{name} is {array.dtype} {array.shape}, expected {expected} ({sides})")
        # By name: dtype.newbyteorder() is equal but not identical to np.dtype("float32"), which a session checks.
        arrays.append(np.asarray(array, np.dtype(array.dtype.name), order="C"))
    return arrays


def _read(file: BinaryIO, size: int) -> AnyArray:
    """The array that fills a file of ``size`` bytes."""
    # NumPy gets the beginning only: a longer header ends too early for it, in every version, before it is parsed.
    head = io.BytesIO(file.read(MOST_HEADER))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about headers that Python 2 wrote
        try:
            version = npy_format.read_magic(head)
            if version not in ((1, 0), (2, 0)):
                raise RefusedError(f"its format is version {version[0]}.{version[1]}, expected 1.0 or 2.0")
            shape, _, dtype = (
                npy_format.read_array_header_1_0(head) if version == (1, 0) else npy_format.read_array_header_2_0(head)
            )
            _check_header(shape, dtype, head.tell(), size)
            file.seek(0)
            array: AnyArray = npy_format.read_array(file, allow_pickle=False)
        except (RefusedError, OSError):
            raise
        except Exception as cause:  # its tokenizer's and its compiler's errors as well, which have no common base
            raise RefusedError(f"NumPy cannot read it, {short(str(cause))}") from cause
    return array


def _check_header(shape: tuple[int, ...], dtype: np.dtype[Any], start: int, size: int) -> None:
    """RefusedError unless plain items of that shape begin at ``start`` and fill the file of ``size`` bytes."""
    if dtype.hasobject:
        raise RefusedError("it holds pickled objects, which are never loaded")
    if dtype.kind not in "biufcSU" or not dtype.itemsize or dtype.subdtype:
        raise RefusedError(f"its dtype is {short(str(dtype))}, expected plain numbers")
    if any(not 0 <= n <= MOST_ARRAY_BYTES for n in shape):
        raise RefusedError(f"its shape is {short(repr(shape))}, expected lengths that fit memory")
    needed = start + math.prod(shape) * dtype.itemsize
    if needed > size:
        raise RefusedError(f"{dtype} {shape} takes {needed:,} bytes, it has {size:,}")
    if needed < size:
        raise RefusedError("bytes follow the end of the array")
