"""Whether everything in a .tflite lies within the file: its tables, vectors and strings, down to the last one.

The classic tflite-runtime follows the offsets in a file without a look, and dies of one that leads outside. LiteRT and
TensorFlow look for themselves. The format: https://flatbuffers.dev/internals; the tables are those of TensorFlow Lite's
schema.fbs, of which only what refers to something else is written down here, slot by slot. Nothing is imported and
nothing is read twice, so that it costs a packaged model a fraction of a millisecond.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Any

_U16, _U32, _I32 = Struct("<H").unpack_from, Struct("<I").unpack_from, Struct("<i").unpack_from
# What a slot refers to: a number is a vector of elements of so many bytes, a name is a table, a name in a list a vector
# of tables; a pair is a union, whose number is in that slot, and its tables by number.
_TEXT = 1
_INDEX_VECTORS = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}
_OPTIONS = {3: "ConcatEmbeddings", 17: "OneVector", 30: "OneVector", 111: "TwoTexts", 115: "OneVector"}
_TABLES: dict[str, dict[int, Any]] = {
    "Model": {1: ["OperatorCode"], 2: ["SubGraph"], 3: _TEXT, 4: ["Buffer"], 5: 4, 6: ["Metadata"], 7: ["Signature"]},
    "OperatorCode": {1: _TEXT},
    "SubGraph": {0: ["Tensor"], 1: 4, 2: 4, 3: ["Operator"], 4: _TEXT},
    "Tensor": {0: 4, 3: _TEXT, 4: "Quantization", 6: "Sparsity", 7: 4, 9: ["VariantSubType"]},
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8, 5: (4, {1: "Custom"})},
    "Sparsity": {0: 4, 1: 4, 2: ["Dimension"]},
    "Dimension": {3: (2, _INDEX_VECTORS), 5: (4, _INDEX_VECTORS)},
    "Operator": {1: 4, 2: 4, 4: (3, _OPTIONS), 5: 1, 7: 1, 8: 4, 12: (11, {})},
    "Buffer": {0: 1},
    "Metadata": {0: _TEXT},
    "Signature": {0: ["TensorMap"], 1: ["TensorMap"], 2: _TEXT},
    "TensorMap": {0: _TEXT},
    "VariantSubType": {0: 4},
    "Custom": {0: 1},
    "Int32Vector": {0: 4},
    "Uint16Vector": {0: 2},
    "Uint8Vector": {0: 1},
    "ConcatEmbeddings": {1: 4, 2: 4},
    "OneVector": {0: 4},
    "TwoTexts": {0: _TEXT, 1: _TEXT},
    "Other": {},
}


def check(data: bytes) -> None:
    """ValueError for what is no .tflite, or one with a part that lies outside it or where none can be."""
    if data[4:8] != b"TFL3":
        raise ValueError("not a .tflite: the identifier TFL3 is missing")
    seen: set[tuple[int, str]] = set()  # parts may be shared, and a hostile file shares them a million times
    left = [(_U32(data)[0], "Model")]
    try:
        while left:
            part = left.pop()
            if part not in seen:
                seen.add(part)
                left += _parts(data, *part)
        if not any(kind == "SubGraph" for _, kind in seen):
            raise ValueError("it has no graph")
    except (ValueError, IndexError, error) as cause:
        raise ValueError(f"a damaged .tflite: {cause}") from cause


def _parts(data: bytes, at: int, kind: str) -> list[tuple[int, str]]:
    """The tables that a table refers to; or, of ``[kind]``, the elements of a vector of tables."""
    size = len(data)
    if kind[0] == "[":
        start, count = _vector(data, at, 4)
        return [(p + _U32(data, p)[0], kind[1:]) for p in range(start, start + 4 * count, 4)]
    if at % 4 or not 0 <= at <= size - 4:
        raise ValueError(f"a {kind} at {at}")
    table = at - _I32(data, at)[0]
    if table % 2 or not 0 <= table <= size - 4:
        raise ValueError(f"the fields of a {kind} at {table}")
    width, inline = _U16(data, table)[0], _U16(data, table + 2)[0]
    if width < 4 or width % 2 or table + width > size or inline < 4 or at + inline > size:
        raise ValueError(f"a {kind} at {at}, of {inline} bytes and {width} of fields")
    found = []
    for slot in range((width - 4) // 2):
        place = _U16(data, table + 4 + 2 * slot)[0]
        if place and not 4 <= place < inline:
            raise ValueError(f"a field of a {kind} at {place}")
    for slot, target in _TABLES[kind].items():
        place = _field(data, at, table, width, slot)
        if not place:
            continue
        if isinstance(target, tuple):
            number = _field(data, at, table, width, target[0])
            target = target[1].get(data[number] if number else 0, "Other")
        if place % 4:
            raise ValueError(f"a reference of a {kind} at {place}")
        to = place + _U32(data, place)[0]
        if isinstance(target, int):
            _vector(data, to, target)
        else:
            found.append((to, target) if isinstance(target, str) else (to, f"[{target[0]}"))
    return found


def _field(data: bytes, at: int, table: int, width: int, slot: int) -> int:
    """Where a table's field is; 0 where it is left out."""
    entry = 4 + 2 * slot
    place: int = _U16(data, table + entry)[0] if entry < width else 0
    return at + place if place else 0


def _vector(data: bytes, at: int, element: int) -> tuple[int, int]:
    """Where a vector's elements begin and how many there are; ValueError where they do not lie in the file."""
    if at % 4 or at > len(data) - 4:
        raise ValueError(f"a vector at {at}")
    count: int = _U32(data, at)[0]
    if at + 4 + element * count > len(data) or (count and (at + 4) % element):
        raise ValueError(f"a vector at {at}, of {count} times {element} bytes")
    return at + 4, count
