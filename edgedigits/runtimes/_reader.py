"""Reads a .tflite as a chain of operators, each fed by the one before: all that a dense network needs."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgedigits.runtimes._flatbuffer import Table, schema

DTYPES = {"FLOAT32": "<f4", "INT32": "<i4", "INT8": "<i1"}
OPTIONS = {"FULLY_CONNECTED": "FullyConnectedOptions", "SOFTMAX": "SoftmaxOptions"}


class Tensor(NamedTuple):
    """A tensor, batch axis first; values are empty unless constant; a scale and zero point, one a channel, or none."""

    name: str
    type: str
    shape: tuple[int, ...]
    values: NDArray[Any]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int


class Operator(NamedTuple):
    """An operator, its input tensors (None where left out), its output, and its options by their schema names."""

    name: str
    inputs: list[Tensor | None]
    output: Tensor
    options: dict[str, Any]


def _tensor(table: Table, buffers: list[Table]) -> Tensor:
    # Slices keep a hostile file, whose tables may share one long vector, from taking more than linear time.
    type_, shape = schema()[1]["TensorType"][table.number("type")], tuple(table.array("shape")[:9].tolist())
    values = buffers[table.number("buffer")].array("data")
    values = values.view(DTYPES[type_]).reshape(shape) if values.size and type_ in DTYPES else values[:0]
    q = table.table("quantization", "QuantizationParameters")
    scale, zero = (q.array("scale"), q.array("zero_point")) if q else (np.empty(0, "<f4"), np.empty(0, "<i8"))
    return Tensor(table.text("name"), type_, shape, values, scale, zero, q.number("quantized_dimension") if q else 0)


def _operator(table: Table, codes: list[Table], tensors: list[Tensor]) -> Operator:
    code, names = codes[table.number("opcode_index")], schema()[1]["BuiltinOperator"]
    number = max(code.number("deprecated_builtin_code"), code.number("builtin_code"))  # schema_utils.cc
    name = f"CUSTOM {code.text('custom_code')}" if names[number] == "CUSTOM" else names[number]
    options = table.table("builtin_options", OPTIONS[name]) if name in OPTIONS else None
    inputs = [tensors[i] if i >= 0 else None for i in table.array("inputs")[:9]]
    values = {field: options.number(field) for field in options.fields} if options else {}
    return Operator(name, inputs, tensors[table.array("outputs")[0]], values)


def read_chain(data: bytes, supported: Collection[str]) -> tuple[Tensor, list[Operator]]:
    """Return the input and the operators from it to the output; those beside that path are left out.

    Raises ValueError when the bytes are no whole .tflite of one input and one output, or need another operator.
    """
    if data[4:8] != b"TFL3":
        raise ValueError("not a .tflite: the identifier TFL3 is missing; export the model again")
    try:
        model = Table(data, struct.unpack_from("<I", data)[0], "Model")
        graph, buffers, codes = model.tables("subgraphs")[0], model.tables("buffers"), model.tables("operator_codes")
        tensors = [_tensor(table, buffers) for table in graph.tables("tensors")]
        makers = {id(op.output): op for op in (_operator(t, codes, tensors) for t in graph.tables("operators"))}
        (first,), (last,) = ([tensors[i] for i in graph.array(field)] for field in ("inputs", "outputs"))
        chain: list[Operator] = []
        while last is not first and (op := makers.pop(id(last))).name in supported:  # pop: a cycle ends, too
            chain.append(op)
            last = op.inputs[0]
    except (IndexError, KeyError, struct.error, TypeError, ValueError) as error:
        raise ValueError("a damaged .tflite, or one without a path from one input to one output") from error
    if last is not first:
        raise ValueError(f"{op.name} is not supported; the numpy runtime runs {', '.join(supported)}: try litert")
    return first, chain[::-1]
