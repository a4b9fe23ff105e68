"""Changes that make a valid file invalid, drawn from a seeded generator, so that a seed repeats an input."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from archives import CENTRAL, END, LOCAL, Entry, packed

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
MARKUP = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)", "</style><x-fuzz>",
    "]]><x-fuzz a=1>", "--><x-fuzz>",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 255, 2**31, 2**53 + 1, 10**30, 0.5, -0.0, 1e308, 5e-324, [], {}, [[]], {"": None}, "", "0",
    "\x1b[31m\x07", "\r\n", "\u202egnp", "\ud800", "\0", "../../etc/passwd", "C:\\x", "manifest.json", "int8.tflite",
    "9" * 30, "x" * 5000, "ok", "crashed", "missing", *MARKUP,
)  # fmt: skip
# What only the text of a JSON number can be.
LITERALS = ("NaN", "-Infinity", "1e999", "9" * 5000, "9" * 4000, "-0", "[" * 2000 + "]" * 2000, '"\\ud800"', "1.5")


def change_bytes(random: Random, original: bytes) -> bytes:
    """Change bytes in up to six places, near the front, near the back or anywhere."""
    data = bytearray(original)
    for _ in range(random.randint(1, 6)):
        near = random.randrange(min(len(data), 64) or 1)
        at = random.choice((near, max(len(data) - 1 - near, 0), random.randrange(len(data) or 1)))
        kind = random.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([(data[at] if data else 0) ^ (1 << random.randrange(8))])
        elif kind == 1:
            width = random.choice((1, 2, 4, 8))
            data[at : at + width] = (random.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, "little")
        elif kind == 2:
            del data[at : at + random.randint(1, 64)]
        elif kind == 3:
            data[at:at] = random.randbytes(random.randint(1, 8))
        elif kind == 4:
            data[at:at] = data[: random.randint(1, 64)]
        elif random.randrange(4) == 0:
            del data[at:]
    return bytes(data)


def change_json(random: Random, original: Any) -> bytes:
    """Change up to four values, and sometimes the text or its encoding."""
    document = json.loads(json.dumps(original))
    for _ in range(random.randint(1, 4)):
        _change_value(random, document)
    text = json.dumps(document, indent=2)
    kind = random.randrange(10)
    if kind == 0 and (numbers := list(re.finditer(r"\b\d+\b", text))):
        found = random.choice(numbers)
        text = text[: found.start()] + random.choice(LITERALS) + text[found.end() :]
    elif kind == 1 and (keys := list(re.finditer(r'"\w+": ', text))):  # a key twice
        found = random.choice(keys)
        text = f"{text[: found.start()]}{found[0]}0, {text[found.start() :]}"
    data = text.encode("utf-16" if kind == 2 else "utf-8", "surrogatepass")
    return change_bytes(random, data) if kind == 3 else data


def _change_value(random: Random, document: Any) -> None:
    inside = document
    while inside:
        key = random.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        if isinstance(inside[key], dict | list) and inside[key] and random.randrange(6):
            inside = inside[key]
            continue
        value, kind = inside[key], random.randrange(6)
        if kind == 0:
            del inside[key]
        elif kind == 1 and isinstance(inside, dict):
            inside[random.choice(MARKUP)] = inside.pop(key)
        elif kind == 2 and isinstance(inside, list):
            inside += [value] * random.choice((1, 40))
        elif kind == 3 and isinstance(value, int | float):
            inside[key] = random.choice((-value, value + 1, value / 2, value * 1.0000001))
        else:
            inside[key] = json.loads(json.dumps(random.choice(VALUES)))
        return


def change_zip(random: Random, files: dict[str, bytes]) -> bytes:
    """Archive the files with one of them, a field of a header, or bytes of the archive changed."""
    entries = [Entry(name.encode(), content, random.choice((0, 8))) for name, content in files.items()]
    entry, value, end = random.choice(entries), random.choice(NUMBERS), dict[str, int]()
    kind = random.randrange(5)
    if kind == 0:
        entry.content = change_bytes(random, entry.content)
    elif kind == 1:
        entry.local[random.choice(list(LOCAL))] = value
    elif kind == 2:
        entry.central[random.choice(list(CENTRAL))] = value
    elif kind == 3:
        end[random.choice(list(END))] = value
    content = packed(entries, end)
    return change_bytes(random, content) if kind == 4 else content
