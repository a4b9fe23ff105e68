"""Keep the converters' chatter, which goes straight to file descriptors 1 and 2, off the user's terminal."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def caught(show: bool = False) -> Iterator[None]:
    """Swallow all that is printed inside, by Python or by native code; show it if the body fails or ``show`` is set."""
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
            # In a notebook or under a test runner sys.stdout is not file descriptor 1, so both are turned away.
            with out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a converter's warning is chatter too, never an error
                yield
        except BaseException as error:
            _restore(kept)
            if isinstance(error, Exception):
                sink.seek(0)
                sys.stderr.write(sink.read().decode("utf-8", errors="replace"))
            raise
        finally:
            _restore(kept)


def start_tensorflow() -> None:
    """Import TensorFlow and Keras, and let them look for devices, with the notes that they print on the way caught."""
    with caught():
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
