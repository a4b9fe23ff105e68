"""Builds .zip, .npz and .npy files of which any header field can be overridden while the rest stays consistent."""

from __future__ import annotations

import functools
import struct
import zlib
from dataclasses import dataclass, field

LOCAL = {"signature": "L", "needed": "H", "flags": "H", "method": "H", "time": "H", "date": "H", "crc": "L",
         "packed": "L", "size": "L", "name_length": "H", "extra_length": "H"}  # fmt: skip
CENTRAL = {"signature": "L", "made_by": "H", "needed": "H", "flags": "H", "method": "H", "time": "H", "date": "H",
           "crc": "L", "packed": "L", "size": "L", "name_length": "H", "extra_length": "H", "comment_length": "H",
           "disk": "H", "internal": "H", "external": "L", "offset": "L"}  # fmt: skip
END = {"signature": "L", "disk": "H", "list_disk": "H", "here": "H", "count": "H", "length": "L", "offset": "L",
       "comment_length": "H"}  # fmt: skip


@dataclass
class Entry:
    """One member; ``local`` and ``central`` override fields of its two headers, ``packed`` its compressed bytes."""

    name: bytes
    content: bytes
    method: int = 8
    local: dict[str, int] = field(default_factory=dict)
    central: dict[str, int] = field(default_factory=dict)
    packed: bytes | None = None


@functools.lru_cache(200)
def deflated(content: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def packed(entries: list[Entry], end: dict[str, int] | None = None, tail: bytes = b"") -> bytes:
    """The archive of these members; ``end`` overrides fields of its last record."""
    body, listed = b"", b""
    for e in entries:
        data = e.packed if e.packed is not None else deflated(e.content) if e.method == 8 else e.content
        facts = {
            "needed": 20, "flags": 0 if e.name.isascii() else 0x800, "method": e.method, "date": 33,
            "size": len(e.content), "crc": zlib.crc32(e.content), "packed": len(data), "name_length": len(e.name),
        }  # fmt: skip
        central = {"signature": 0x02014B50, "made_by": 0x0314, **facts, "external": 0o644 << 16, "offset": len(body)}
        listed += _pack(CENTRAL, {**central, **e.central}) + e.name
        body += _pack(LOCAL, {"signature": 0x04034B50, **facts, **e.local}) + e.name + data
    record = {"signature": 0x06054B50, "here": len(entries), "count": len(entries), "length": len(listed)}
    return body + listed + _pack(END, {**record, "offset": len(body), **(end or {})}) + tail


def _pack(fields: dict[str, str], values: dict[str, int]) -> bytes:
    masked = [values.get(name, 0) % (1 << 8 * struct.calcsize(f"<{kind}")) for name, kind in fields.items()]
    return struct.pack("<" + "".join(fields.values()), *masked)


def npy(header: str, body: bytes, version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """An .npy with any header."""
    text = header.encode("latin1", "replace")
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    size = len(text) if length is None else length
    width = 2 if version[0] == 1 else 4
    return b"\x93NUMPY" + bytes(version) + (size % (1 << 8 * width)).to_bytes(width, "little") + text + body
