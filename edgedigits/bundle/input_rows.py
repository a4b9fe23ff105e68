"""Reads one row of a bundle's inputs without the rest, which takes a small device longer than the prediction.

``inputs.npz`` holds X as it is in memory, not compressed. The manifest says where X begins and gives a SHA-256 for each
block of rows, so one row costs one block, a hundredth of the reading and hashing, and no archive is opened.
"""

# Without `from __future__ import annotations`: the schema reads them, and parsing them again costs at every start.

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from edgedigits.errors import BundleError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.files import sha256
from edgedigits.system.limits import MOST_ARCHIVE_BYTES, plain_file
from edgedigits.system.schema import Sha256, within

ROWS_PER_BLOCK = 100  # 160 kB of the digits: neither much to check for one row nor many lines in the manifest
Size = Annotated[int, within(1, 2**32 - 1)]  # an offset too: no file begins with an array


@dataclass(frozen=True)
class InputRows:
    """Where the rows of X (m, n) float32 are in the file."""

    offset: Size
    bytes_per_row: Size
    rows_per_block: Size
    sha256: tuple[Sha256, ...]  # one per block; the last block may be shorter

    @classmethod
    def of(cls, content: bytes, x: FloatArray, rows_per_block: int = ROWS_PER_BLOCK) -> "InputRows":
        """Describe the rows of x (m, n) float32 in the file's content; ValueError if it does not hold them as such."""
        stored, width = _stored(x), x.shape[1] * 4
        return cls(content.index(stored), width, rows_per_block, _digests(stored, rows_per_block * width))

    def matches(self, content: bytes, x: FloatArray) -> bool:
        """Whether the file's content has x where this says."""
        stored, width = _stored(x), x.shape[1] * 4
        there = memoryview(content)[self.offset : self.offset + len(stored)] == stored
        return there and (width, _digests(stored, self.rows_per_block * width)) == (self.bytes_per_row, self.sha256)

    def read(self, path: Path, index: int, rows: int) -> FloatArray:
        """Row ``index`` of ``rows``, (n,) float32, from the file at ``path``.

        Raises:
            BundleError: its block is incomplete, or its SHA-256 is not the manifest's.
            OSError, RefusedError: the file cannot be read.
        """
        width, per_block = self.bytes_per_row, self.rows_per_block
        block, row = divmod(index, per_block)
        length = min(per_block, rows - block * per_block) * width
        with plain_file(path, MOST_ARCHIVE_BYTES) as (stream, size):
            left = size - stream.seek(self.offset + block * per_block * width)
            content = stream.read(length) if length <= left else b""
        if sha256(content) != self.sha256[block]:
            raise BundleError(
                f"{path.parent}: {path.name} is damaged (the block of row {index} does not match the manifest's "
                "SHA-256); copy or export the bundle again"
            )
        return np.frombuffer(content, "<f4", width // 4, row * width)


def _stored(x: FloatArray) -> bytes:
    return x.astype("<f4", copy=False).tobytes()


def _digests(stored: bytes, step: int) -> tuple[str, ...]:
    return tuple(sha256(stored[start : start + step]) for start in range(0, len(stored), step))
