"""Zip archives whose bytes depend on their members alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo


def write_zip(path: Path, members: Mapping[str, bytes | Path]) -> None:
    """Write a zip archive of members given by name as bytes or files, sorted, without times and owners."""
    with ZipFile(path, "w") as archive:
        for name, content in sorted(members.items()):
            member = ZipInfo(name)  # dated 1980-01-01
            member.create_system = 3  # Unix
            member.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            member.compress_type = ZIP_STORED if name.endswith((".whl", ".deb", ".zip")) else ZIP_DEFLATED
            archive.writestr(member, content if isinstance(content, bytes) else content.read_bytes())
