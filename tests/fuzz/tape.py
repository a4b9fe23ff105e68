"""Bytes as a row of choices, from which an input is made: one form for hypothesis and for a coverage-guided fuzzer.

Either only ever changes bytes, so what it learns about a tape holds for the input that the tape makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
EVIL = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)", "</style><x-fuzz>",
    "]]><x-fuzz a=1>", "--><x-fuzz>", "&lt;x-fuzz&gt;", "<!--", "{{7*7}}", "javascript:alert(1)", "\x1b[31m\x07",
    "\r\n", "\u202egnp", "\ud800", "\0", "../../etc/passwd", "/etc/passwd", "C:\\x", "manifest.json", "int8.tflite",
    "", " ", "%s%n", "9" * 30, "x" * 5000, "ok", "crashed", "missing",
)  # fmt: skip
JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 2**31, 2**53 + 1, 10**30, -(2**63), 0.5, -0.0, 1e308, 5e-324, [], {}, [[]], [0],
    [None], {"": None}, "0", "\u0660", *EVIL,
)  # fmt: skip


class Tape:
    """Choices read off one after the other; zeros, which mean the plainest choice, once it ends."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def below(self, n: int) -> int:
        """0 to n - 1."""
        width = 1 if n <= 0x100 else 2 if n <= 0x10000 else 4
        return int.from_bytes(self.take(width), "little") % n if n > 0 else 0

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        found = self._data[self._at : self._at + n]
        self._at += n
        return found + bytes(n - len(found))

    def rest(self) -> bytes:
        """All that is left."""
        return self._data[self._at :]

    def pick(self, among: Sequence[T]) -> T:
        """One of these."""
        return among[self.below(len(among))]


def place(tape: Tape, length: int) -> int:
    """Where to change something: near the front, near the back or anywhere, as often."""
    where = tape.below(3)
    at = tape.below(min(length, 64) if where < 2 else length)
    return max(length - 1 - at, 0) if where == 1 else at


def changed_bytes(tape: Tape, original: bytes) -> bytes:
    """A file with one to six changes of its bytes."""
    data = bytearray(original)
    for _ in range(1 + tape.below(6)):
        at, kind = place(tape, len(data)), tape.below(8)
        if kind < 2:
            data[at : at + 1] = bytes([(data[at] if data else 0) ^ (1 << tape.below(8))])
        elif kind == 2:
            data[at : at + 1] = tape.take(1)
        elif kind == 3:
            width = tape.pick((1, 2, 4, 8))
            data[at : at + width] = (tape.pick(NUMBERS) % (1 << 8 * width)).to_bytes(width, "little")
        elif kind == 4:
            del data[at : at + 1 + tape.below(64)]
        elif kind == 5:
            data[at:at] = tape.take(1 + tape.below(8))
        elif kind == 6:
            other = place(tape, len(original))
            data[at:at] = original[other : other + 1 + tape.below(64)]
        else:
            del data[at:]
    return bytes(data)


def changed_json(tape: Tape, original: Any) -> bytes:
    """A document with one to four changes of its values, and sometimes one of its text."""
    document = json.loads(json.dumps(original))
    for _ in range(1 + tape.below(4)):
        _change(tape, document)
    text = json.dumps(document, indent=tape.pick((None, 2)))
    kind = tape.below(10)
    if kind == 0:  # a value that only JSON's text can have
        values = ("NaN", "-Infinity", "1e999", "9" * 5000, "-0", "[" * 2000 + "]" * 2000, '"\\ud800"', "1.5")
        numbers = list(re.finditer(r"\b\d+\b", text))
        if numbers:
            found = tape.pick(numbers)
            text = text[: found.start()] + tape.pick(values) + text[found.end() :]
    elif kind == 1:  # a key twice
        keys = list(re.finditer(r'"\w+": ', text))
        if keys:
            found = tape.pick(keys)
            text = f"{text[: found.start()]}{found[0]}{json.dumps(tape.pick(JUNK))}, {text[found.start() :]}"
    data = text.encode(tape.pick(("utf-8",) * 6 + ("utf-16", "utf-8-sig", "utf-32")), "surrogatepass")
    return changed_bytes(tape, data) if kind == 2 else data


def _change(tape: Tape, document: Any) -> None:
    """Change one value, somewhere inside; a step deeper is as likely at each level."""
    inside = document
    while True:
        keys: Sequence[Any] = list(inside) if isinstance(inside, dict) else range(len(inside))
        if not keys:
            return
        key = tape.pick(keys)
        if not (isinstance(inside[key], dict | list) and inside[key]) or not tape.below(6):
            break
        inside = inside[key]
    kind = tape.below(8)
    value = inside[key]
    if kind == 0:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[tape.pick(EVIL)] = inside.pop(key)
    elif kind == 2:
        other = tape.pick(keys)
        inside[key] = json.loads(json.dumps(inside[other]))
    elif kind == 3 and isinstance(inside, list):
        inside += [value] * tape.pick((1, 2, 40))
    elif kind == 4 and isinstance(value, str) and value:
        at = tape.below(len(value))
        inside[key] = value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
    elif kind == 5 and isinstance(value, int | float):
        inside[key] = tape.pick((-value, value + 1, value * 2, value / 2, value * 1.0000001, value - 1))
    else:
        inside[key] = json.loads(json.dumps(tape.pick(JUNK)))
