"""Archives: what tools write is read; harmful names, links and sizes beyond the limits are refused without memory."""

from __future__ import annotations

import io
import shutil
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from archives import Entry, deflated, packed

from edgedigits.bundle.zip_reader import ZipReader
from edgedigits.system.limits import RefusedError

FILES = {"manifest.json": b'{"a": 1}' * 50, "X.npy": bytes(range(256)) * 20, "empty": b""}


def read(content: bytes, most: int = 10**6) -> dict[str, bytes]:
    reader = ZipReader(io.BytesIO(content), len(content))
    return {name: reader.read(name, most) for name in reader.names}


def refused(content: bytes, most: int = 10**6) -> str:
    with pytest.raises(RefusedError) as caught:
        read(content, most)
    assert str(caught.value).isprintable()
    return str(caught.value)


def entries(method: int = 8) -> list[Entry]:
    return [Entry(name.encode(), content, method) for name, content in FILES.items()]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_zipfile_writes(method: int) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("folder/", b"")
        for name, content in FILES.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    assert read(stream.getvalue()) == FILES


@pytest.mark.skipif(not shutil.which("zip"), reason="no zip on this machine")
def test_what_info_zip_writes_to_a_pipe(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    assert read(subprocess.run(["zip", "-q", "-", *FILES], cwd=tmp_path, check=True, stdout=-1).stdout) == FILES


@pytest.mark.parametrize("name", ["../X", "/X", "a/../X", ".", "", "a//b", "C:X", "a\\b", "a\0b", "\u202ea", "/"])
def test_harmful_names(name: str) -> None:
    assert "is not a plain relative path" in refused(packed([*entries(), Entry(name.encode(), b"x")]))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry(b"X.npy", b"other"), "two members have the same name"),
        (Entry(b"a", b"x", local={"flags": 1}, central={"flags": 1}), "it cannot be unpacked, File 'a' is encrypted"),
        (Entry(b"a", b"x", local={"method": 12}, central={"method": 12}), "a is compressed by method 12"),
        (Entry(b"a", b"x", local={"crc": 1}, central={"crc": 1}), "it cannot be unpacked, Bad CRC-32"),
        (Entry(b"a", b"x", central={"needed": 88}), "zipfile cannot open it, zip file version 8.8"),
        (Entry(b"a", b"xxxx", packed=b"\xff\xff"), "it cannot be unpacked, Error -3"),
        (Entry(b"a", b"x" * 400, central={"size": 399}), "it cannot be unpacked, Bad CRC-32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_members(entry: Entry, message: str) -> None:
    assert message in refused(packed([*entries(), entry]))


def test_sizes_are_checked_before_unpacking() -> None:
    honest = packed([Entry(b"X.npy", bytes(50_000_000), packed=deflated(bytes(50_000_000), 9))])
    dishonest = packed([Entry(b"X.npy", b"x", packed=deflated(bytes(50_000_000), 9))])
    tracemalloc.start()
    try:
        assert "it has 50,000,000 bytes unpacked, more than the limit of 1,000,000" in refused(honest)
        assert "it cannot be unpacked" in refused(dishonest)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_list_of_members_is_limited() -> None:
    many = [Entry(str(number).encode(), b"") for number in range(2000)]
    assert len(read(packed(many[:1000]))) == 1000
    assert "its list of members has 98,890 bytes, more than 64,000" in refused(packed(many))
    locator = b"PK\x06\x07" + bytes(16)  # zipfile would follow it to another list
    content = packed(entries())
    assert "does not end in the plain record" in refused(content[:-22] + locator + content[-22:])


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"x" * 22, packed(entries()) + b"\0"])
def test_not_an_archive(content: bytes) -> None:
    assert "it does not end in the plain record that ends a .zip" in refused(content)


def test_cut_anywhere() -> None:
    content = packed(entries())
    for length in range(0, len(content), 3):
        refused(content[:length])
