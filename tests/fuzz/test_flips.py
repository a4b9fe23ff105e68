"""Flips bits in a manifest and in a .zip: refused, or nothing changes but words that only a signature covers."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import samples
from archives import Entry, packed

from edgedigits.bundle.bundle import MANIFEST, Bundle
from edgedigits.bundle.inspection import examine
from edgedigits.errors import BundleError

# Text, figures that are shown and not used, and a temperature or labels of which others are as valid. A field that may
# be absent goes unnoticed with its name. Of a scale it is only the digits that float32 does not have.
SCALES = {"artifacts.input.scale", "artifacts.output.scale"}
WORDS = SCALES | {
    "name", "labels", "preprocessing", "training", "versions", "calibration", "artifacts.facts", "artifacts.runtimes",
    "artifacts.input.name", "artifacts.output.name", "rows",
}  # fmt: skip


def flip(file: int, content: bytes, at: int) -> None:
    os.pwrite(file, bytes([content[at] ^ (1 << at % 7)]), at)


def differences(one: Any, other: Any, where: str = "") -> set[str]:
    """The names of the fields in which two documents differ; places in lists are left out."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {found for key in one for found in differences(one[key], other[key], f"{where}.{key}".lstrip("."))}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return {found for a, b in zip(one, other, strict=True) for found in differences(a, b, where)}
    return set() if one == other else {where}


def field_of(path: str) -> str:
    """The field of WORDS that a path is in, or the path."""
    return next((known for known in WORDS if path == known or path.startswith(f"{known}.")), path)


@pytest.mark.slow
def test_the_manifest(tmp_path: Path, counted: Callable[[str], None]) -> None:
    """Every byte: refused on opening, found by `inspect`, or nothing but words changed."""
    for name, content in samples.bundle_files().items():
        (tmp_path / name).write_bytes(content)
    before, seen, changed = json.loads(content), Counter[str](), set[str]()
    for at in range(len(content)):
        (tmp_path / MANIFEST).write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 7)]) + content[at + 1 :])
        try:
            bundle = Bundle(tmp_path)
        except BundleError:
            seen["refused on opening"] += 1
            continue
        found = {field_of(path) for path in differences(before, json.loads(bundle.manifest.to_json()))}
        if not found <= WORDS - SCALES and examine(tmp_path).problems:
            seen["found by inspect"] += 1
        else:
            seen["words or spaces"] += 1
            changed |= found
    assert changed == WORDS
    assert seen["refused on opening"] > 1000
    assert seen["found by inspect"] > 100
    counted(f"{MANIFEST}: {len(content):,} flips: {', '.join(f'{n:,} {kind}' for kind, n in seen.items())}")


@pytest.mark.slow
def test_the_zip(tmp_path: Path, counted: Callable[[str], None]) -> None:
    """The list of members, the headers and a sample of the data: refused, or the very same files come out."""
    files = samples.bundle_files()
    content = packed([Entry(n.encode(), c, 0 if n.endswith(".npz") else 8) for n, c in sorted(files.items())])
    directory = int.from_bytes(content[-6:-2], "little")
    headers = [at + byte for name in files for at in [content.index(name.encode()) - 30] for byte in range(45)]
    path, seen = tmp_path / "bundle.zip", Counter[str]()
    with path.open("w+b", buffering=0) as stream:
        stream.write(content)
        for at in (*headers, *range(directory, len(content)), *range(0, directory, 301)):
            flip(stream.fileno(), content, at)
            try:
                bundle = Bundle(path)
                bundle.verify()
            except BundleError:
                seen["refused"] += 1
            else:
                assert {name: bundle.files.read_raw(name, 10**8) for name in files} == files
                seen["read, the same files"] += 1
            os.pwrite(stream.fileno(), content[at : at + 1], at)
    assert seen["refused"] > 300
    counted(f"bundle.zip: {', '.join(f'{n:,} flips {kind}' for kind, n in seen.items())}")
