"""One bit flipped in every file of a bundle, at every class of offset: refused, always, but where only words change."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import samples
from archives import CENTRAL, END, LOCAL, Entry, packed

from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, Bundle
from edgedigits.bundle.inspection import examine
from edgedigits.errors import BundleError

FILES = (*Bundle().names, INPUTS, GOLDEN)
# What nothing but a signature can tell: words, figures that are told and not used, and a temperature or labels of which
# others are as good. A field that may be left out goes unnoticed with its name. Of a scale it is only the digits that
# float32 does not have.
WORDS = {
    "name", "labels", "preprocessing", "training", "versions", "calibration", "artifacts.facts", "artifacts.runtimes",
    "artifacts.input.name", "artifacts.output.name", "artifacts.input.scale", "artifacts.output.scale",
    "rows, left out",
}  # fmt: skip
SCALES = {"artifacts.input.scale", "artifacts.output.scale"}


def offsets(length: int, edge: int, steps: int) -> Iterator[tuple[str, int]]:
    """Each byte of the front and of the back, then steps through the rest, with the class of each."""
    for at in range(edge):
        yield "front", at
        yield "back", length - 1 - at
    for at in range(edge, length - edge, max(1, (length - 2 * edge) // steps)):
        yield ("tables" if at < 2048 or at > length - 2048 else "middle"), at


@pytest.mark.parametrize("file", FILES)
def test_a_file(file: str, tmp_path: Path, counted: Callable[[str], None]) -> None:
    folder = shutil.copytree(Bundle().path, tmp_path / "bundle")
    bundle, seen = Bundle(folder), Counter[str]()
    content = bundle.read(file)
    with (folder / file).open("r+b", buffering=0) as stream:
        for kind, at in offsets(len(content), 32, 100 if len(content) > 10**6 else 400):
            os.pwrite(stream.fileno(), bytes([content[at] ^ (1 << at % 8)]), at)
            with pytest.raises(BundleError, match=f"{file} is damaged"):
                bundle.read(file)
            os.pwrite(stream.fileno(), content[at : at + 1], at)
            seen[kind] += 1
    assert bundle.read(file) == content
    assert min(seen[kind] for kind in ("front", "back", "middle")) > 20
    counted(f"{file}: {seen.total():,} flips ({', '.join(f'{n} {kind}' for kind, n in seen.items())}), 0 accepted")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for name, content in samples.bundle_files().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def differences(one: Any, other: Any, where: str = "") -> set[str]:
    """The names of the fields in which two documents differ; places in lists are left out."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {found for key in one for found in differences(one[key], other[key], f"{where}.{key}".lstrip("."))}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return {found for a, b in zip(one, other, strict=True) for found in differences(a, b, where)}
    return set() if one == other else {where}


def words(path: str) -> str:
    """The field of WORDS that a path stands in, or the path; rows that are not told are read with all the others."""
    if path == "rows":
        return "rows, left out"
    return next((known for known in WORDS if path == known or path.startswith(f"{known}.")), path)


def test_the_manifest(small: Path, counted: Callable[[str], None]) -> None:
    """Every byte: refused when it is read, or told by what else the bundle holds, or nothing but words were changed."""
    content = samples.bundle_files()[MANIFEST]
    before, seen, changed = json.loads(content), Counter[str](), set[str]()
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 7
        (small / MANIFEST).write_bytes(flipped)
        try:
            bundle = Bundle(small)
        except BundleError:
            seen["refused at once"] += 1
            continue
        found = {words(path) for path in differences(before, json.loads(bundle.manifest.to_json()))}
        if not found <= WORDS - SCALES and examine(small).problems:
            seen["told by a file, a shape or a tensor"] += 1
        elif not found:
            seen["spaces, or a digit that no float has"] += 1
        else:
            seen["words"] += 1
            changed |= found
    assert changed == WORDS
    assert seen.total() == len(content)
    assert seen["refused at once"] > 1000
    assert seen["told by a file, a shape or a tensor"] > 100
    counted(f"{MANIFEST}: {len(content):,} flips: {', '.join(f'{n:,} {kind}' for kind, n in seen.items())}")
    counted(f"{MANIFEST}: words that only a signature vouches for: {', '.join(sorted(changed))}")


def regions(content: bytes) -> dict[int, str]:
    """What each byte of a .zip belongs to: a field of a header by its name, or data."""
    found = {}
    count, _, at = struct.unpack_from("<HLL", content, len(content) - 12)

    def fields(kind: str, form: dict[str, str], at: int) -> int:
        for name, code in form.items():
            for _ in range(struct.calcsize(f"<{code}")):
                found[at] = f"{kind}.{name}"
                at += 1
        return at

    for _ in range(count):
        (name_length,), (place,) = (
            struct.unpack_from("<H", content, at + 28),
            struct.unpack_from("<L", content, at + 42),
        )
        at = fields("central", CENTRAL, at)
        found |= dict.fromkeys(range(at, at + name_length), "central.name")
        at += name_length
        local = fields("local", LOCAL, place)
        found |= dict.fromkeys(range(local, local + name_length), "local.name")
    assert fields("end", END, at) == len(content)
    return found


def test_the_zip(tmp_path: Path, counted: Callable[[str], None]) -> None:
    """Every byte of every header and many of the data: refused, or the very same files come out."""
    files = samples.bundle_files()
    entries = [Entry(n.encode(), c, 0 if n.endswith(".npz") else 8) for n, c in sorted(files.items())]
    content = packed(entries)
    headers, path, seen, unread = regions(content), tmp_path / "bundle.zip", Counter[str](), set[str]()
    data = [at for at in range(0, len(content), 151) if at not in headers]
    with path.open("w+b", buffering=0) as stream:
        stream.write(content)
        for at in (*headers, *data):
            os.pwrite(stream.fileno(), bytes([content[at] ^ (1 << at % 8)]), at)
            kind = headers.get(at, "data")
            try:
                bundle = Bundle(path)
                bundle.verify()
            except BundleError:
                seen[kind.partition(".")[0]] += 1
            else:
                assert {name: bundle.content(name, 10**8) for name in files} == files
                unread.add(kind)
                seen["accepted, the same files"] += 1
            os.pwrite(stream.fileno(), content[at : at + 1], at)
    assert unread == {"central.made_by", "central.internal", "central.external"}  # which nothing reads
    assert min(seen[kind] for kind in ("local", "central", "end", "data")) > 20
    counted(f"bundle.zip: {seen.total():,} flips: refused {', '.join(f'{n:,} {kind}' for kind, n in seen.items())}")


def test_which_files_a_bundle_has() -> None:
    """The tests above flip in each of them."""
    assert {*FILES, MANIFEST} == {path.name for path in Bundle().path.iterdir()}
