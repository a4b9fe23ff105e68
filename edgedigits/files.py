"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgedigits.errors import EdgeDigitsError


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def _sync(path: Path) -> None:
    """Force a file or a directory to the disk; not every file system can sync a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(target: Path) -> Path:
    """A temporary path in the target's own directory (a rename never crosses file systems), same suffix."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise EdgeDigitsError(
            f"cannot create the folder {target.parent}: {cause.strerror}; choose another place"
        ) from cause
    return target.with_name(f".{target.stem}.{os.getpid()}.unfinished{target.suffix}")


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a temporary path to write; on success it is synced and renamed to ``target``, else removed."""
    temporary = _beside(target)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except OSError as cause:
        raise EdgeDigitsError(
            f"cannot write {target}: {cause.strerror or cause}; the previous file, if any, is untouched"
        ) from cause
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """Give a temporary directory to fill; on success it takes the place of ``target``, else it is removed."""
    import shutil  # it imports every compressor there is

    temporary = _beside(target)
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        _sync(temporary)
        _swap_in(temporary, target)
        _sync(target.parent)
    except OSError as cause:
        raise EdgeDigitsError(
            f"cannot write {target}: {cause.strerror or cause}; what stood there is untouched"
        ) from cause
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap_in(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target``; what stood there ends up under the name ``new``."""
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        aside = new.with_name(new.name + ".old")
        target.rename(aside)
        new.rename(target)
        aside.rename(new)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step: renameat2(2) with RENAME_EXCHANGE. False where the system has no such call."""
    import ctypes

    at_working_directory, rename_exchange = -100, 2
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(at_working_directory, names[0], at_working_directory, names[1], rename_exchange) == 0)


def write_text(target: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with whole_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
