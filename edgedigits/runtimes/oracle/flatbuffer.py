"""Read a FlatBuffers file by the field names of the schema in tflite.fbs."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

import flatbuffers
import numpy as np

Field = tuple[int, str, bool, int]  # slot, type, whether it is a vector, default
SCALARS = {"byte": "<i1", "ubyte": "<u1", "bool": "?", "int": "<i4", "uint": "<u4", "long": "<i8", "float": "<f4"}


@cache
def schema() -> tuple[dict[str, dict[str, Field]], dict[str, list[str]]]:
    """Parse tflite.fbs: {table: fields by name}, and {enum or union: names in order}; a union's numbers begin at 1."""
    text = re.sub(r"//.*", "", (files(__package__) / "tflite.fbs").read_text(encoding="ascii"))
    found = re.findall(r"(table|enum|union)\s+(\w+)[\s:]*(\w*)\s*\{([^}]*)\}", text)
    kinds = {name: (kind, base or name) for kind, name, base, _ in found}  # an enum is read as its base
    tables: dict[str, dict[str, Field]] = {name: {} for kind, name, _, _ in found if kind == "table"}
    for _, name, _, body in found:
        slot = 0
        for field, vector, type_, default in re.findall(r"(\w+):(\[?)(\w+)\]?(?: = (\d+))?", body):
            kind, base = kinds.get(type_, ("", type_))
            slot += kind == "union"  # a union has two: the number of its table, then the table
            tables[name][field], slot = (slot, base, vector == "[", int(default or 0)), slot + 1
    return tables, {name: re.findall(r"\w+", body) for kind, name, _, body in found if kind != "table"}


class Table(flatbuffers.table.Table):  # type: ignore[misc]
    """A table in the file; access outside the file raises struct.error, or an IndexError or ValueError."""

    def __init__(self, data: bytes, position: int, kind: str) -> None:
        super().__init__(data, position)
        self.fields = schema()[0][kind]

    def __getitem__(self, name: str) -> Any:
        """A number, a string, a Table, a vector of numbers (a read-only view of the file), or a list of Tables.

        An absent field is its default, empty, or None; a union's table that the schema lacks is None too.
        """
        (slot, kind, vector, default), (tables, names) = self.fields[name], schema()
        offset = self.Offset(4 + 2 * slot)  # a vtable is two sizes, then slots, of uint16
        if kind in SCALARS and not vector:
            return np.frombuffer(self.Bytes, SCALARS[kind], 1, self.Pos + offset)[0].item() if offset else default
        if kind in names and offset:
            kind = names[kind][self.Bytes[self.Pos + self.Offset(2 + 2 * slot)] - 1]
        if not vector and kind != "string":
            return Table(self.Bytes, self.Indirect(self.Pos + offset), kind) if offset and kind in tables else None
        start, count = (self.Vector(offset), self.VectorLen(offset)) if offset else (0, 0)
        if kind in tables:
            return [Table(self.Bytes, self.Indirect(start + 4 * i), kind) for i in range(count)]
        values = np.frombuffer(self.Bytes, SCALARS.get(kind, "<u1"), count, start)
        return values if vector else values[:4096].tobytes().decode("utf-8", "replace")
