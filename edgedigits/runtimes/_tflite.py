"""What the three packages that carry the TFLite interpreter have in common: all but where it is imported from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgedigits.tensors import AnyArray, TensorSpec


def _spec(detail: dict[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"]).name
    scale, zero_point = detail["quantization"] if dtype == "int8" else (None, None)
    shape = tuple(int(n) for n in detail["shape"][1:])
    return TensorSpec(detail["name"], shape, dtype, scale, zero_point)


class TFLiteAdapter:
    """A .tflite file in a TFLite interpreter.

    The input is resized for a batch and back, so one image after the other costs no resizing. Signature runners are
    several times slower than the three plain calls, so they are not used.

    Args:
        interpreter, resolvers: the package's ``Interpreter`` and ``OpResolverType``.
    """

    def __init__(self, interpreter: Any, resolvers: Any, model: bytes, threads: int, kernels: str) -> None:
        resolver = {
            "default": resolvers.AUTO,
            "no-delegates": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "reference": resolvers.BUILTIN_REF,
        }[kernels]
        self._interpreter = interpreter(
            model_content=model, num_threads=threads, experimental_op_resolver_type=resolver
        )
        (given,), (got,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._input, self._output = given["index"], got["index"]
        self.inputs, self.outputs = _spec(given), _spec(got)
        self._resize(1)
        self.invoke = self._interpreter.invoke
        self.single = self._bind()

    def _resize(self, batch: int) -> None:
        self._interpreter.resize_tensor_input(self._input, (batch, *self.inputs.shape))
        self._interpreter.allocate_tensors()

    def _bind(self) -> Callable[[AnyArray], AnyArray]:
        """The three calls with everything looked up beforehand: at this scale a look-up costs as much as a layer."""
        set_tensor, invoke, get_tensor = self._interpreter.set_tensor, self.invoke, self._interpreter.get_tensor
        given, got = self._input, self._output

        def single(x: AnyArray) -> AnyArray:
            set_tensor(given, x)
            invoke()
            return get_tensor(got)  # type: ignore[no-any-return]

        return single

    def run(self, x: AnyArray) -> AnyArray:
        """See :class:`edgedigits.runtimes.Adapter`; the interpreter is left ready for ``single``."""
        if len(x) == 1:
            return self.single(x)
        self._resize(len(x))
        try:
            return self.single(x)
        finally:
            self._resize(1)

    def close(self) -> None:
        """Drop the interpreter; its memory goes with the last reference."""
        del self._interpreter, self.single, self.invoke
