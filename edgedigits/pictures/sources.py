"""The pictures that the arguments of `predict` name: files, folders, patterns, standard input."""

from __future__ import annotations

import contextlib
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
        found = [argument]
        try:
            if argument.is_dir():
                found = [path for path in argument.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
            elif set("*?[") & set(str(argument)) and not argument.exists():
                anchor = Path(argument.anchor)
                found = [path for path in anchor.glob(str(argument.relative_to(anchor))) if path.is_file()]
        except OSError as cause:
            yield InputError(f"{argument}: cannot be read ({cause.strerror or cause}); give the path of a picture")
            continue
        yield from sorted(found)
        if not found:
            yield InputError(f"{argument}: no pictures found; subfolders are not searched")


def read_stdin() -> BinaryIO:
    """All of standard input as a seekable stream; InputError if it is empty, unreadable or too long."""
    content = b""
    with contextlib.suppress(AttributeError, OSError):  # closed, or open only for writing
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    if not 0 < len(content) <= MAX_BYTES:
        problem = "too long" if content else "empty or not readable"
        raise InputError(f"standard input: {problem}; pipe one picture into the command, and give - only once")
    return BytesIO(content)
