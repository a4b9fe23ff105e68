"""Write well-formed .tflite files that crash, hang or exhaust the process that runs them.

A program of its own, since importing LiteRT's schema keeps other TFLite runtimes out of the process. Each model takes
(n, 400) float32 and returns (n, 10), as the packaged bundle's manifest says.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s

ROWS = 10_000_000  # of 400 float32: 16 GB, which a process can reserve and the test's limit ends long before


class Writer:
    """Builds a model."""

    def __init__(self) -> None:
        self.model = s.ModelT()
        self.model.version = 3
        self.model.operatorCodes, self.model.subgraphs, self.model.buffers = [], [], [s.BufferT()]

    def graph(self) -> tuple[Any, int]:
        """A new subgraph and its input, (1, 400)."""
        graph = s.SubGraphT()
        graph.tensors, graph.operators, graph.outputs = [], [], []
        self.model.subgraphs.append(graph)
        graph.inputs = [self.tensor(graph, [1, 400])]
        return graph, graph.inputs[0]

    def tensor(self, graph: Any, shape: list[int], type_: int = s.TensorType.FLOAT32, values: Any = None) -> int:
        tensor = s.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = f"t{len(graph.tensors)}", shape, type_, 0
        if values is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.asarray(values).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def whole_numbers(self, graph: Any, *values: int) -> int:
        return self.tensor(graph, [len(values)], s.TensorType.INT32, np.array(values, np.int32))

    def add(self, graph: Any, name: str, options: str, inputs: list[int], output: int, **facts: int) -> int:
        """Add an operator by its names in the schema; returns its output."""
        code, operator, details = s.OperatorCodeT(), s.OperatorT(), getattr(s, f"{options}T")()
        code.builtinCode = getattr(s.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        for fact, value in facts.items():
            setattr(details, fact, value)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes), inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = getattr(s.BuiltinOptions, options), details
        self.model.operatorCodes.append(code)
        graph.operators.append(operator)
        return output

    def finish(self, graph: Any, x: int) -> None:
        """Make the first ten values of the first row the output."""
        ends = self.whole_numbers(graph, 0, 0), self.whole_numbers(graph, 1, 10)
        graph.outputs = [self.add(graph, "SLICE", "SliceOptions", [x, *ends], self.tensor(graph, [1, 10]))]

    def to_bytes(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def endless() -> bytes:
    """WHILE any x == x."""
    w = Writer()
    graph, x = w.graph()
    y = w.add(graph, "WHILE", "WhileOptions", [x], w.tensor(graph, [1, 400]), condSubgraphIndex=1, bodySubgraphIndex=2)
    w.finish(graph, y)
    condition, x = w.graph()
    same = w.add(condition, "EQUAL", "EqualOptions", [x, x], w.tensor(condition, [1, 400], s.TensorType.BOOL))
    both = w.whole_numbers(condition, 0, 1)
    any_ = w.tensor(condition, [], s.TensorType.BOOL)
    condition.outputs = [w.add(condition, "REDUCE_ANY", "ReducerOptions", [same, both], any_)]
    body, x = w.graph()
    body.outputs = [w.add(body, "ABS", "AbsOptions", [x], w.tensor(body, [1, 400]))]
    return w.to_bytes()


def recursive() -> bytes:
    """IF whose branches are its own subgraph: the interpreter recurses until its stack overflows."""
    w = Writer()
    for _ in range(2):
        graph, x = w.graph()
        true = w.tensor(graph, [], s.TensorType.BOOL, True)
        y = w.tensor(graph, [1, 400])
        w.add(graph, "IF", "IfOptions", [true, x], y, thenSubgraphIndex=1, elseSubgraphIndex=1)
        graph.outputs = [y]
    w.finish(w.model.subgraphs[0], y)
    return w.to_bytes()


def large(rows: int = ROWS) -> bytes:
    """TILE to 16 GB, in a file of 640 bytes."""
    w = Writer()
    graph, x = w.graph()
    times = w.whole_numbers(graph, rows, 1)
    w.finish(graph, w.add(graph, "TILE", "TileOptions", [x, times], w.tensor(graph, [rows, 400])))
    return w.to_bytes()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for make in (endless, recursive, large):
        (folder / f"{make.__name__}.tflite").write_bytes(make())
