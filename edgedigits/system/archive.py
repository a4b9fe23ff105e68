"""Archives whose bytes depend on their members alone."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

_OLDEST = (1980, 1, 1, 0, 0, 0)  # what the format can hold
_COMPRESSED = (".whl", ".deb", ".zip")
_UNIX = 3


def write_zip(path: Path, members: Mapping[str, bytes | Path]) -> None:
    """Write a .zip of these members, each given by its bytes or by the file that holds them.

    In the order of their names, without times or owners; what is compressed already is stored as it is.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(members.items()):
            member = zipfile.ZipInfo(name, _OLDEST)
            member.create_system = _UNIX
            member.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            member.compress_type = zipfile.ZIP_STORED if name.endswith(_COMPRESSED) else zipfile.ZIP_DEFLATED
            archive.writestr(member, content if isinstance(content, bytes) else content.read_bytes())
