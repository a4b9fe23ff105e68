"""Read a .tflite file: all its operators, or the chain of operators of a dense network."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any, NamedTuple

from edgedigits.runtimes.oracle.flatbuffer import Table, schema
from edgedigits.runtimes.tensors import AnyArray

DTYPES = {"FLOAT32": "<f4", "INT32": "<i4", "INT8": "<i1"}


class Tensor(NamedTuple):
    """A tensor, batch axis first; ``values`` is empty unless constant; no, one or per-channel scales, zero points."""

    number: int
    name: str
    type: str
    shape: tuple[int, ...]
    values: AnyArray
    scale: AnyArray
    zero_point: AnyArray
    axis: int


class Operator(NamedTuple):
    """An operator: input tensors (None for an omitted one), the first output, options by their names in the schema."""

    name: str
    inputs: list[Tensor | None]
    output: Tensor
    options: dict[str, Any]


def _tensor(number: int, table: Table, buffers: list[Table]) -> Tensor:
    # The slices keep the time linear for a hostile file whose tables share one long vector.
    type_, shape = schema()[1]["TensorType"][table["type"]], tuple(table["shape"][:9].tolist())
    data, q = buffers[table["buffer"]]["data"], table["quantization"]
    values = data.view(DTYPES[type_]).reshape(shape) if data.size and type_ in DTYPES else data[:0]
    scale, zero, axis = (q["scale"], q["zero_point"], q["quantized_dimension"]) if q else (data[:0], data[:0], 0)
    return Tensor(number, table["name"], type_, shape, values, scale, zero, axis)


def _operator(table: Table, codes: list[Table], tensors: list[Tensor]) -> Operator:
    code, options, names = codes[table["opcode_index"]], table["builtin_options"], schema()[1]["BuiltinOperator"]
    name = names[max(code["deprecated_builtin_code"], code["builtin_code"])]  # schema_utils.cc
    inputs = [tensors[i] if i >= 0 else None for i in table["inputs"][:64]]
    values = {field: options[field] for field in options.fields} if options else {}
    return Operator(f"{name} {code['custom_code']}".strip(), inputs, tensors[table["outputs"][0]], values)


def read_graph(data: bytes) -> tuple[list[Tensor], list[Tensor], list[Operator]]:
    """The inputs, the outputs, and the operators in execution order; ValueError for a damaged file."""
    if data[4:8] != b"TFL3":
        raise ValueError("not a .tflite: the identifier TFL3 is missing; export the model again")
    try:
        model = Table(data, struct.unpack_from("<I", data)[0], "Model")
        graph, buffers, codes = model["subgraphs"][0], model["buffers"], model["operator_codes"]
        tensors = [_tensor(i, table, buffers) for i, table in enumerate(graph["tensors"])]
        inputs, outputs = ([tensors[i] for i in graph[field]] for field in ("inputs", "outputs"))
        return inputs, outputs, [_operator(table, codes, tensors) for table in graph["operators"]]
    except (IndexError, KeyError, struct.error, TypeError, ValueError) as error:
        raise ValueError("a damaged .tflite: a part of it lies outside the file; export the model again") from error


def read_chain(data: bytes, supported: Collection[str]) -> tuple[Tensor, list[Operator]]:
    """The input and the operators on the path from it to the output.

    Raises ValueError if the file is damaged, has several inputs or outputs, or needs an operator not in ``supported``.
    """
    inputs, outputs, operators = read_graph(data)
    last, chain = outputs[0] if len(inputs) == len(outputs) == 1 else None, list[Operator]()
    for op in (op for op in reversed(operators) if op.output is last):
        if op.name not in supported:
            raise ValueError(f"{op.name} is not supported; the numpy runtime runs {', '.join(supported)}: try litert")
        chain.append(op)
        last = (*op.inputs, None)[0]
    if last is None or last is not inputs[0]:
        raise ValueError("the .tflite has no path from its one input to its one output; try litert")
    return inputs[0], chain[::-1]
