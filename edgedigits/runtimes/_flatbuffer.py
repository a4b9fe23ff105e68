"""Reads a FlatBuffers file by the field names of its schema, the .fbs text beside this module."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

SCALARS = {"byte": "<i1", "ubyte": "<u1", "int": "<i4", "uint": "<u4", "long": "<i8", "float": "<f4", "string": "<u1"}


@cache
def schema() -> tuple[dict[str, dict[str, tuple[int, str]]], dict[str, list[str]]]:
    """Parse tflite.fbs: {table: {field: (slot, type)}}, a union taking two slots, and {enum: names by value}."""
    text = re.sub(r"//.*", "", (files(__package__) / "tflite.fbs").read_text(encoding="ascii"))
    blocks = re.findall(r"(table|enum|union)\s+(\w+)[\s:]*(\w*)\s*\{([^}]*)\}", text)
    alias = {name: base or kind for kind, name, base, _ in blocks if kind != "table"}  # an enum is read as its base
    tables: dict[str, dict[str, tuple[int, str]]] = {}
    for name, body in ((name, body) for kind, name, _, body in blocks if kind == "table"):
        slot, tables[name] = 0, {}
        for field, type_ in re.findall(r"(\w+):\[?(\w+)", body):
            slot += alias.get(type_) == "union"
            tables[name][field], slot = (slot, alias.get(type_, type_)), slot + 1
    return tables, {name: re.findall(r"\w+", body) for kind, name, _, body in blocks if kind == "enum"}


class Table(flatbuffers.table.Table):  # type: ignore[misc]
    """A table of the file; struct.error, TypeError or ValueError is raised for what lies outside the file."""

    def __init__(self, data: bytes, position: int, kind: str) -> None:
        super().__init__(data, position)
        self.fields = schema()[0][kind]

    def find(self, field: str) -> tuple[int, str]:
        """Return where a field stands, 0 when left out, and its type; a vtable is two sizes, then slots, of uint16."""
        slot, type_ = self.fields[field]
        offset = self.Offset(4 + 2 * slot)
        return (self.Pos + offset if offset else 0), type_

    def number(self, field: str) -> Any:
        """Return a number; 0, its default, when left out."""
        at, type_ = self.find(field)
        return np.frombuffer(self.Bytes, SCALARS[type_], 1, at)[0].item() if at else 0

    def array(self, field: str) -> NDArray[Any]:
        """Return a vector of numbers, or of offsets to tables, as a read-only view of the file."""
        at, type_ = self.find(field)
        start = self.Indirect(at)
        count = int(np.frombuffer(self.Bytes, "<u4", 1, start)[0]) if at else 0
        return np.frombuffer(self.Bytes, SCALARS.get(type_, "<u4"), count, start + 4 if at else 0)

    def text(self, field: str) -> str:
        """Return a string, at most 4096 bytes of it."""
        return self.array(field)[:4096].tobytes().decode("utf-8", "replace")

    def table(self, field: str, kind: str) -> Table | None:
        """Return a table of the given kind, None when left out."""
        at, _ = self.find(field)
        return Table(self.Bytes, self.Indirect(at), kind) if at else None

    def tables(self, field: str) -> list[Table]:
        """Return a vector of tables."""
        at, kind = self.find(field)
        start = self.Indirect(at) + 4
        return [Table(self.Bytes, start + 4 * i + int(o), kind) for i, o in enumerate(self.array(field))]
