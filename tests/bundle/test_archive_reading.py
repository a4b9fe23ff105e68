"""Archives: what tools write is read, and every way to lie in one is refused, before it takes memory."""

from __future__ import annotations

import io
import struct
import subprocess
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
from archives import Entry, deflated, packed

from edgedigits.bundle.archive_reading import members, read_member
from edgedigits.system.limits import MOST_MEMBERS, RefusedError

FILES = {"manifest.json": b'{"a": 1}' * 50, "X.npy": bytes(range(256)) * 20, "empty": b""}


def read(content: bytes, most: int = 10**6) -> dict[str, bytes]:
    file = io.BytesIO(content)
    return {name: read_member(file, member, most) for name, member in members(file, len(content)).items()}


def refused(content: bytes, most: int = 10**6) -> str:
    with pytest.raises(RefusedError) as caught:
        read(content, most)
    assert str(caught.value).isprintable()
    return str(caught.value)


def entries(method: int = 8) -> list[Entry]:
    return [Entry(name.encode(), content, method) for name, content in FILES.items()]


@pytest.mark.parametrize("method", [0, 8])
def test_ours(method: int) -> None:
    assert read(packed(entries(method))) == FILES


@pytest.mark.parametrize("kind", ["deflated", "stored", "streamed", "64 bits", "with folders"])
def test_what_zipfile_writes(kind: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    if kind == "streamed":  # where it cannot go back, the sizes follow the bytes
        stream.seekable = lambda: False  # type: ignore[method-assign]
        stream.tell = lambda: (_ for _ in ()).throw(OSError())  # type: ignore[method-assign]
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED) as archive:
        if kind == "with folders":
            archive.writestr("folder/", b"")
        for name, content in FILES.items():
            if kind == "64 bits":
                with archive.open(name, "w", force_zip64=True) as member:
                    member.write(content)
            else:
                archive.writestr(name, content)
    assert read(stream.getvalue()) == FILES


