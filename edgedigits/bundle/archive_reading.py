"""A .zip read strictly: every byte of it is a member or the list of members, each told twice and twice the same.

Python's zipfile, as most, takes what it finds: bytes in front and in between, members that share their bytes (which is
how 46 MB become 4.5 PB: D. Fifield, "A better zip bomb", 2019), two of one name, a local header that says something
else than the list does. Readers differ in which they believe, so that what one checked is not what another unpacks.
Here all of that is refused before a byte is unpacked, and unpacking stops at the size that was declared.

Source: PKWARE's APPNOTE.TXT, version 6.3.10, sections 4.3 and 4.4. What zip, zipfile, Go and macOS write is read, with
data descriptors and 64-bit sizes in local headers; archives above 4 GB, split, encrypted or with a comment are not.
"""

from __future__ import annotations

import stat
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from edgedigits.system.limits import MOST_DIRECTORY_BYTES, MOST_MEMBERS, RefusedError, short

_END, _ENTRY, _LOCAL = struct.Struct("<L4H2LH"), struct.Struct("<L6H3L5H2L"), struct.Struct("<L5H3L2H")
_STORED, _DEFLATED = 0, 8
_NEWEST = 63  # version 6.3, in tenths
_ENCRYPTED, _LEVEL, _DESCRIPTOR, _UTF8 = 0x1, 0x6, 0x8, 0x800  # bits of the general purpose flags
_IN_64_BITS, _SIZES_64 = 0xFFFFFFFF, 0x0001  # a size that stands in an extra field, and that field's number


@dataclass(frozen=True)
class Member:
    """One file of an archive; ``start`` is where its ``packed`` bytes begin, and ``size`` how many they become."""

    name: str
    start: int
    packed: int
    size: int
    crc: int
    method: int


@dataclass(frozen=True)
class _Entry:
    """A member as the list at the end has it; ``twice`` is what its local header must repeat."""

    name: bytes
    twice: tuple[int, ...]
    crc: int
    packed: int
    size: int
    at: int


def members(file: BinaryIO, total: int) -> dict[str, Member]:
    """The files of an archive of ``total`` bytes, by name; folders are checked and left out.

    Raises RefusedError for whatever is not a whole .zip told twice.
    """
    entries, end = _directory(file, total)
    found: dict[str, Member] = {}
    if end and (not entries or entries[0].at):
        raise RefusedError("bytes in front of its first member")
    for number, entry in enumerate(entries):
        name = _name(entry)
        after = entries[number + 1].at if number + 1 < len(entries) else end
        start = _local(file, entry, after)
        if name in found:
            raise RefusedError(f"{short(name)} is in it twice")
        found[name] = Member(name, start, entry.packed, entry.size, entry.crc, entry.twice[2])
    return {name: member for name, member in found.items() if not name.endswith("/")}


def read_member(file: BinaryIO, member: Member, most: int, exactly: int | None = None) -> bytes:
    """A member's content, at most ``most`` bytes and, if given, ``exactly`` so many; both are checked first.

    Raises RefusedError also where more or less comes out of it than is declared, or its CRC-32 differs.
    """
    if member.size > most:
        raise RefusedError(f"it has {member.size:,} bytes unpacked, more than the {most:,} that are read")
    if exactly is not None and member.size != exactly:
        raise RefusedError(f"it has {member.size:,} bytes, not {exactly:,}")
    file.seek(member.start)
    content = file.read(member.packed)
    if member.method == _DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = unpacker.decompress(content, member.size + 1)
        except zlib.error as cause:
            raise RefusedError(f"it cannot be unpacked, {cause}") from cause
        if not unpacker.eof or unpacker.unused_data or len(content) != member.size:
            raise RefusedError(f"it does not unpack to the {member.size:,} bytes that are declared")
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise RefusedError("its CRC-32 is not the archive's")
    return content


def _directory(file: BinaryIO, total: int) -> tuple[list[_Entry], int]:
    """The members as listed, in the order of their bytes, and where those end."""
    if total < _END.size:
        raise RefusedError("it is too short")
    file.seek(total - _END.size)
    signature, disk, disk_too, here, count, length, begin, comment = _unpacked(_END, file.read(_END.size))
    if signature != 0x06054B50 or comment:
        raise RefusedError("it does not end in the record that ends a .zip")
    if disk or disk_too or here != count or count > MOST_MEMBERS or length > MOST_DIRECTORY_BYTES:
        raise RefusedError(f"it has {count:,} members in {length:,} bytes of list, more than is read, or in parts")
    if begin + length != total - _END.size:
        raise RefusedError("its list of members is not where it says")
    file.seek(begin)
    listed = file.read(length)
    entries, at = [], 0
    for _ in range(count):
        entry, at = _entry(listed, at)
        entries.append(entry)
    if at != length:
        raise RefusedError("its list of members is longer than they are")
    return sorted(entries, key=lambda entry: entry.at), begin


