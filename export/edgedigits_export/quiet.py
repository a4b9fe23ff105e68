"""Suppress the converters' output, which goes straight to file descriptors 1 and 2."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def suppress_output(show: bool = False) -> Iterator[None]:
    """Suppress all output, of Python and of native code; show it if the block fails or if ``show`` is set."""
    if show:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    with tempfile.TemporaryFile() as sink:
        try:
            for number in kept:
                os.dup2(sink.fileno(), number)
            out = io.TextIOWrapper(os.fdopen(os.dup(sink.fileno()), "wb"), errors="replace", write_through=True)
            # In a notebook or under a test runner sys.stdout is not file descriptor 1, so both are redirected.
            with out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception:
            _restore(kept)
            sink.seek(0)
            sys.stderr.write(sink.read().decode("utf-8", errors="replace"))
            raise
        finally:
            _restore(kept)


def start_tensorflow() -> None:
    """Import TensorFlow and Keras and initialize the devices, without the notes that they print."""
    with suppress_output():
        import keras

        keras.ops.zeros(())


def _restore(kept: dict[int, int]) -> None:
    """Put the real standard output and error back; a second call does nothing."""
    sys.stdout.flush()
    sys.stderr.flush()
    while kept:
        number, copy = kept.popitem()
        os.dup2(copy, number)
        os.close(copy)
