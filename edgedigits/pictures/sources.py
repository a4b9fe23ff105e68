"""The pictures that the arguments of `predict` name: files, folders, patterns, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from edgedigits.errors import InputError

MAX_BYTES = 200_000_000  # of one picture from a pipe
SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pcx", ".pgm"}
    | {".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)


def expand(arguments: Iterable[Path]) -> Iterator[Path | InputError]:
    """The files that the arguments name, in order, or an error for an argument that names none.

    A folder stands for the pictures in it without subfolders, a pattern for its matches unless a file has that name.
    """
    for argument in arguments:
        found, reason = [argument], ""
        try:
            if argument.is_dir():
                found = sorted(
                    path for path in argument.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()
                )
                reason = "no pictures in this folder; subfolders are not searched"
            elif set("*?[") & set(str(argument)) and not argument.exists():
                anchor = Path(argument.anchor)
                found = sorted(path for path in anchor.glob(str(argument.relative_to(anchor))) if path.is_file())
                reason = "no file matches; give the path of a picture, a folder or another pattern"
        except OSError as cause:
            found, reason = [], f"cannot be read ({cause.strerror or cause}); give the path of a picture"
        yield from found
        if not found:
            yield InputError(f"{argument}: {reason}")


def read_stdin() -> BinaryIO:
    """All of standard input as a seekable stream; InputError if it cannot be read or is too long."""
    if sys.stdin is None:
        raise InputError("standard input: not open; pipe a picture into the command")
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        raise InputError(f"standard input: cannot be read ({cause}); pipe a picture into the command") from cause
    if not content:
        raise InputError("standard input: empty; pipe one picture into the command, and give - only once")
    if len(content) > MAX_BYTES:
        raise InputError(f"standard input: more than {MAX_BYTES:,} bytes; pipe one picture into the command")
    return BytesIO(content)
