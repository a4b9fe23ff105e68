"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

from edgedigits.tensors import AnyArray, TensorSpec


def open_model(model: bytes, model_format: str, threads: int, kernels: str) -> OnnxAdapter:
    """Open an .onnx file's bytes."""
    import onnxruntime

    return OnnxAdapter(onnxruntime, model, threads, kernels)


def _spec(tensor: Any) -> TensorSpec:
    dtype = {"tensor(float)": "float32"}.get(tensor.type, tensor.type)
    return TensorSpec(tensor.name, tuple(int(n) for n in tensor.shape[1:]), dtype)


class OnnxAdapter:
    """An .onnx file in an InferenceSession; kernel set ``unoptimized`` runs the graph as it was exported."""

    def __init__(self, onnxruntime: Any, model: bytes, threads: int, kernels: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only; it logs to the terminal
        if kernels == "unoptimized":
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (given,), (got,) = self._session.get_inputs(), self._session.get_outputs()
        self.inputs, self.outputs = _spec(given), _spec(got)
        self._names = [got.name]
        self._binding: Any = None
        self._last: AnyArray | None = None
        self.single = self.run

    def run(self, x: AnyArray) -> AnyArray:
        """See :class:`edgedigits.runtimes.Adapter`."""
        self._last, self._binding = x, None
        return self._session.run(self._names, {self.inputs.name: x})[0]  # type: ignore[no-any-return]

    def invoke(self) -> None:
        """Run with input and output bound in place, so that nothing is copied."""
        if self._binding is None:
            self._binding = self._session.io_binding()
            self._binding.bind_cpu_input(self.inputs.name, self._last)
            self._binding.bind_output(self.outputs.name)
        self._session.run_with_iobinding(self._binding)

    def close(self) -> None:
        """Drop the session; its memory goes with the last reference."""
        del self._session, self._binding, self.single
