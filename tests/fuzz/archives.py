"""Builds .zip, .npz and .npy files of which any header field can be overridden while the rest stays consistent."""

from __future__ import annotations

import functools
import struct
import zlib
from dataclasses import dataclass, field

from tape import NUMBERS, Tape, changed_bytes

LOCAL = {"signature": "L", "needed": "H", "flags": "H", "method": "H", "time": "H", "date": "H", "crc": "L",
         "packed": "L", "size": "L", "name_length": "H", "extra_length": "H"}  # fmt: skip
CENTRAL = {"signature": "L", "made_by": "H", "needed": "H", "flags": "H", "method": "H", "time": "H", "date": "H",
           "crc": "L", "packed": "L", "size": "L", "name_length": "H", "extra_length": "H", "comment_length": "H",
           "disk": "H", "internal": "H", "external": "L", "offset": "L"}  # fmt: skip
END = {"signature": "L", "disk": "H", "list_disk": "H", "here": "H", "count": "H", "length": "L", "offset": "L",
       "comment_length": "H"}  # fmt: skip
NAMES = (
    "manifest.json", "X.npy", "images.npy", "../X.npy", "/X.npy", "a/../X.npy", "X.npy/", "x.npy", "C:X.npy", "\\X.npy",
    "X.npy\0.txt", "", ".", "..", "\u202eX", "X.npy\n", "int8.tflite", "a//b", "é", "__MACOSX/._X.npy", "logits.npy",
)  # fmt: skip


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


def changed_zip(tape: Tape, files: dict[str, bytes]) -> bytes:
    """An archive of these files with up to three changes."""
    entries = [Entry(name.encode(), content, tape.pick((8, 8, 0))) for name, content in files.items()]
    end: dict[str, int] = {}
    tail = b""
    for _ in range(tape.below(4)):
        entry, kind = tape.pick(entries), tape.below(9)
        value = tape.pick(NUMBERS) if tape.below(2) else tape.below(70_000)
        if kind == 0:
            entry.local[tape.pick(list(LOCAL))] = value
        elif kind == 1:
            entry.central[tape.pick(list(CENTRAL))] = value
        elif kind == 2:  # the same in both headers
            name = tape.pick(list(LOCAL))
            entry.local[name] = entry.central[name] = value
        elif kind == 3:
            end[tape.pick(list(END))] = value
        elif kind == 4:
            entry.name = tape.pick(NAMES).encode("utf-8", "replace")
        elif kind == 5:
            entries.append(Entry(entry.name, tape.pick((entry.content, b"other")), entry.method))
        elif kind == 6:
            tail = tape.take(1 + tape.below(40))
        elif kind == 7:  # much from little
            entry.method, entry.packed = 8, deflated(bytes(1 + tape.below(3_000_000)), 9)
        else:
            entry.content = changed_bytes(tape, entry.content)
    content = packed(entries, end, tail)
    return content if tape.below(4) else changed_bytes(tape, content)


DTYPES = (
    "'<f4'", "'|u1'", "'<f8'", "'>f4'", "'|O'", "'<U0'", "'<U1'", "'|V4'", "'|S0'", "'<i8'", "'<c8'", "'<M8[s]'",
    "'|b1'", "'<f2'", "'<U100000000'", "[('a', '<f4')]", "[('a', '|O')]", "('<f4', (2,))", "'(9999,9999)f4'", "None",
    "1/0", "{}", "'f4,f4'", "'" + "x" * 300 + "'", "('<f4', (1000000000,))", "'|V2147483647'", "-" * 900 + "1",
    "(" * 900,
)  # fmt: skip
SHAPES = (
    "(12, 400)", "(12,)", "(3, 28, 28)", "(3,)", "()", "(0,)", "(0, 400)", "(12, 0)", "(-1, 400)", "(-12, -400)",
    "(True,)", "(4800,)", "(10**9,)", "(1000000000000000000,)", "(4611686018427387904, 4)",
    "(0, 1000000000000000000)", "(12.0, 400)", "(2147483647, 2147483647)", "[12, 400]", "12", "(12L, 400L)", "'x'",
    "(12, 399)", "(13, 400)", "(400, 12)", "(1,) * 99", "(" + "1, " * 40 + "12)", "(" + "1, " * 8 + "12, 400)",
    "(12, 20, 20)", "None",
)  # fmt: skip


def npy(header: str, body: bytes, version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """An .npy with any header."""
    text = header.encode("latin1", "replace")
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    size = len(text) if length is None else length
    width = 2 if version[0] == 1 else 4
    return b"\x93NUMPY" + bytes(version) + (size % (1 << 8 * width)).to_bytes(width, "little") + text + body


def changed_npy(tape: Tape, dtype: str, shape: str, body: bytes) -> bytes:
    """An array whose header or body was changed, or both."""
    kind = tape.below(9)
    fortran, version, length = "False", (1, 0), None
    if kind in (0, 4):
        dtype = tape.pick(DTYPES)
    if kind in (1, 4):
        shape = tape.pick(SHAPES)
    if kind == 2:
        fortran = tape.pick(("True", "1", "None", "'False'", "[]"))
    if kind == 3:
        version, length = tape.pick(((2, 0), (3, 0), (0, 0), (255, 255), (1, 1))), tape.pick((None, 0, 1, 0xFFFFFFFF))
    if kind == 5:
        body = body[: tape.below(len(body))]
    if kind == 6:
        body += tape.take(1 + tape.below(9))
    header = f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    if kind == 7:
        header = tape.pick(("", "{}", "[" * 500, "{'descr': '<f4'}", header[:-2], header + ")", "{" + header + "}"))
    content = npy(header, body, version, length)
    return content if kind < 8 else changed_bytes(tape, content)
