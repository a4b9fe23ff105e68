"""Suppress the converters' output, which goes straight to file descriptors 1 and 2."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

from edgedigits.errors import EdgeDigitsError, ExportError
from edgedigits.system.limits import printable

Restored = Callable[[], AbstractContextManager[None]]


@contextlib.contextmanager
def suppress_output(show: bool = False) -> Iterator[Restored]:
    """Suppress all output of Python and of native code, unless ``show`` is set.

    Gives a context manager that restores the output for a while. If the block fails with anything but an
    EdgeDigitsError, what was suppressed is shown.
    """
    if show:
        yield nullcontext
        return
    streams = sys.stdout, sys.stderr
    kept = {number: os.dup(number) for number in (1, 2)}

    def redirect(targets: dict[int, int]) -> None:
        for stream in streams:
            stream.flush()
        for number, target in targets.items():
            os.dup2(target, number)

    @contextlib.contextmanager
    def restored() -> Iterator[None]:
        redirect(kept)
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            yield
        redirect(dict.fromkeys(kept, sink.fileno()))

    with tempfile.TemporaryFile() as sink, contextlib.ExitStack() as stack:
        for copy in kept.values():
            stack.callback(os.close, copy)
        stack.callback(redirect, kept)
        redirect(dict.fromkeys(kept, sink.fileno()))
        # In a notebook or under a test runner sys.stdout is not file descriptor 1, so both are redirected.
        out = io.TextIOWrapper(os.fdopen(os.dup(sink.fileno()), "wb"), errors="replace", write_through=True)
        try:
            with out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield restored
        except Exception as error:
            if not isinstance(error, EdgeDigitsError):
                redirect(kept)
                sink.seek(0)
                sys.stderr.write(sink.read().decode("utf-8", errors="replace"))
            raise


@contextlib.contextmanager
def conversion(show: bool = False) -> Iterator[Restored]:
    """As :func:`suppress_output`, for a converter; whatever it raises becomes an ExportError of one line."""
    with suppress_output(show) as restored:
        try:
            yield restored
        except EdgeDigitsError:
            raise
        except Exception as cause:  # a converter may raise anything
            raise ExportError(reason_of(cause)) from cause


def reason_of(cause: Exception) -> str:
    """The operators that TensorFlow Lite's converter rejects, or else the first line of a message."""
    operators = sorted(set(re.findall(r"'tf\.(\w+)' op", str(cause))))
    if operators:
        remedy = "; build LSTM and GRU layers with unroll=True" if "TensorListReserve" in operators else ""
        return f"TensorFlow Lite has no operator for TensorFlow's {', '.join(operators)}{remedy}"
    lines = [re.sub(r"\{\{.*?\}\}|\x1b\[\d+m", "", line).strip() for line in str(cause).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return printable((told or [type(cause).__name__])[0][:200])


def start_tensorflow() -> None:
    """Import TensorFlow and Keras and initialize the devices, without the notes that they print."""
    with suppress_output():
        import keras

        keras.ops.zeros(())