def test_what_info_zip_writes(tmp_path: Path) -> None:
    if not Path("/usr/bin/zip").exists():
        pytest.skip("no zip on this machine")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    subprocess.run(["zip", "-q", "it.zip", *FILES], cwd=tmp_path, check=True)
    assert read((tmp_path / "it.zip").read_bytes()) == FILES
    streamed = subprocess.run(["zip", "-q", "-", *FILES], cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout
    assert read(streamed) == FILES


@pytest.mark.parametrize(
    "name",
    ["../X", "/X", "a/../X", "..", ".", "", "a//b", "C:X", "a\\b", "a\0b", "a\nb", "\u202ea", "/", "a/./b"],
)
def test_names_that_lead_out(name: str) -> None:
    assert "leads out of it" in refused(packed([*entries(), Entry(name.encode(), b"x")]))


def test_a_name_in_no_encoding() -> None:
    assert "not in the encoding" in refused(packed([Entry(b"\xff\xfe", b"x")]))
    assert "not in the encoding" in refused(
        packed([Entry(b"\xc3\xa9", b"x", local={"flags": 0}, central={"flags": 0})])
    )


def test_one_name_twice() -> None:
    assert "X.npy is in it twice" in refused(packed([*entries(), Entry(b"X.npy", b"other")]))


def test_members_that_share_their_bytes() -> None:
    """A better zip bomb's kernel: each local header stands in the bytes of the one before."""
    inner = packed([Entry(b"b", b"kernel" * 100, 0)])
    content = packed([Entry(b"a", inner, 0), Entry(b"b", b"kernel" * 100, 0, central={"offset": 31})])
    assert "share their bytes" in refused(content)
    same = packed([Entry(b"a", b"k" * 100), Entry(b"a", b"k" * 100, central={"offset": 0})])
    assert refused(same)


def test_a_bomb_ends_where_its_size_is_declared() -> None:
    content = packed([Entry(b"X.npy", bytes(10**9 // 20), packed=deflated(bytes(10**9 // 20), 9))])
    assert "it has 50,000,000 bytes unpacked, more than the 1,000,000 that are read" in refused(content)
    lying = packed([Entry(b"X.npy", b"x", packed=deflated(bytes(50_000_000), 9))])
    tracemalloc.start()
    try:
        assert "does not unpack to the 1 bytes" in refused(lying)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 399, 401, 10**6])
def test_a_size_that_lies_twice(size: int) -> None:
    lie = {"size": size}
    assert "does not unpack" in refused(packed([Entry(b"a", b"x" * 400, 8, local=lie, central=lie)]))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (Entry(b"a", b"x", local={"flags": 1}, central={"flags": 1}), "a is encrypted"),
        (Entry(b"a", b"x", local={"method": 12}, central={"method": 12}), "packed by method 12"),
        (Entry(b"a", b"x", central={"external": 0o120777 << 16}), "a is a link or no file"),
        (Entry(b"a", b"x", central={"external": 0o010644 << 16}), "a is a link or no file"),
        (Entry(b"a/", b"x"), "a/ is a folder with bytes"),
        (Entry(b"a", b"x", before=b"MZ"), "in front of its first member"),
        (Entry(b"a", b"x", after=b"junk"), "a gap in it"),
        (Entry(b"a", b"x", local={"crc": 1}, central={"crc": 1}), "its CRC-32 is not the archive's"),
        (Entry(b"a", b"x", local={"crc": 1}), "tell of two sizes"),
        (Entry(b"a", b"x", 0, local={"size": 2}, central={"size": 2}), "stored, yet of two sizes"),
        (Entry(b"a", b"x", local={"time": 1}), "do not agree"),
        (Entry(b"a", b"x", local={"method": 0}), "do not agree"),
        (Entry(b"a", b"x", local={"needed": 88}, central={"needed": 88}), "needs version 8.8"),
        (Entry(b"a", b"xxxx", packed=b"\xff\xff"), "cannot be unpacked"),
        (Entry(b"a", b"xxxx", packed=deflated(b"xxxx") + b"more"), "does not unpack"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lies(entry: Entry, said: str) -> None:
    assert said in refused(packed([entry, Entry(b"z", b"z")]))


def test_the_name_of_the_local_header_is_the_listed_one() -> None:
    content = bytearray(packed([Entry(b"good", b"x")]))
    content[30:34] = b"evil"
    assert "do not agree" in refused(bytes(content))


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ({"here": 2}, "in parts"),
        ({"disk": 1}, "in parts"),
        ({"here": 65535, "count": 65535}, "more than is read"),
        ({"length": 10**9}, "more than is read"),
        ({"offset": 0}, "not where it says"),
        ({"comment_length": 5}, "does not end in the record"),
        ({"count": 1, "here": 1}, "longer than they are"),
    ],
    ids=str,
)
def test_an_end_record_that_lies(end: dict[str, int], said: str) -> None:
    assert said in refused(packed(entries(), end))


def test_too_many_members() -> None:
    many = [Entry(str(number).encode(), b"") for number in range(MOST_MEMBERS + 1)]
    assert len(read(packed(many[:-1]))) == MOST_MEMBERS
    assert "it has 257 members" in refused(packed(many))


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"x" * 22, packed([]) + b"\0", b"\0" + packed(entries())])
def test_what_is_no_archive(content: bytes) -> None:
    assert refused(content)


def test_a_descriptor_that_lies() -> None:
    data = b"x" * 400
    right = struct.pack("<3L", zlib.crc32(data), len(deflated(data)), len(data))
    later = {"flags": 8, "crc": 0, "size": 0, "packed": 0}
    for behind, holds in (
        (b"PK\x07\x08" + right, True),
        (right, True),
        (b"PK\x07\x08" + right[:8] + b"\1\0\0\0", False),
    ):
        content = packed([Entry(b"a", data, local=later, central={"flags": 8}, after=behind), Entry(b"b", b"")])
        if holds:
            assert read(content)["a"] == data
        else:
            assert "behind its bytes" in refused(content)


def test_cut_anywhere() -> None:
    content = packed(entries())
    for length in range(len(content)):
        assert refused(content[:length])
