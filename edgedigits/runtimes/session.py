"""One artifact opened in one runtime; inputs and outputs are checked here, for all runtimes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn
from weakref import WeakSet

import numpy as np

from edgedigits.errors import (
    ClosedError,
    EdgeDigitsError,
    InputError,
    ModelError,
    RuntimeUnavailableError,
    SharingError,
)
from edgedigits.runtimes.table import RUNTIMES, Adapter, runtime_info, runtimes_for
from edgedigits.runtimes.tensors import AnyArray, FloatArray, TensorSpec

# They export TFLite's C++ symbols under the same names; the second one to load crashes.
_TFLITE_PACKAGES = ("tensorflow", "ai_edge_litert", "tflite_runtime")
MOST_THREADS = 1024  # with far more, runtimes crash
LARGEST_FLOAT = float(np.finfo(np.float32).max)


class Session:
    """An opened model: float32 in, float32 out, whatever the artifact's own dtypes are.

    Use it as a context manager, or call :meth:`close`. Threads may share a session: one call runs at a time, and any
    thread may close it. Processes may not: calls in a forked child raise SharingError, since a fork does not copy the
    runtime's threads, and so does pickling or copying a session.

    Args:
        threads: the runtime's threads for one call.
        kernels: one of the runtime's kernel sets; None for its default.
        convert: applied before the checks to inputs that are not one float32 image of the exact shape, and to those
            with a sum of squares above ``most_energy``.

    Raises:
        RuntimeUnavailableError: the runtime is not installed, cannot be used here, or has no such kernel set.
        ModelError: the runtime refused the file.
    """

    def __init__(
        self,
        model: bytes,
        model_format: str,
        runtime: str,
        *,
        threads: int = 1,
        kernels: str | None = None,
        convert: Callable[[AnyArray], AnyArray] = np.asarray,
        most_energy: float = LARGEST_FLOAT,
    ) -> None:
        info = runtime_info(runtime)
        if model_format not in info.formats:
            others = ", ".join(runtimes_for(model_format)) or "none"
            raise RuntimeUnavailableError(f"{runtime} does not open .{model_format} files; these runtimes do: {others}")
        kernels = kernels or info.kernels[0]
        if kernels not in info.kernels:
            known = ", ".join(info.kernels)
            raise RuntimeUnavailableError(f"{runtime} has no kernel set {kernels!r}; choose one of {known}")
        if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
            raise InputError(f"threads is {threads}; expected 1 to {MOST_THREADS}")
        info.require()
        self.runtime, self.kernels, self.threads = runtime, kernels, threads
        self._adapter: Adapter | None = open_adapter(model, model_format, runtime, threads, kernels)
        self.input: TensorSpec = self._adapter.inputs
        self.output: TensorSpec = self._adapter.outputs
        self._lock = threading.Lock()
        #: Run the model again on the last single image, without any checks; for timing.
        self.invoke: Callable[[], object] = self._adapter.invoke
        #: Infer: (n, *shape) or one (*shape,), float32 or float64 -> logits (n, classes) or (classes,) float32.
        #: Raises InputError for another shape or dtype, an empty batch, NaN or infinity; ClosedError after close;
        #: SharingError in a forked child.
        self.run: Callable[[AnyArray], FloatArray]
        self.run, self._stop_fast_path = self._fast_path(self._adapter, most_energy)
        self._convert = convert
        self._forked = False
        _open_sessions.add(self)

    def _fast_path(
        self, adapter: Adapter, most_energy: float
    ) -> tuple[Callable[[AnyArray], FloatArray], Callable[[], None]]:
        """A checked call for one float32 image, which passes anything else to ``slow``, and a function to disable it.

        A small model takes about two microseconds, so attribute look-ups and another copy would show: hence a closure
        over the runtime's memory. The sum of squares is NaN or infinite if a value is, and large for pixels that were
        not divided by 255, in a third of the time of isfinite().all().
        """
        lock, slow, refuse = self._lock, self._run_checked, self._refuse
        array, float32, shape = np.ndarray, np.dtype(np.float32), adapter.inputs.shape
        quantized = adapter.inputs.scale is not None
        if quantized != (adapter.outputs.scale is not None):
            return slow, lambda: None
        image, logits = adapter.buffers
        invoke: Callable[..., object] = adapter.invoke
        inner = array.dot if len(shape) == 1 else np.vdot
        most = np.float32(most_energy)  # comparing it with a Python float takes a microsecond

        def run_float(x: AnyArray) -> FloatArray:
            if type(x) is array and x.dtype is float32 and x.shape == shape and inner(x, x) <= most:
                with lock:
                    image[...] = x
                    invoke()
                    return logits.copy()
            return slow(x)

        def stop() -> None:
            nonlocal image, invoke, lock
            image, invoke = np.zeros_like(image), refuse  # the runtime's memory is about to be freed
            lock = threading.Lock()  # in a forked child the other one may stay locked

        if not quantized:
            return run_float, stop
        quantize, look_up = adapter.inputs.quantizer(), adapter.outputs.dequantization_table().take

        def run_quantized(x: AnyArray) -> FloatArray:
            if type(x) is array and x.dtype is float32 and x.shape == shape and inner(x, x) <= most:
                with lock:
                    quantize(x, image)
                    invoke()
                    return look_up(logits)
            return slow(x)

        return run_quantized, stop

    def _run_checked(self, x: AnyArray) -> FloatArray:
        """Run any input: convert and check it first."""
        x = self._convert(np.asarray(x))
        batch = self._as_batch(x)
        with self._lock:
            if self._adapter is None:
                self._refuse()
            logits = self.output.dequantize(self._adapter.run(self.input.quantize(batch)))
        return logits if x.ndim > len(self.input.shape) else logits[0]

    def _as_batch(self, x: AnyArray) -> FloatArray:
        """The input as a C-contiguous (n, *shape) float32 array; InputError if it is not one."""
        shape = self.input.shape
        expected = f"expected float32 of shape {shape} or (m, {', '.join(map(str, shape))})"
        if x.dtype.kind != "f":
            raise InputError(f"the input has dtype {x.dtype}; {expected}; convert it with x.astype('float32')")
        if x.shape == shape:
            x = x[None]
        if x.shape[1:] != shape or x.ndim != len(shape) + 1 or len(x) == 0:
            raise InputError(f"the input has shape {x.shape}; {expected}")
        with np.errstate(over="ignore"):
            batch = np.ascontiguousarray(x, dtype=np.float32)
        if not np.isfinite(batch).all():
            raise InputError("the input contains NaN or infinity; expected finite values; check how it was computed")
        return batch

    def close(self) -> None:
        """Free the model. May be called twice; waits for a call in another thread."""
        with self._lock:
            adapter, self._adapter = self._adapter, None
            self.invoke = self._refuse
            self._stop_fast_path()
            if adapter is not None:
                adapter.close()

    def _disable_after_fork(self) -> None:
        """In a forked child: make all calls raise, without touching the parent's model."""
        self._forked = True
        self._lock = threading.Lock()  # the other one may be locked by a thread that only the parent has
        _inherited.append(self._adapter)  # freeing it would wait for the runtime's threads, which only the parent has
        self._adapter = None
        self.close()

    def __reduce__(self) -> NoReturn:
        raise SharingError(not_copyable("session"))

    def _refuse(self, *_: object) -> NoReturn:
        this = f"this {self.runtime} session"
        if self._forked:
            raise SharingError(f"{this} was opened before the process forked; open one in each process")
        raise ClosedError(f"{this} is closed; open a new one")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_open_sessions: WeakSet[Session] = WeakSet()
