"""What the three packages that carry the TFLite interpreter have in common: all but where it is imported from."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgedigits.runtimes.tensors import AnyArray, TensorSpec


def _spec(detail: dict[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"]).name
    scale, zero_point = detail["quantization"] if dtype == "int8" else (None, None)
    shape = tuple(int(n) for n in detail["shape"][1:])
    return TensorSpec(detail["name"], shape, dtype, scale, zero_point)


def _memory(tensor: Callable[[], AnyArray]) -> AnyArray:
    """A tensor's own memory as an array, without the batch axis.

    ``invoke`` refuses to run while an array of the interpreter's is alive, so only the address is kept.
    """
    seen = tensor()
    memory = memoryview((ctypes.c_byte * seen.nbytes).from_address(seen.ctypes.data))
    place: AnyArray = np.frombuffer(memory, seen.dtype).reshape(seen.shape[1:])
    return place


def _with_outputs(model: bytes, tensors: Sequence[int]) -> bytes:
    """The same .tflite with other outputs, by their numbers: a vector more at its end, and the offset that leads there.

    FlatBuffers' offsets count from where they stand; a vector is its length and its values, aligned to four bytes.
    """
    from edgedigits.runtimes.oracle.flatbuffer import Table

    graph = Table(model, int.from_bytes(model[:4], "little"), "Model")["subgraphs"][0]
    slot, *_ = graph.fields["outputs"]
    at = graph.Pos + graph.Offset(4 + 2 * slot)
    changed = bytearray(model + bytes(-len(model) % 4))
    changed[at : at + 4] = (len(changed) - at).to_bytes(4, "little")
    return bytes(changed) + np.array([len(tensors), *tensors], "<u4").tobytes()


class TFLiteAdapter:
    """A .tflite file in a TFLite interpreter; a second one, opened when it is first needed, runs the batches.

    The first is never resized once its memory is planned, so its tensors stay where they are: one image is written
    and read in place, in half the time of ``set_tensor`` and ``get_tensor``. (Signature runners take several times as
    long as those.)

    Args:
        interpreter, resolvers: the package's ``Interpreter`` and ``OpResolverType``.
    """

    def __init__(self, interpreter: Any, resolvers: Any, model: bytes, threads: int, kernels: str) -> None:
        resolver = {
            "default": resolvers.AUTO,
            "no-delegates": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "reference": resolvers.BUILTIN_REF,
        }[kernels]
        self._open = partial(
            interpreter, model_content=model, num_threads=threads, experimental_op_resolver_type=resolver
        )
        self._one: Any = self._open()
        self._many: Any = None
        self._batch = 0
        (given,), (got,) = self._one.get_input_details(), self._one.get_output_details()
        self._input, self._output = given["index"], got["index"]
        self.inputs, self.outputs = _spec(given), _spec(got)
        self._resize(self._one, 1)
        self.place, self.invoke = self._in_place() or self._copying()

    def _in_place(self) -> tuple[tuple[AnyArray, AnyArray], Callable[[], object]] | None:
        """The tensors' own memory; None for a model that plans its memory anew as it runs."""
        tensors = self._one.tensor(self._input), self._one.tensor(self._output)
        try:
            before = [_memory(tensor).ctypes.data for tensor in tensors]
        except ValueError:  # no memory before the first run: its shape is known only then
            return None
        self._one.invoke()
        given, got = (_memory(tensor) for tensor in tensors)
        return ((given, got), self._one.invoke) if [given.ctypes.data, got.ctypes.data] == before else None

    def _copying(self) -> tuple[tuple[AnyArray, AnyArray], Callable[[], object]]:
        """Memory beside the interpreter's, copied there and back."""
        interpreter, given, got = self._one, self._input, self._output
        x, y = (np.zeros((1, *spec.shape), spec.dtype) for spec in (self.inputs, self.outputs))

        def invoke() -> None:
            interpreter.set_tensor(given, x)
            interpreter.invoke()
            y[...] = interpreter.get_tensor(got)

        return (x[0], y[0]), invoke

    def _resize(self, interpreter: Any, batch: int) -> None:
        interpreter.resize_tensor_input(self._input, (batch, *self.inputs.shape))
        interpreter.allocate_tensors()

    def run(self, x: AnyArray) -> AnyArray:
        """See :class:`edgedigits.runtimes.table.Adapter`."""
        if self._many is None:
            self._many = self._open()
        if self._batch != len(x):
            self._batch = 0  # unknown, should the resizing fail
            self._resize(self._many, len(x))
            self._batch = len(x)
        self._many.set_tensor(self._input, x)
        self._many.invoke()
        return self._many.get_tensor(self._output)  # type: ignore[no-any-return]

    def trace(self, x: AnyArray, tensors: Collection[int]) -> dict[int, AnyArray]:
        """The values of these tensors, by their numbers in the file, as stored, for (n, *shape) inputs.

        They are made outputs of the model: ``experimental_preserve_all_tensors`` lets tflite-runtime 2.14 write an
        ADD's result over what it was given.
        """
        interpreter = self._open(model_content=_with_outputs(self._open.keywords["model_content"], sorted(tensors)))
        try:
            self._resize(interpreter, len(x))
        except (RuntimeError, ValueError):  # made for one image at a time
            if len(x) == 1:
                raise
            rows = [self.trace(row[None], tensors) for row in x]
            return {index: np.concatenate([row[index] for row in rows]) for index in tensors}
        interpreter.set_tensor(self._input, x)
        interpreter.invoke()
        return {index: interpreter.get_tensor(index) for index in tensors}

    def close(self) -> None:
        """Drop the interpreters; their memory goes with the last reference."""
        del self._one, self._many, self._open, self.invoke, self.place
