"""Folders for a while, in the system's place for such; the next to ask for one removes what a killed process left."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgedigits.errors import EdgeDigitsError
from edgedigits.system.locks import held

# With eight letters of tempfile's own behind it. Nobody names a folder of theirs so, and only such are ever removed.
PREFIX = "edgedigits-unfinished-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OURS = re.compile(PREFIX + "[a-z0-9_]{8}")


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give an empty folder that is removed at the end, or, should this process be killed, by the next that asks."""
    place = Path(tempfile.gettempdir())
    _sweep(place)
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        except OSError as cause:
            raise EdgeDigitsError(
                f"cannot make a folder in {place}: {cause.strerror}; free some space, or set TMPDIR to another folder"
            ) from cause
        with held(folder) as state:
            if state in ("taken", "gone"):  # another process took it for one that was left, before it was held
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


@contextlib.contextmanager
def all_in_scratch() -> Iterator[None]:
    """Have all temporary files of this process, of libraries too, and of those it starts, in one such folder.

    Raises:
        EdgeDigitsError: in the place of an OSError that says that the disk is full.
    """
    with scratch_folder() as folder:
        before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        try:
            yield
        except OSError as cause:
            if cause.errno not in _FULL:
                raise
            raise EdgeDigitsError(
                f"cannot write a temporary file in {folder.parent}: {cause.strerror}; free some space, or set TMPDIR "
                "to another folder"
            ) from cause
        finally:
            tempfile.tempdir = before
            if variable is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = variable


def _sweep(place: Path) -> None:
    """Remove the folders that processes of this user left and no process holds; nothing where locks do not work."""
    for left in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another one's, or just gone
            facts = left.lstat()
            if not _OURS.fullmatch(left.name) or not hasattr(os, "getuid") or facts.st_uid != os.getuid():
                continue
            with held(left) as state:
                if state == "held":
                    shutil.rmtree(left, ignore_errors=True)
