"""Reads members of a .zip or .npz with zipfile, within limits, and only where its names are harmless.

What zipfile tolerates and this does not refuse cannot pass unnoticed: every file's SHA-256 is in the manifest.
"""

from __future__ import annotations

import errno
import stat
import struct
import zipfile
import zlib
from typing import BinaryIO

from edgedigits.system.limits import MOST_DIRECTORY_BYTES, MOST_MEMBERS, RefusedError, short

_END = struct.Struct("<L4H2LH")  # the end record; APPNOTE.TXT 6.3.10, section 4.3.16
_LOCATOR_BYTES, _LOCATOR_64 = 20, b"PK\x06\x07"
_ENCRYPTED = 0x1
# What zipfile raises for a damaged archive.
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
        if len(members) > MOST_MEMBERS:
            raise RefusedError(f"it has {len(members):,} members, more than {MOST_MEMBERS}")
        if len({member.filename for member in members}) < len(members):
            raise RefusedError("two members have the same name")
        for member in members:
            _check_member(member)
        self._members = {member.filename: member for member in members if not member.is_dir()}

    @property
    def names(self) -> tuple[str, ...]:
        """The files, without folders."""
        return tuple(self._members)

    def read(self, name: str, most: int, exactly: int | None = None) -> bytes:
        """A file's content, at most ``most`` bytes and, if given, ``exactly`` so many; checked before it is unpacked.

        Raises FileNotFoundError if there is no such file, RefusedError if it is too large or damaged.
        """
        if name not in self._members:
            raise FileNotFoundError(errno.ENOENT, "no such member", name)
        member = self._members[name]
        size = member.file_size
        if size > most:
            raise RefusedError(f"it has {size:,} bytes unpacked, more than the limit of {most:,}")
        if exactly is not None and size != exactly:
            raise RefusedError(f"it has {size:,} bytes, not {exactly:,}")
        try:
            with self._zip.open(member) as stream:
                content = stream.read(size)
        except _ERRORS as cause:
            raise RefusedError(f"it cannot be unpacked, {short(str(cause))}") from cause
        if len(content) != size:
            raise RefusedError(f"it unpacks to {len(content):,} bytes, not {size:,}")
        return content


def _check_end(file: BinaryIO, size: int) -> None:
    """Check the size of the member list, which zipfile reads whole, from the archive's last bytes.

    With a comment or 64-bit sizes, neither of which a bundle needs, the list could be elsewhere and of another size.
    """
    file.seek(max(0, size - _END.size - _LOCATOR_BYTES))
    tail = file.read(_END.size + _LOCATOR_BYTES)
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        raise RefusedError("it does not end in the record that ends a .zip")
    directory_bytes = _END.unpack(tail[-_END.size :])[5]
    if directory_bytes > MOST_DIRECTORY_BYTES or tail[: -_END.size].startswith(_LOCATOR_64):
        raise RefusedError(f"its list of members has {directory_bytes:,} bytes, more than {MOST_DIRECTORY_BYTES:,}")


def _check_member(member: zipfile.ZipInfo) -> None:
    """RefusedError for a name that leads out of the folder, a link, or what zipfile cannot unpack in steps."""
    name = member.orig_filename  # zipfile cuts filename at a NUL, and replaces backslashes on Windows
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise RefusedError(f"the member name {short(repr(name))} is not a plain relative path")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise RefusedError(f"{short(name)} is a link or a special file")
    if member.flag_bits & _ENCRYPTED:
        raise RefusedError(f"{short(name)} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError(f"{short(name)} is compressed by method {member.compress_type}, expected stored or deflated")
