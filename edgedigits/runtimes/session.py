"""One artifact opened in one runtime: the one place where what goes in and comes out is checked."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
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
from edgedigits.runtimes.table import RUNTIMES, Adapter, runtime_info
from edgedigits.runtimes.tensors import AnyArray, FloatArray, TensorSpec

_FLOAT32 = np.dtype(np.float32)
# These carry TFLite's C++ under the same symbols; the second to load dies with "vector::reserve" or worse.
_EXCLUSIVE = ("tensorflow", "ai_edge_litert", "tflite_runtime")


class Session:
    """An opened model: float32 in, float32 out, whatever the artifact's own dtypes are.

    Use as a context manager, or call :meth:`close`. Threads may share one: one call at a time runs, and any of them may
    close it. Processes may not: after a fork the child's calls raise SharingError, since the runtime's threads did not
    come along, and so does pickling or copying one. Each process opens its own.

    Args:
        model: the file's bytes.
        model_format: ``"tflite"``, ``"onnx"`` or ``"keras"``.
        runtime: a name from :data:`edgedigits.runtimes.RUNTIMES`.
        threads: how many the runtime may use for one call.
        kernels: one of the runtime's kernel sets; None for its first.
        convert: applied to inputs that are not one float32 image of the exact shape, before they are checked.

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
    ) -> None:
        info = runtime_info(runtime)
        if model_format not in info.formats:
            opens = ", ".join(n for n, i in RUNTIMES.items() if model_format in i.formats) or "none"
            raise RuntimeUnavailableError(f"{runtime} does not open .{model_format} files; these runtimes do: {opens}")
        kernels = kernels or info.kernels[0]
        if kernels not in info.kernels:
            raise RuntimeUnavailableError(
                f"{runtime} has no kernel set {kernels!r}; choose one of {', '.join(info.kernels)}"
            )
        if threads < 1:
            raise InputError(f"threads is {threads}; expected 1 or more")
        info.require()
        self.runtime, self.kernels, self.threads = runtime, kernels, threads
        self._adapter: Adapter | None = open_adapter(model, model_format, runtime, threads, kernels)
        self.input: TensorSpec = self._adapter.inputs
        self.output: TensorSpec = self._adapter.outputs
        self._lock = threading.Lock()
        #: Run the model once more on the last single image, for timing it alone; nothing stands in between.
        self.invoke: Callable[[], object] = self._adapter.invoke
        #: Infer: (n, *shape) or one (*shape,), float32 or float64 -> logits (n, classes) or (classes,) float32.
        #: Raises InputError for another shape or dtype, no image, NaN or infinity; ClosedError once closed;
        #: SharingError in a forked child.
        self.run: Callable[[AnyArray], FloatArray]
        self.run, self._stop = _fast_path(self._adapter, self._lock, self._run_checked, self._refuse_closed)
        self._convert = convert
        self._forked = False
        _sessions.add(self)

    def _run_checked(self, x: AnyArray) -> FloatArray:
        """Any input at all: convert it if it can be used, refuse it with what was expected if not."""
        x = self._convert(np.asarray(x))
        batch = self._as_batch(x)
        with self._lock:
            if self._adapter is None:
                self._refuse_closed()
            logits = self.output.dequantize(self._adapter.run(self.input.quantize(batch)))
        return logits if x.ndim > len(self.input.shape) else logits[0]

    def _as_batch(self, x: AnyArray) -> FloatArray:
        """Whatever the caller gave, as a checked (n, *shape) float32 array."""
        expected = f"expected float32 of shape {self.input.shape} or {('m', *self.input.shape)}".replace("'m'", "m")
        if x.dtype.kind != "f":
            raise InputError(f"the input has dtype {x.dtype}; {expected}; convert it with x.astype('float32')")
        if x.shape == self.input.shape:
            x = x[None]
        if x.shape[1:] != self.input.shape or x.ndim != len(self.input.shape) + 1 or len(x) == 0:
            raise InputError(f"the input has shape {x.shape}; {expected}")
        with np.errstate(over="ignore"):
            batch = np.ascontiguousarray(x, dtype=np.float32)
        _require_finite(batch)
        return batch

    def close(self) -> None:
        """Free the model. May be called twice; a call in another thread is let finish first."""
        with self._lock:
            adapter, self._adapter = self._adapter, None
            self.invoke = self._refuse_closed
            self._stop()
            if adapter is not None:
                adapter.close()

    def _leave_behind(self) -> None:
        """In a forked child: refuse all calls, and let the parent's model be."""
        self._forked = True
        self._lock = threading.Lock()  # a thread that held the other one is not in this process
        _left_behind.append(self._adapter)  # freeing it would wait for the runtime's threads, which are not here either
        self._adapter = None
        self.close()

    def __reduce__(self) -> NoReturn:
        raise SharingError(unshared("session"))

    def _refuse_closed(self, *_: object) -> NoReturn:
        if self._forked:
            raise SharingError(
                f"this {self.runtime} session was opened before the process forked; open one in each process"
            )
        raise ClosedError(f"this {self.runtime} session is closed; open a new one")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _fast_path(
    adapter: Adapter,
    lock: threading.Lock,
    slow: Callable[[AnyArray], FloatArray],
    refuse: Callable[[AnyArray], NoReturn],
) -> tuple[Callable[[AnyArray], FloatArray], Callable[[], None]]:
    """The call for one float32 image, checks included, and how to stop it; all else goes to ``slow``.

    A closure that writes and reads the runtime's memory in place, because this model takes about two microseconds:
    attribute look-ups would show, and so would a copy more. The product with zeros is zero for finite values and NaN
    for any NaN or infinity among them, in a third of the time of isfinite().all().
    """
    array, float32, shape = np.ndarray, _FLOAT32, adapter.inputs.shape
    quantized = adapter.inputs.scale is not None
    if len(shape) != 1 or quantized != (adapter.outputs.scale is not None):
        return slow, lambda: None
    given, got = adapter.place
    invoke: Callable[..., object] = adapter.invoke
    zeros = np.zeros(shape, np.float32)

    def run_float(x: AnyArray) -> FloatArray:
        if type(x) is array and x.dtype is float32 and x.shape == shape and not x.dot(zeros):
            with lock:
                given[...] = x
                invoke()
                return got.copy()
        return slow(x)

    def stop() -> None:
        nonlocal given, invoke, lock
        given, invoke = np.zeros_like(given), refuse  # what was in place goes with the model
        lock = threading.Lock()  # in a forked child the other may be held, and by nobody

    if not quantized:
        return run_float, stop
    quantize, look_up = adapter.inputs.quantizer(), adapter.outputs.reals().take

    def run_quantized(x: AnyArray) -> FloatArray:
        if type(x) is array and x.dtype is float32 and x.shape == shape and not x.dot(zeros):
            with lock:
                quantize(x, given)
                invoke()
                return look_up(got)
        return slow(x)

    return run_quantized, stop


_sessions: WeakSet[Session] = WeakSet()
_left_behind: list[Adapter | None] = []


def _leave_all_behind() -> None:
    for session in list(_sessions):
        session._leave_behind()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks; it costs a call nothing
    os.register_at_fork(after_in_child=_leave_all_behind)


def unshared(what: str) -> str:
    """What pickling or copying a session or classifier is told."""
    return f"a {what} cannot be pickled or copied, since its model is in this process; open one in each process"


def _require_finite(x: FloatArray) -> None:
    if not np.isfinite(x).all():
        raise InputError("the input holds NaN or infinity; expected finite values only, so look at where it was made")


def open_adapter(model: bytes, model_format: str, runtime: str, threads: int, kernels: str) -> Adapter:
    """A runtime's adapter, bare; RuntimeUnavailableError or ModelError where :class:`Session` raises it."""
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
