"""A Ctrl-C that is never lost, however deep in a library it strikes."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

AGAIN_SECONDS = 0.01


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Let a Ctrl-C inside the block end it with KeyboardInterrupt, whatever becomes of that exception on its way.

    In the callback of a weak reference or in a finalizer, of which TensorFlow and Keras run very many, Python can only
    print it; there it is raised again a moment later. Native code that calls Python makes another error of it, and a
    bare ``except`` nothing at all; then it is raised where the block ends.
    """
    struck: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        struck.append(number)
        signal.default_int_handler(number, frame)

    def hook(unraisable: Any) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            # Not here and now: this very function is called where nothing can be raised.
            threading.Timer(AGAIN_SECONDS, _interrupt_main).start()
        else:
            before(unraisable)

    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    before = sys.unraisablehook
    sys.unraisablehook = hook
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception as cause:
        if struck:
            raise KeyboardInterrupt from cause
        raise
    finally:
        sys.unraisablehook = before
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if struck:
        raise KeyboardInterrupt


def _interrupt_main() -> None:
    """As Ctrl-C does it: what the main thread waits for ends."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows
        signal.raise_signal(signal.SIGINT)
