"""One artifact opened in one runtime: the one place where what goes in and comes out is checked."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from math import isfinite
from types import TracebackType
from typing import NoReturn

import numpy as np

from edgedigits.errors import ClosedError, EdgeDigitsError, InputError, ModelError, RuntimeUnavailableError
from edgedigits.runtimes import RUNTIMES, Adapter, runtime_info
from edgedigits.tensors import AnyArray, FloatArray, TensorSpec

_FLOAT32 = np.dtype(np.float32)
# These carry TFLite's C++ under the same symbols; the second to load dies with "vector::reserve" or worse.
_EXCLUSIVE = ("tensorflow", "ai_edge_litert", "tflite_runtime")


class Session:
    """An opened model: float32 in, float32 out, whatever the artifact's own dtypes are.

    Use as a context manager, or call :meth:`close`. Calls from several threads are safe: one at a time runs.

    Args:
        model: the file's bytes.
        model_format: ``"tflite"``, ``"onnx"`` or ``"keras"``.
        runtime: a name from :data:`edgedigits.runtimes.RUNTIMES`.
        threads: how many the runtime may use for one call.
        kernels: one of the runtime's kernel sets.

    Raises:
        RuntimeUnavailableError: the runtime is not installed, cannot be used here, or has no such kernel set.
        ModelError: the runtime refused the file.
    """

    def __init__(
        self, model: bytes, model_format: str, runtime: str, *, threads: int = 1, kernels: str = "default"
    ) -> None:
        info = runtime_info(runtime)
        if model_format not in info.formats:
            opens = ", ".join(n for n, i in RUNTIMES.items() if model_format in i.formats) or "none"
            raise RuntimeUnavailableError(f"{runtime} does not open .{model_format} files; these runtimes do: {opens}")
        if kernels not in info.kernels:
            raise RuntimeUnavailableError(
                f"{runtime} has no kernel set {kernels!r}; choose one of {', '.join(info.kernels)}"
            )
        if threads < 1:
            raise InputError(f"threads is {threads}; expected 1 or more")
        info.require()
        self.runtime, self.kernels, self.threads = runtime, kernels, threads
        self._adapter: Adapter | None = _open(model, model_format, runtime, threads, kernels)
        self.input: TensorSpec = self._adapter.inputs
        self.output: TensorSpec = self._adapter.outputs
        self._shape = self.input.shape
        self._float = self.input.dtype == self.output.dtype == "float32"
        self._lock = threading.Lock()
        self._run: Callable[[AnyArray], AnyArray] = self._adapter.run
        #: Run the model once more on the input of the last call, for timing it alone; nothing stands in between.
        self.invoke: Callable[[], None] = self._adapter.invoke

    def run(self, x: AnyArray) -> FloatArray:
        """Infer a batch: (n, *shape) or one (*shape,), float32 or float64 -> logits (n, classes) or (classes,) float32.

        Raises:
            InputError: another shape or dtype, no image, NaN or infinities.
            ClosedError: the session is closed.
        """
        if type(x) is not np.ndarray or x.dtype is not _FLOAT32 or x.shape != self._shape or x.ndim != 1:
            return self._run_checked(x)
        if not isfinite(x.dot(x)):  # cheaper than isfinite(x).all(); huge finite values overflow, hence a second look
            _require_finite(x)
        with self._lock:
            if self._float:
                return self._run(x[None])[0]  # type: ignore[no-any-return]
            return self.output.dequantize(self._run(self.input.quantize(x[None])))[0]  # type: ignore[no-any-return]

    def _run_checked(self, x: AnyArray) -> FloatArray:
        batch = self._as_batch(x)
        with self._lock:
            logits = self.output.dequantize(self._run(self.input.quantize(batch)))
        return logits if np.ndim(x) > len(self._shape) else logits[0]

    def _as_batch(self, x: AnyArray) -> FloatArray:
        """Whatever the caller gave, as a checked (n, *shape) float32 array."""
        x = np.asarray(x)
        expected = f"expected float32 of shape {self._shape} or {('m', *self._shape)}".replace("'m'", "m")
        if x.dtype.kind != "f":
            raise InputError(f"the input has dtype {x.dtype}; {expected}; convert it with x.astype('float32')")
        if x.shape == self._shape:
            x = x[None]
        if x.shape[1:] != self._shape or x.ndim != len(self._shape) + 1 or len(x) == 0:
            raise InputError(f"the input has shape {x.shape}; {expected}")
        with np.errstate(over="ignore"):
            batch = np.ascontiguousarray(x, dtype=np.float32)
        _require_finite(batch)
        return batch

    def close(self) -> None:
        """Free the model. May be called twice; a call in another thread is let finish first."""
        with self._lock:
            adapter, self._adapter = self._adapter, None
            self._run = self.invoke = self._refuse_closed
            if adapter is not None:
                adapter.close()

    def _refuse_closed(self, *_: object) -> NoReturn:
        raise ClosedError(f"this {self.runtime} session is closed; open a new one")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _require_finite(x: FloatArray) -> None:
    if not np.isfinite(x).all():
        raise InputError("the input holds NaN or infinity; expected finite values only, so look at where it was made")


def _open(model: bytes, model_format: str, runtime: str, threads: int, kernels: str) -> Adapter:
    package = RUNTIMES[runtime].package
    if package in _EXCLUSIVE and package not in sys.modules:
        loaded = [other for other in _EXCLUSIVE if other in sys.modules]
        if loaded and "tflite_runtime" in (*loaded, package):
            raise RuntimeUnavailableError(
                f"{loaded[0]} is loaded in this process and {runtime} cannot join it; use a process of its own for each"
            )
    try:
        module = import_module(RUNTIMES[runtime].module)
        adapter: Adapter = module.open_model(model, model_format, threads, kernels)
    except EdgeDigitsError:
        raise
    except ImportError as cause:
        raise RuntimeUnavailableError(
            f"the runtime {runtime} is installed but does not import ({_line(cause)}); {RUNTIMES[runtime].install}"
        ) from cause
    except Exception as cause:
        raise ModelError(
            f"{runtime} {RUNTIMES[runtime].version} cannot open this .{model_format} file ({_line(cause)}); "
            "is it damaged, or made for a newer runtime? Export it again, or update the runtime"
        ) from cause
    return adapter


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
