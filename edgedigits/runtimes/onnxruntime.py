"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edgedigits.runtimes.tensors import AnyArray, TensorSpec


def open_model(model: bytes, model_format: str, threads: int, kernels: str) -> OnnxAdapter:
    """Open an .onnx model.

    Disables the telemetry of version 1.31, which uses the network, the user's cache and threads of its own, unless
    ``ORT_DISABLE_TELEMETRY=0`` is set.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return OnnxAdapter(onnxruntime, model, threads, kernels)


def _spec(tensor: Any) -> TensorSpec:
    dtype = {"tensor(float)": "float32"}.get(tensor.type, tensor.type)
    return TensorSpec(tensor.name, tuple(int(n) for n in tensor.shape[1:]), dtype)


def _invoke(run: Callable[[Any], object], binding: Any, *bound: AnyArray) -> None:
    """Run the binding; the partial object also keeps the bound arrays alive."""
    run(binding)


class OnnxAdapter:
    """An .onnx model in an InferenceSession; the kernel set ``unoptimized`` runs the graph as it was exported."""

    def __init__(self, onnxruntime: Any, model: bytes, threads: int, kernels: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # log errors only
        if kernels == "unoptimized":
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (given,), (got,) = self._session.get_inputs(), self._session.get_outputs()
        self.inputs, self.outputs = _spec(given), _spec(got)
        self._names = [got.name]
        x, y = (np.zeros((1, *spec.shape), spec.dtype) for spec in (self.inputs, self.outputs))
        binding = self._session.io_binding()
        binding.bind_input(given.name, "cpu", 0, x.dtype, x.shape, x.ctypes.data)
        binding.bind_output(got.name, "cpu", 0, y.dtype, y.shape, y.ctypes.data)
        self.buffers = x[0], y[0]
        self.invoke: Callable[[], object] = partial(_invoke, self._session.run_with_iobinding, binding, x, y)

    def run(self, x: AnyArray) -> AnyArray:
        """See :class:`edgedigits.runtimes.table.Adapter`."""
        return self._session.run(self._names, {self.inputs.name: x})[0]  # type: ignore[no-any-return]

    def close(self) -> None:
        """Drop the session; its memory is freed with the last reference."""
        del self._session, self.invoke, self.buffers