_inherited: list[Adapter | None] = []


def _disable_all_after_fork() -> None:
    for session in list(_open_sessions):
        session._disable_after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_disable_all_after_fork)


def not_copyable(what: str) -> str:
    """The message for an attempt to pickle or copy a session or classifier."""
    return f"a {what} cannot be pickled or copied, since its model is in this process; open one in each process"


def open_adapter(model: bytes, model_format: str, runtime: str, threads: int, kernels: str) -> Adapter:
    """Open a model without a session's checks; RuntimeUnavailableError or ModelError as for :class:`Session`."""
    info = RUNTIMES[runtime]
    if info.package in _TFLITE_PACKAGES and info.package not in sys.modules:
        loaded = [other for other in _TFLITE_PACKAGES if other in sys.modules]
        if loaded and "tflite_runtime" in (*loaded, info.package):
            raise RuntimeUnavailableError(
                f"{loaded[0]} is loaded in this process and {runtime} cannot join it; use a process of its own for each"
            )
    try:
        module = import_module(f"edgedigits.runtimes.{info.module}")
        adapter: Adapter = module.open_model(model, model_format, threads, kernels)
    except EdgeDigitsError:
        raise
    except ImportError as cause:
        raise RuntimeUnavailableError(
            f"the runtime {runtime} is installed but does not import ({_one_line(cause)}); {info.install}"
        ) from cause
    except Exception as cause:  # runtimes document no exceptions for a model that they refuse
        raise ModelError(
            f"{runtime} {info.version} cannot open this .{model_format} file ({_one_line(cause)}); "
            "it is damaged or needs a newer runtime: export it again, or update the runtime"
        ) from cause
    return adapter


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
