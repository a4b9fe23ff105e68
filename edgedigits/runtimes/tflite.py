"""The adapter of the three packages with a TFLite interpreter, which differ only in where it is imported from."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgedigits.runtimes.tensors import AnyArray, TensorSpec, copying_invoke


def _spec(detail: dict[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"]).name
    scale, zero_point = detail["quantization"] if dtype == "int8" else (None, None)
    return TensorSpec(detail["name"], tuple(int(n) for n in detail["shape"][1:]), dtype, scale, zero_point)


def _tensor_memory(tensor: Callable[[], AnyArray]) -> AnyArray:
    """A view of a tensor's memory, without the batch axis.

    ``invoke`` refuses to run while an array from the interpreter is alive, so this one refers to the address only.
    """
    array = tensor()
    memory = memoryview((ctypes.c_byte * array.nbytes).from_address(array.ctypes.data))
    view: AnyArray = np.frombuffer(memory, array.dtype).reshape(array.shape[1:])
    return view


def _with_outputs(model: bytes, tensors: Sequence[int]) -> bytes:
    """The same .tflite with other outputs, given by tensor number.

    Appends a FlatBuffers vector (its length, then its values, aligned to four bytes) and changes the offset of the
    outputs, which counts from its own position.
    """
    from edgedigits.runtimes.oracle.flatbuffer import Table

    graph = Table(model, int.from_bytes(model[:4], "little"), "Model")["subgraphs"][0]
    slot, *_ = graph.fields["outputs"]
    position = graph.Pos + graph.Offset(4 + 2 * slot)
    changed = bytearray(model + bytes(-len(model) % 4))
    changed[position : position + 4] = (len(changed) - position).to_bytes(4, "little")
    return bytes(changed) + np.array([len(tensors), *tensors], "<u4").tobytes()


class TFLiteAdapter:
    """A .tflite file in a TFLite interpreter; a second interpreter, opened on first use, runs batches.

    The first one is never resized, so its tensors keep their addresses: one image is written and read in place, in half
    the time of ``set_tensor`` and ``get_tensor``. (Signature runners take several times as long as those.)
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
        self._single: Any = self._open()
        self._batched: Any = None
        self._batch = 0
        (given,), (got,) = self._single.get_input_details(), self._single.get_output_details()
        self._input, self._output = given["index"], got["index"]
        self.inputs, self.outputs = _spec(given), _spec(got)
        self._resize(self._single, 1)
        self.buffers, self.invoke = self._in_place() or copying_invoke(self.run, self.inputs, self.outputs)

    def _in_place(self) -> tuple[tuple[AnyArray, AnyArray], Callable[[], object]] | None:
        """The tensors' own memory as buffers; None for a model that moves its tensors when it runs.

        The interpreter must not be used through its public methods afterwards: they refuse while ``Invoke`` is held.
        """
        tensors = self._single.tensor(self._input), self._single.tensor(self._output)
        try:
            before = [_tensor_memory(tensor).ctypes.data for tensor in tensors]
        except ValueError:  # a tensor has no memory before the first run
            return None
        self._single.invoke()
        image, logits = (_tensor_memory(tensor) for tensor in tensors)
        if [image.ctypes.data, logits.ctypes.data] != before:
            return None
        invoke = self._single.invoke
        code = getattr(invoke, "__code__", None)  # a method has its function's
        if code is not None and code.co_names == ("_ensure_safe", "_interpreter", "Invoke"):
            # Without _ensure_safe, which looks for living arrays; there are none, and it takes a tenth of a call.
            invoke = self._single._interpreter.Invoke
        return (image, logits), invoke

    def _resize(self, interpreter: Any, batch: int) -> None:
        interpreter.resize_tensor_input(self._input, (batch, *self.inputs.shape))
        interpreter.allocate_tensors()

    def run(self, x: AnyArray) -> AnyArray:
        """See :class:`edgedigits.runtimes.table.Adapter`."""
        if self._batched is None:
            self._batched = self._open()
        if self._batch != len(x):
            self._batch = 0  # unknown if resizing fails
            self._resize(self._batched, len(x))
            self._batch = len(x)
        self._batched.set_tensor(self._input, x)
        self._batched.invoke()
        return self._batched.get_tensor(self._output)  # type: ignore[no-any-return]

    def trace(self, x: AnyArray, tensors: Collection[int]) -> dict[int, AnyArray]:
        """The stored values of tensors, by their numbers in the file, for a batch (n, *shape).

        Makes them outputs of the model, because with ``experimental_preserve_all_tensors`` tflite-runtime 2.14 can
        overwrite an ADD's input with its result.
        """
        interpreter = self._open(model_content=_with_outputs(self._open.keywords["model_content"], sorted(tensors)))
        try:
            self._resize(interpreter, len(x))
        except (RuntimeError, ValueError):  # the model has a fixed batch size of 1
            if len(x) == 1:
                raise
            rows = [self.trace(row[None], tensors) for row in x]
            return {index: np.concatenate([row[index] for row in rows]) for index in tensors}
        interpreter.set_tensor(self._input, x)
        interpreter.invoke()
        return {index: interpreter.get_tensor(index) for index in tensors}

    def close(self) -> None:
        """Drop the interpreters; their memory is freed with the last reference."""
        del self._single, self._batched, self._open, self.invoke, self.buffers