def _entry(listed: bytes, at: int) -> tuple[_Entry, int]:
    """One member of the list, and where the next one begins."""
    (signature, _made_by, needed, flags, method, time, date, crc, packed, size, name_length, extra, comment, disk, _,
     attributes, place) = _unpacked(_ENTRY, listed[at : at + _ENTRY.size])  # fmt: skip
    name = listed[at + _ENTRY.size :][:name_length]
    told = short(name.decode("utf-8", "replace"))
    if signature != 0x02014B50 or disk or _IN_64_BITS in (packed, size, place):
        raise RefusedError("its list of members is damaged, or of an archive above 4 GB")
    if flags & _ENCRYPTED:
        raise RefusedError(f"{told} is encrypted")
    if flags & ~(_LEVEL | _DESCRIPTOR | _UTF8) or method not in (_STORED, _DEFLATED):
        raise RefusedError(
            f"{told} is packed by method {method} with flags {flags:#x}; deflated and stored files are read"
        )
    if needed > _NEWEST:
        raise RefusedError(f"{told} needs version {needed / 10:g} of the format, {_NEWEST / 10:g} is the newest")
    if method == _STORED and packed != size:
        raise RefusedError(f"{told} is stored, yet of two sizes")
    kind = stat.S_IFMT(attributes >> 16)
    if kind not in (0, stat.S_IFDIR if name.endswith(b"/") else stat.S_IFREG):
        raise RefusedError(f"{told} is a link or no file")
    after = at + _ENTRY.size + name_length + extra + comment
    return _Entry(name, (needed, flags, method, time, date), crc, packed, size, place), after


def _name(entry: _Entry) -> str:
    """A member's name; RefusedError for one that leads out of the folder it would be unpacked in."""
    try:
        name = entry.name.decode("utf-8" if entry.twice[1] & _UTF8 else "ascii")
    except UnicodeDecodeError as cause:
        raise RefusedError(f"the name {entry.name[:60]!r} is not in the encoding that it states") from cause
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise RefusedError(f"the name {short(name)} leads out of it, or nowhere")
    if name.endswith("/") and entry.size:
        raise RefusedError(f"{short(name)} is a folder with bytes")
    return name


def _local(file: BinaryIO, entry: _Entry, after: int) -> int:
    """Where a member's bytes start; its local header must say what the list says, and its bytes end at ``after``."""
    file.seek(entry.at)
    head = file.read(_LOCAL.size)
    signature, *twice, crc, packed, size, name_length, extra_length = _unpacked(_LOCAL, head)
    name, extra = file.read(name_length), file.read(extra_length)
    start = entry.at + _LOCAL.size + name_length + extra_length
    if size == packed == _IN_64_BITS:
        size, packed = _sizes_64(extra)
    told = (crc, packed, size)
    listed = (entry.crc, entry.packed, entry.size)
    later = entry.twice[1] & _DESCRIPTOR
    if signature != 0x04034B50 or (*twice,) != entry.twice or name != entry.name:
        raise RefusedError(f"{short(entry.name.decode('utf-8', 'replace'))} and the list of members do not agree")
    if not all(once == again or (later and not once) for once, again in zip(told, listed, strict=True)):
        raise RefusedError(f"{short(entry.name.decode('utf-8', 'replace'))} and the list of members tell of two sizes")
    rest = after - start - entry.packed
    if later and rest > 0:  # the sizes once more, written when they were known
        file.seek(start + entry.packed)
        allowed = {struct.pack(kind, *listed) for kind in ("<3L", "<LQQ")}
        said = file.read(min(rest, 24))
        if rest > 24 or said.removeprefix(b"PK\x07\x08") not in allowed:
            raise RefusedError("a member's sizes behind its bytes are not those of the list")
    elif rest:
        raise RefusedError("a gap in it, or members that share their bytes")
    return start


def _sizes_64(extra: bytes) -> tuple[int, int]:
    """The sizes, unpacked and packed, in a local header's extra fields."""
    at = 0
    while at + 4 <= len(extra):
        number, length = struct.unpack_from("<2H", extra, at)
        if number == _SIZES_64 and length == 16 and at + 20 <= len(extra):
            size, packed = struct.unpack_from("<2Q", extra, at + 4)
            return size, packed
        at += 4 + length
    raise RefusedError("a member without its size")


def _unpacked(form: struct.Struct, content: bytes) -> tuple[int, ...]:
    """The numbers of a header, its signature first."""
    if len(content) != form.size:
        raise RefusedError("it ends within a header")
    return form.unpack(content)
