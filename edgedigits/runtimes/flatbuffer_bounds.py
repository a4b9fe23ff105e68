"""Check that every table, vector and string of a .tflite file lies within the file.

The classic tflite-runtime follows the offsets in a file unchecked and crashes on one that leads outside; LiteRT and
TensorFlow check them. The format is described at https://flatbuffers.dev/internals; the tables are those of TensorFlow
Lite's schema.fbs, reduced to the fields that refer to something else. Every part is visited once and nothing is
imported, so a packaged model takes a fraction of a millisecond.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Any

_U16, _U32, _I32 = Struct("<H").unpack_from, Struct("<I").unpack_from, Struct("<i").unpack_from
# What each slot of a table refers to: a vector of elements of that many bytes (a number), a table (its name), a vector
# of tables ([name]), or a union (the slot with its type, and its tables by type).
_STRING = 1
_INDEX_VECTORS = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}
_OPTIONS = {3: "ConcatEmbeddings", 17: "OneVector", 30: "OneVector", 111: "TwoStrings", 115: "OneVector"}
_TABLES: dict[str, dict[int, Any]] = {
    "Model": {1: ["OperatorCode"], 2: ["SubGraph"], 3: _STRING, 4: ["Buffer"], 5: 4, 6: ["Metadata"], 7: ["Signature"]},
    "OperatorCode": {1: _STRING},
    "SubGraph": {0: ["Tensor"], 1: 4, 2: 4, 3: ["Operator"], 4: _STRING},
    "Tensor": {0: 4, 3: _STRING, 4: "Quantization", 6: "Sparsity", 7: 4, 9: ["VariantSubType"]},
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8, 5: (4, {1: "Custom"})},
    "Sparsity": {0: 4, 1: 4, 2: ["Dimension"]},
    "Dimension": {3: (2, _INDEX_VECTORS), 5: (4, _INDEX_VECTORS)},
    "Operator": {1: 4, 2: 4, 4: (3, _OPTIONS), 5: 1, 7: 1, 8: 4, 12: (11, {})},
    "Buffer": {0: 1},
    "Metadata": {0: _STRING},
    "Signature": {0: ["TensorMap"], 1: ["TensorMap"], 2: _STRING},
    "TensorMap": {0: _STRING},
    "VariantSubType": {0: 4},
    "Custom": {0: 1},
    "Int32Vector": {0: 4},
    "Uint16Vector": {0: 2},
    "Uint8Vector": {0: 1},
    "ConcatEmbeddings": {1: 4, 2: 4},
    "OneVector": {0: 4},
    "TwoStrings": {0: _STRING, 1: _STRING},
    "Other": {},
}


def check_bounds(data: bytes) -> None:
    """Raise ValueError if the data is not a .tflite file or a part of it lies outside."""
    if data[4:8] != b"TFL3":
        raise ValueError("not a .tflite: the identifier TFL3 is missing")
    seen: set[tuple[int, str]] = set()  # parts may be shared; a hostile file may share one a million times
    pending = [(_U32(data)[0], "Model")]
    try:
        while pending:
            part = pending.pop()
            if part not in seen:
                seen.add(part)
                pending += _references(data, *part)
        if not any(kind == "SubGraph" for _, kind in seen):
            raise ValueError("it has no graph")
    except (ValueError, IndexError, error) as cause:
        raise ValueError(f"a damaged .tflite: {cause}") from cause


def _references(data: bytes, at: int, kind: str) -> list[tuple[int, str]]:
    """The tables, as (position, kind), that a table or ("[kind]") a vector of tables refers to."""
    if kind[0] == "[":
        start, count = _vector(data, at, 4)
        return [(p + _U32(data, p)[0], kind[1:-1]) for p in range(start, start + 4 * count, 4)]
    vtable = at - _I32(data, at)[0] if at % 4 == 0 else -1
    if vtable % 2 or vtable < 0:
        raise ValueError(f"a {kind} at {at} with its vtable at {vtable}")
    width, size = _U16(data, vtable)[0], _U16(data, vtable + 2)[0]
    if width < 4 or width % 2 or vtable + width > len(data) or size < 4 or at + size > len(data):
        raise ValueError(f"a {kind} at {at} of {size} bytes and a vtable of {width}")
    fields = [_U16(data, position)[0] for position in range(vtable + 4, vtable + width, 2)]
    if any(field and not 4 <= field < size for field in fields):
        raise ValueError(f"a {kind} at {at} with a field outside it")
    found = []
    for slot, target in _TABLES[kind].items():
        if slot >= len(fields) or not fields[slot]:
            continue
        if isinstance(target, tuple):
            type_slot, tables = target
            has_type = type_slot < len(fields) and fields[type_slot]
            target = tables.get(data[at + fields[type_slot]] if has_type else 0, "Other")
        position = at + fields[slot]
        if position % 4:
            raise ValueError(f"an offset of a {kind} at {position}")
        to = position + _U32(data, position)[0]
        if isinstance(target, int):
            _vector(data, to, target)
        else:
            found.append((to, target if isinstance(target, str) else f"[{target[0]}]"))
    return found


def _vector(data: bytes, at: int, element: int) -> tuple[int, int]:
    """The position of a vector's first element and their number; ValueError if they are not all in the file."""
    count: int = _U32(data, at)[0]
    if at % 4 or at + 4 + element * count > len(data) or (count and (at + 4) % element):
        raise ValueError(f"a vector at {at} of {count} times {element} bytes")
    return at + 4, count
