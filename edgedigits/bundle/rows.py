"""One row of a bundle's inputs without the rest, which takes a small device longer than to answer.

``inputs.npz`` holds X as it is in memory, not compressed. The manifest says where X begins and gives a SHA-256 for each
block of rows, so one row costs one block: a hundredth of the reading and the checking, and no archive to open.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits.errors import BundleError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.files import sha256
from edgedigits.system.limits import MOST_ARCHIVE_BYTES, plain_file

ROWS_PER_BLOCK = 100  # 160 kB of the digits: neither much to check for one row nor many lines in the manifest
_LARGEST = 1 << 40  # bytes of X; whatever lies below is then a place that a file can have


def describe(content: bytes, x: FloatArray, rows_per_block: int = ROWS_PER_BLOCK) -> dict[str, Any]:
    """What the manifest says of the rows of x (m, n) float32, which lies somewhere in the file's ``content``.

    ``offset`` and ``bytes_per_row`` are in bytes; there is one SHA-256 a block, the last of which may be shorter.

    Raises:
        ValueError: the file does not hold x as it is in memory.
    """
    stored = _stored(x)
    return {
        "offset": content.index(stored),
        "bytes_per_row": x.shape[1] * 4,
        "rows_per_block": rows_per_block,
        "sha256": _digests(stored, rows_per_block * x.shape[1] * 4),
    }


def agree(content: bytes, x: FloatArray, facts: Mapping[str, Any]) -> bool:
    """Whether the manifest's facts, as :func:`parse` gives them, are those of x in the file's ``content``."""
    if x.ndim != 2 or facts["bytes_per_row"] != x.shape[1] * 4:
        return False
    stored, offset = _stored(x), facts["offset"]
    there = memoryview(content)[offset : offset + len(stored)] == stored
    return there and _digests(stored, facts["rows_per_block"] * facts["bytes_per_row"]) == facts["sha256"]


def _stored(x: FloatArray) -> bytes:
    return x.astype("<f4", copy=False).tobytes()


def _digests(stored: bytes, step: int) -> list[str]:
    return [sha256(stored[start : start + step]) for start in range(0, len(stored), step)]


def parse(facts: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """What :func:`describe` made, checked against the number of rows; ValueError or KeyError otherwise."""
    parsed: dict[str, Any] = {name: facts[name] for name in ("offset", "bytes_per_row", "rows_per_block")}
    for name, value in parsed.items():
        if type(value) is not int or not 0 < value < 1 << 32:  # an offset too: no file begins with an array
            raise ValueError(f"rows.{name} is {value!r}, expected a whole number above 0 and below 2**32")
    digests = facts["sha256"]
    if not isinstance(digests, list) or not all(isinstance(digest, str) and len(digest) == 64 for digest in digests):
        raise ValueError("rows.sha256 is not a list of SHA-256, 64 hexadecimal digits each")
    bytes.fromhex("".join(digests))
    blocks = -(-rows // parsed["rows_per_block"])
    if len(digests) != blocks:
        raise ValueError(f"rows.sha256 has {len(digests)} blocks, expected {blocks}")
    if rows * parsed["bytes_per_row"] > _LARGEST:
        raise ValueError(f"rows: {rows} of {parsed['bytes_per_row']} bytes are more than any bundle holds")
    return {**parsed, "sha256": digests}


def read(path: Path, facts: Mapping[str, Any], index: int, rows: int) -> FloatArray:
    """Row ``index`` of ``rows``, (n,) float32, from the file at ``path``.

    Raises:
        BundleError: its block is not there whole, or is not the one that the manifest promises.
        OSError, RefusedError: the file cannot be read.
    """
    width, per_block = facts["bytes_per_row"], facts["rows_per_block"]
    block, within = divmod(index, per_block)
    length = min(per_block, rows - block * per_block) * width
    with plain_file(path, MOST_ARCHIVE_BYTES) as (stream, size):
        left = size - stream.seek(facts["offset"] + block * per_block * width)
        content = stream.read(length) if length <= left else b""
    if sha256(content) != facts["sha256"][block]:
        raise BundleError(
            f"{path.parent}: {path.name} is damaged (the SHA-256 of the block with row {index} is not the manifest's); "
            "copy or export the bundle again"
        )
    return np.frombuffer(content, "<f4", width // 4, within * width)
