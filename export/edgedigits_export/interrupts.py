"""Ctrl-C in the commands that run TensorFlow: one line on standard error, exit status 130, and no exception.

A KeyboardInterrupt raised inside TensorFlow or Keras can be printed and lost (finalizers, weak-reference callbacks),
turn into another error (native code that calls Python) or abort the process (C++ unwinding). So none is raised: the
signal handler removes the temporary files and ends the process. Outputs are written inside :func:`interrupts_deferred`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import click

MESSAGE = b"edgedigits: interrupted; nothing was left half-written\n"


@contextlib.contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """End the process at the first Ctrl-C inside the block; all temporary files of the block go into one folder.

    The folder is removed at the end: TensorFlow would remove its files only as Python exits, which commands skip.
    Outside the main thread, and where the program has its own SIGINT handler or ignores the signal (as a shell's
    background jobs do), a signal does what it did.
    """
    usual_folder, folder = tempfile.tempdir, tempfile.mkdtemp(prefix="edgedigits-")
    tempfile.tempdir = folder
    try:
        with _end_on_signals(folder):
            yield
    finally:
        tempfile.tempdir = usual_folder
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _end_on_signals(folder: str) -> Iterator[None]:
    """End the process at the first Ctrl-C or SIGTERM inside the block, and remove the folder."""
    if not _is_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    usual_sigterm = signal.getsignal(signal.SIGTERM)
    terminal = os.dup(2)  # converters run with file descriptor 2 redirected

    def end_process(number: int, *_: Any) -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)
        context = click.get_current_context(silent=True)
        if context:
            context.close()  # releases what the command has locked
        os.write(terminal, (b"\r\x1b[K" if os.isatty(terminal) else b"") + MESSAGE)
        os._exit(128 + number)  # 130 for Ctrl-C; no destructor of TensorFlow runs, so none can abort

    signal.signal(signal.SIGINT, end_process)
    signal.signal(signal.SIGTERM, end_process)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, usual_sigterm)
        os.close(terminal)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let a Ctrl-C inside the block take effect at its end, so that outputs which belong together are all written."""
    if not _is_main_thread():
        yield
        return
    received: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if received:
            signal.raise_signal(signal.SIGINT)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
