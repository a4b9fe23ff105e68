"""Reading what nobody vouches for: how much is looked at before memory is taken, and no further than the limits here.

All input is read here, in bundle/arrays.py (.npy, .npz), bundle/archive_reading.py (.zip) or pictures/decoding.py.
Each raises :class:`RefusedError` or OSError; the caller says which file it was and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

# The limits, each some ten times what was ever needed, and so small that a Pi with 512 MB of memory survives it.
MOST_MANIFEST_BYTES = 1_000_000  # of manifest.json; the packaged ones have 5,000
MOST_SIGNATURE_BYTES = 1_000  # of manifest.sig, which has 198
MOST_JSON_BYTES = 16_000_000  # of a result; 1,000 rows with a histogram of 400 bins have 14 million
MOST_VALUES = 1_000_000  # in one JSON text; as Python's objects they take some 64 bytes each, which its size hides
MOST_DEPTH = 32  # of JSON within JSON; ours has 6, and Python's own end is the stack of whoever calls
MOST_DIGITS = 320  # of a whole number; the largest float has 309, and reading takes time with their square
MOST_MODEL_BYTES = 128_000_000  # of an artifact; the packaged ones have 44,152
MOST_ARRAY_BYTES = (
    256_000_000  # of one array, unpacked; all 60,000 digits of MNIST as X.npy in float64 have 192 million
)
MOST_ARCHIVE_BYTES = 512_000_000  # of a .zip, or of an .npz, packed
MOST_MEMBERS = 256  # in one; a bundle has 6, and every one takes memory before anything is read
MOST_DIRECTORY_BYTES = 256_000  # of the list of members at its end, for the same reason
MOST_CHARACTERS = 4_000  # of one text that is shown


_HOLDS = (dict, list)


class RefusedError(ValueError):
    """What was read is not what may be read; the message is a part of a sentence that says what was found."""


@contextlib.contextmanager
def plain_file(path: Path, most: int) -> Iterator[tuple[BinaryIO, int]]:
    """A file open for reading, and its size in bytes, at most ``most``.

    A pipe is not waited for, and no device is read: either has no size, so neither has an end that could be checked.

    Raises RefusedError for those and for a file that is too large; OSError as opening does.
    """
    flags = (getattr(os, name, 0) for name in ("O_BINARY", "O_NONBLOCK", "O_NOCTTY"))
    with os.fdopen(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise RefusedError("it is a pipe or a device, not a file")
        if facts.st_size > most:
            raise RefusedError(f"it has {facts.st_size:,} bytes, more than the {most:,} that are read")
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
    if path.is_dir():  # which Windows would call a lack of permission
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise RefusedError(f"it has more than {most:,} bytes")
    return parse_json(content)


def parse_json(content: bytes | str) -> Any:
    """What a JSON text stands for, strictly: no NaN, no key twice in one object, no more of anything than the limits.

    Two readers may take different ones of two values under one key, so what one of them checked the other never saw.
    """
    # The signs are of the content's own type, which mypy cannot follow through the tuple.
    comma, bracket, brace = (b",", b"[", b"{") if isinstance(content, bytes) else (",", "[", "{")
    if content.count(comma) + content.count(bracket) + content.count(brace) > MOST_VALUES:  # type: ignore[arg-type]
        raise RefusedError(f"it has more than {MOST_VALUES:,} values")
    try:
        facts = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_whole)
    except RecursionError as cause:
        raise RefusedError("it is nested too deeply") from cause
    except RefusedError:
        raise
    except ValueError as cause:  # not JSON, or not in a Unicode encoding
        raise RefusedError(f"it is not JSON ({short(str(cause))})") from cause
    level = [facts] if isinstance(facts, _HOLDS) else []
    for _ in range(MOST_DEPTH):
        inside = [v.values() if isinstance(v, dict) else v for v in level]
        level = [item for items in inside for item in items if isinstance(item, _HOLDS)]
        if not level:
            return facts
    raise RefusedError("it is nested too deeply")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise RefusedError(f"{short(next(key for key in keys if keys.count(key) > 1))} stands twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise RefusedError(f"{name} is no number in JSON")


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise RefusedError(f"it is not JSON that is read here (a number of {len(digits):,} digits)")
    return int(digits)


class Facts:
    """An object from JSON; a RefusedError says where a value stands that is not of its kind, or beyond reason."""

    def __init__(self, raw: Any, where: str = "") -> None:
        if not isinstance(raw, dict):
            raise RefusedError(f"{where or 'it'} is {kind_of(raw)}, not an object")
        self.raw, self._where = raw, f"{where}." if where else ""

    def _get(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        if key not in self.raw:
            raise RefusedError(f"{self._where[:-1]}{': ' * bool(self._where)}{key!r} is missing")
        value = self.raw[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise RefusedError(f"{self._where}{key} is {kind_of(value)}, not {expected}")
        return value

    def _range(self, key: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:  # NaN is not
            raise RefusedError(f"{self._where}{key} {short(value)}, expected {low:,} to {high:,}")

    def text(self, key: str) -> str:
        """A string that can be shown."""
        value: str = self._get(key, str, "a string")
        if not value.isprintable() or len(value) > MOST_CHARACTERS:
            raise RefusedError(f"{self._where}{key} is {short(repr(value))}, which is not plain text")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number in a range."""
        value: int = self._get(key, int, "a whole number")
        self._range(key, value, low, high)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """A number in a range."""
        value: float = self._get(key, (int, float), "a number")
        self._range(key, value, low, high)
        return float(value)

    def inner(self, key: str) -> Facts:
        """An object."""
        return Facts(self._get(key, dict, "an object"), f"{self._where}{key}")

    def items(self, key: str, most: int) -> list[Any]:
        """A list."""
        value: list[Any] = self._get(key, list, "a list")
        if len(value) > most:
            raise RefusedError(f"{self._where}{key} has {len(value):,} items, more than {most:,}")
        return value

    def objects(self, key: str, most: int) -> list[Facts]:
        """A list of objects."""
        return [Facts(item, f"{key}[{i}]") for i, item in enumerate(self.items(key, most))]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        found = self.items(key, 10_000)
        if not all(isinstance(item, str) for item in found):
            raise RefusedError(f"{self._where}{key} is not a list of strings")
        return tuple(found)

    def pairs(self, key: str) -> dict[str, str]:
        """An object of strings."""
        found = self.inner(key).raw
        if not all(isinstance(value, str) for value in found.values()):
            raise RefusedError(f"{self._where}{key} holds what is no string")
        return found

    def sha256(self, key: str) -> str:
        """A SHA-256 as :func:`edgedigits.system.files.sha256` writes it."""
        digest = self.text(key)
        if len(digest) != 64 or digest.strip("0123456789abcdef"):
            raise RefusedError(f"{self._where}{key} {short(digest)} is no SHA-256 of 64 hexadecimal digits")
        return digest


def kind_of(value: Any) -> str:
    """What a value from JSON is called in an error."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def short(value: Any) -> str:
    """A value from JSON for an error: on one line, and not all of a long one."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return f"about 1e{int(value.bit_length() * 0.30103)}"  # its digits could be hundreds
    text = printable(value if isinstance(value, str) else repr(value) if not isinstance(value, dict | list) else "...")
    return text if len(text) <= 60 else text[:57] + "..."


def printable(text: str) -> str:
    """Without what could steer a terminal or break a line: line ends become spaces, the rest U+FFFD; long ones cut."""
    cut = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else "\ufffd" for c in cut)
