"""A file or a folder held against other processes that ask the same, for as long as this one lives."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # a link laid in the way is an error, not a place to write


@contextlib.contextmanager
def held(path: Path, *, wait: bool = False) -> Iterator[str]:
    """Hold a file or a folder: "held", or "taken" or "gone" if that failed, or "unknown" where there are no such locks.

    The system lets go of it when the process ends, however it ends. A program that this one starts does not have it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield "unknown"
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | NO_LINK)
    except FileNotFoundError:
        yield "gone"
        return
    try:
        state = "held"
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            state = "taken"
        except OSError as cause:
            if cause.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            state = "unknown"
        if state != "taken":
            try:
                here = os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
            except FileNotFoundError:
                here = False
            state = state if here else "gone"
        yield state
    finally:
        os.close(descriptor)
