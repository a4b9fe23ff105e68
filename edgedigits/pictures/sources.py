"""What `predict` is to read, where that is not plainly a file: folders, patterns, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from edgedigits.errors import InputError

STDIN = "-"
MAX_BYTES = 200_000_000  # of one picture from a pipe
# What Pillow reads in its plain form, and people have.
SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pcx", ".pgm"}
    | {".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
PATTERN = frozenset("*?[")


def expand(arguments: Iterable[Path]) -> Iterator[Path | InputError]:
    """The files that the arguments mean, in order; in place of one that means none, the error that says so.

    A folder means the pictures in it, by name, without its subfolders; a pattern, where no file is called so, the files
    that match it (not every shell expands them); all else is itself.
    """
    for argument in arguments:
        try:
            if argument.is_dir():
                yield from _in_folder(argument)
            elif PATTERN & set(str(argument)) and not argument.exists():
                yield from _matching(argument)
            else:
                yield argument
        except InputError as nothing:
            yield nothing
        except PermissionError:
            yield InputError(f"{argument}: may not be read; change its permissions, or read it as its owner")
        except OSError as cause:
            yield InputError(f"{argument}: cannot be read ({cause.strerror or cause}); give the path of a picture")


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise InputError(
            f"{folder}: no pictures in this folder; expected files such as .png or .jpg, not in subfolders"
        )
    return found


def _matching(pattern: Path) -> list[Path]:
    anchor = Path(pattern.anchor)
    found = sorted(path for path in anchor.glob(str(pattern.relative_to(anchor))) if path.is_file())
    if not found:
        raise InputError(f"{pattern}: no file matches; give the path of a picture, a folder or another pattern")
    return found


def read_stdin() -> BinaryIO:
    """All of standard input as a stream that can seek; InputError if nothing can be read from it."""
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input: not open; pipe a picture into the command")
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        raise InputError(f"standard input: cannot be read ({cause}); pipe a picture into the command") from cause
    if not content:
        raise InputError("standard input: nothing came; pipe one picture into the command, and name - once")
    if len(content) > MAX_BYTES:
        raise InputError(f"standard input: more than {MAX_BYTES:,} bytes; pipe one picture into the command")
    return BytesIO(content)
