"""Limits on untrusted input, which are checked before memory is taken, and strict reading of files and JSON.

All input is read here, in bundle/arrays.py (.npy, .npz), bundle/zip_reader.py (.zip) or pictures/decoding.py. Each
raises :class:`RefusedError` or OSError; the caller adds which file it was and what to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

# Each limit is some ten times what was ever needed, and small enough for a Pi with 512 MB of memory.
MOST_MANIFEST_BYTES = 1_000_000  # of manifest.json; the packaged ones have 5,000
MOST_SIGNATURE_BYTES = 1_000  # of manifest.sig, which has 198
MOST_JSON_BYTES = 16_000_000  # of a result; 1,000 rows with a histogram of 400 bins have 14 million
MOST_VALUES = 1_000_000  # in one JSON text; each takes some 64 bytes as a Python object
MOST_DEPTH = 32  # of nested JSON; ours has 6
MOST_MODEL_BYTES = 128_000_000  # of an artifact; the packaged ones have 44,152
MOST_ARRAY_BYTES = 256_000_000  # of one array, unpacked; X.npy of MNIST's 60,000 digits in float64 has 192 million
MOST_ARCHIVE_BYTES = 512_000_000  # of a .zip, or of an .npz, packed
MOST_DIRECTORY_BYTES = 64_000  # of the list of members at its end, which is read whole: at most 1,391
MOST_CHARACTERS = 4_000  # of one text that is shown


class RefusedError(ValueError):
    """Input is refused; the message is a part of a sentence that says what was found."""


@contextlib.contextmanager
def plain_file(path: Path, most: int) -> Iterator[tuple[BinaryIO, int]]:
    """A file open for reading, and its size in bytes, at most ``most``.

    Raises RefusedError for a file that is too large and, without waiting for it, a pipe or a device; OSError as opening
    does.
    """
    flags = (getattr(os, name, 0) for name in ("O_BINARY", "O_NONBLOCK", "O_NOCTTY"))
    with os.fdopen(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise RefusedError("it is a pipe or a device, not a file")
        if facts.st_size > most:
            raise RefusedError(f"it has {facts.st_size:,} bytes, more than the limit of {most:,}")
        yield file, facts.st_size


def read_file(path: Path, most: int, exactly: int | None = None) -> bytes:
    """All of a file, at most ``most`` bytes and, if given, ``exactly`` so many, which is checked first.

    Raises as :func:`plain_file`.
    """
    with plain_file(path, most) as (file, size):
        if exactly is not None and size != exactly:
            raise RefusedError(f"it has {size:,} bytes, not {exactly:,}")
        content = file.read(size + 1)
    if len(content) != size:
        raise RefusedError("it changed while it was read")
    return content


def read_json(path: Path, most: int = MOST_JSON_BYTES) -> Any:
    """The JSON in a file, or in a pipe, which ends when the other side closes it; raises as :func:`parse_json`."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise RefusedError(f"it has more than {most:,} bytes")
    return parse_json(content)


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text within the limits, without NaN and infinities.

    Duplicate keys are refused: two readers may take different ones, so one would use what the other never checked.
    """
    text = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MOST_VALUES:
        raise RefusedError(f"it has more than {MOST_VALUES:,} values")
    try:
        facts = json.loads(content, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError as cause:
        raise RefusedError("it is nested too deeply") from cause
    except RefusedError:
        raise
    except ValueError as cause:  # not JSON, not in a Unicode encoding, or a number of more than 4300 digits
        raise RefusedError(f"it is not JSON ({short(str(cause))})") from cause
    level = [facts] if isinstance(facts, dict | list) else []
    for _ in range(MOST_DEPTH):
        inside = [v.values() if isinstance(v, dict) else v for v in level]
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not level:
            return facts
    raise RefusedError("it is nested too deeply")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise RefusedError(f"{short(next(key for key in keys if keys.count(key) > 1))} appears twice in one object")
    return found


def _refuse_constant(name: str) -> float:
    raise RefusedError(f"{name} is not a number in JSON")


def kind_of(value: Any) -> str:
    """What an error calls the type of a value from JSON."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def short(value: Any) -> str:
    """A value from JSON for an error: on one line, and shortened."""
    text = printable(value if isinstance(value, str) else repr(value) if not isinstance(value, dict | list) else "...")
    return text if len(text) <= 60 else text[:57] + "..."


def printable(text: str) -> str:
    """The text without what could steer a terminal: line ends become spaces, the rest U+FFFD; cut if it is long."""
    cut = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else "\ufffd" for c in cut)
