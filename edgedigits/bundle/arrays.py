"""Arrays from .npy and .npz files: the header is held against what is expected, and against the bytes that are there.

Only then is memory taken, and nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from edgedigits.runtimes.tensors import AnyArray
from edgedigits.system.limits import MOST_ARCHIVE_BYTES, MOST_ARRAY_BYTES, RefusedError, plain_file, short

if TYPE_CHECKING:
    from edgedigits.bundle.archive_reading import Member

# The dtypes that an array may have, and its shape, where None is any length.
Wanted: TypeAlias = "tuple[Sequence[str], tuple[int | None, ...]]"
MOST_HEADER = 1024  # bytes of it; NumPy writes 118, and parsing takes a stack that grows with it
WHOLE = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@dataclass(frozen=True)
class Header:
    """What an .npy says of its array; ``start`` is where its bytes begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def count(self) -> int:
        """How many items."""
        return math.prod(self.shape)


def read_npy(path: Path) -> AnyArray:
    """The one array of an .npy file; RefusedError or OSError otherwise."""
    with plain_file(path, MOST_ARRAY_BYTES) as (file, total):
        header = _header(file.read(12 + MOST_HEADER), total)
        file.seek(header.start)
        flat: AnyArray = np.fromfile(file, header.dtype, header.count)
    if flat.size != header.count:
        raise RefusedError("it changed while it was read")
    return _shaped(flat, header)


def read_npz(path: Path, **wanted: Wanted) -> list[AnyArray]:
    """Arrays of an .npz file, by name, as :func:`from_npz`; or OSError."""
    from edgedigits.bundle.archive_reading import members

    with plain_file(path, MOST_ARCHIVE_BYTES) as (file, total):
        return _wanted(file, members(file, total), wanted)


def from_npz(content: bytes, **wanted: Wanted) -> list[AnyArray]:
    """Arrays of an .npz, each by its name, the dtypes that it may have, and its shape, where None is any length.

    They are writable, C-contiguous, and in this machine's byte order.

    Raises RefusedError if one is missing or something else, or if the .npz is damaged.
    """
    from edgedigits.bundle.archive_reading import members

    file = io.BytesIO(content)
    return _wanted(file, members(file, len(content)), wanted)


def _wanted(file: BinaryIO, found: dict[str, Member], wanted: dict[str, Wanted]) -> list[AnyArray]:
    from edgedigits.bundle.archive_reading import read_member

    arrays = []
    for name, (dtypes, shape) in wanted.items():
        if f"{name}.npy" not in found:
            raise RefusedError(f"{name} is missing")
        content = read_member(file, found[f"{name}.npy"], MOST_ARRAY_BYTES)
        try:
            header = _header(content[: 12 + MOST_HEADER], len(content))
        except RefusedError as cause:
            raise RefusedError(f"{name}: {cause}") from cause
        fits = len(shape) == len(header.shape) and all(n in (None, m) for n, m in zip(shape, header.shape, strict=True))
        kind = header.dtype
        if kind.name not in dtypes or not fits:
            sides = ", ".join("m" if n is None else str(n) for n in shape)
            raise RefusedError(
                f"{name} is {kind} {header.shape}, not {dtypes[0] if len(dtypes) == 1 else 'whole'} ({sides})"
            )
        flat = np.frombuffer(content, kind, header.count, header.start)
        arrays.append(np.array(_shaped(flat, header), kind.newbyteorder("="), order="C"))
    return arrays


def _shaped(flat: AnyArray, header: Header) -> AnyArray:
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def _header(head: bytes, total: int) -> Header:
    """The header at the beginning of ``total`` bytes, whose array fills them to the end.

    Source: NEP 1, "A simple file format for NumPy arrays". NumPy's own reader is not asked: what it raises for a bad
    header is its tokenizer's as well, and its dtypes may be of any kind and size.
    """
    if head[:6] != b"\x93NUMPY" or len(head) < 12:
        raise RefusedError("it does not begin as an .npy")
    if head[6:8] not in (b"\1\0", b"\2\0"):
        raise RefusedError(f"its format is version {head[6]}.{head[7]}, not 1.0 or 2.0")
    begin = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:begin], "little")
    if length > min(MOST_HEADER, total - begin):
        raise RefusedError(f"its header has {length:,} bytes, more than is read or there")
    facts = _literal(head[begin : begin + length])
    if not isinstance(facts, dict) or set(facts) != {"descr", "fortran_order", "shape"}:
        raise RefusedError("its header is not a dtype, an order and a shape")
    descr, fortran, shape = facts["descr"], facts["fortran_order"], facts["shape"]
    if "O" in str(descr):
        raise RefusedError("it holds pickled objects, which are never loaded")
    if not isinstance(descr, str) or not re.fullmatch(r"[<>|=](b1|[iu][1248]|f[248]|c(8|16)|[SU][1-9]\d{0,5})", descr):
        raise RefusedError(f"its dtype is {short(repr(descr))}, not plain numbers")
    whole = isinstance(shape, tuple) and len(shape) <= 8 and all(type(n) is int and n >= 0 for n in shape)
    if not whole or max(shape, default=0) > MOST_ARRAY_BYTES or not isinstance(fortran, bool):
        raise RefusedError(f"its shape is {short(repr(shape))}")
    header = Header(shape, np.dtype(descr), fortran, begin + length)
    needed = header.start + header.count * header.dtype.itemsize
    if needed > total:
        raise RefusedError(f"{header.dtype} {shape} takes {needed:,} bytes, it has {total:,}")
    if needed < total:
        raise RefusedError("bytes follow the end of the array")
    return header


def _literal(text: bytes) -> Any:
    """What a header stands for; short enough that Python's parser ends well."""
    import ast

    plain = re.sub(rb"(?<=\d)L\b", b"", text)  # as Python 2 wrote whole numbers
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own, on what looks odd in a literal
            return ast.literal_eval(plain.decode("ascii").strip(" \n"))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as cause:
        raise RefusedError("its header cannot be parsed") from cause
