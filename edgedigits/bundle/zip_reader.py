"""Reads members of a .zip or .npz with zipfile, within limits, and only if all names are harmless.

Damage that zipfile tolerates is found all the same: the manifest has every file's SHA-256.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from typing import BinaryIO

from edgedigits.system.limits import MOST_DIRECTORY_BYTES, RefusedError, short

# What zipfile raises for a damaged or encrypted archive.
_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, IndexError,
)  # fmt: skip


class ZipReader:
    """The files of an archive of ``size`` bytes; RefusedError if it is damaged or one of its names is harmful."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        _check_end(file, size)
        try:
            self._zip = zipfile.ZipFile(file)
        except _ERRORS as cause:
            raise RefusedError(f"zipfile cannot open it, {short(str(cause))}") from cause
        members = self._zip.infolist()
        for member in members:
            _check_member(member)
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise RefusedError("two members have the same name")

    @property
    def names(self) -> tuple[str, ...]:
        """The files, without folders."""
        return tuple(name for name in self._members if not name.endswith("/"))

    def read(self, name: str, most: int, exactly: int | None = None) -> bytes:
        """A file's content, at most ``most`` bytes and, if given, ``exactly`` so many; checked before it is unpacked.

        Raises FileNotFoundError if there is no such file, RefusedError if it is too large or damaged.
        """
        if name not in self._members:
            raise FileNotFoundError(errno.ENOENT, "no such member", name)
        size = self._members[name].file_size
        if size > most:
            raise RefusedError(f"it has {size:,} bytes unpacked, more than the limit of {most:,}")
        if exactly is not None and size != exactly:
            raise RefusedError(f"it has {size:,} bytes, not {exactly:,}")
        try:
            with self._zip.open(name) as stream:
                return stream.read(size)
        except _ERRORS as cause:
            raise RefusedError(f"it cannot be unpacked, {short(str(cause))}") from cause


def _check_end(file: BinaryIO, size: int) -> None:
    """Check the size of the list of members, which zipfile reads whole, in the record that ends the archive.

    With a comment or 64-bit sizes, neither of which a bundle needs, zipfile could take the list from elsewhere.
    """
    file.seek(max(0, size - 42))
    tail = file.read(42)
    locator, record = tail[:-22], tail[-22:]
    if len(record) < 22 or record[:4] != b"PK\x05\x06" or record[20:] != b"\0\0" or locator[:4] == b"PK\x06\x07":
        raise RefusedError("it does not end in the plain record that ends a .zip")
    directory_bytes = int.from_bytes(record[12:16], "little")
    if directory_bytes > MOST_DIRECTORY_BYTES:
        raise RefusedError(f"its list of members has {directory_bytes:,} bytes, more than {MOST_DIRECTORY_BYTES:,}")


def _check_member(member: zipfile.ZipInfo) -> None:
    """RefusedError for a name that leads out of the folder, or a method that zipfile cannot unpack in steps."""
    name = member.orig_filename  # zipfile cuts filename at a NUL, and replaces backslashes on Windows
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or set(name) & set("\\:") or set(parts) & {"", ".", ".."}:
        raise RefusedError(f"the member name {short(repr(name))} is not a plain relative path")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError(f"{short(name)} is compressed by method {member.compress_type}, expected stored or deflated")
