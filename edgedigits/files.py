"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edgedigits.errors import EdgeDigitsError

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # a link laid in the way is an error, not a place to write


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give an empty temporary file to write; on success it is synced and renamed to ``target``, else removed.

    While it lasts no other process can do the same. What a killed process left is taken over by the next.

    Raises:
        EdgeDigitsError: another process is writing it, or it cannot be written; what stood there is untouched.
    """
    with _told(target), _claimed(target, _make_file) as temporary:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)


@contextlib.contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """Give an empty temporary directory to fill; on success it takes the place of ``target``, else it is removed.

    Otherwise as :func:`whole_file`.
    """
    import shutil  # it imports every compressor there is

    with _told(target), _claimed(target, _make_folder) as temporary:
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        _sync(temporary)
        if not target.exists():
            temporary.rename(target)
        else:
            with _held(target, wait=True):  # what stood there gets the temporary's name, and is nobody else's
                _swap(temporary, target)
                shutil.rmtree(temporary)
        _sync(target.parent)


def write_text(target: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with whole_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _told(target: Path) -> Iterator[None]:
    """An OSError as one line."""
    try:
        yield
    except OSError as cause:
        raise EdgeDigitsError(
            f"cannot write {target}: {cause.strerror or cause}; what stood there, if anything, is untouched"
        ) from cause


@contextlib.contextmanager
def _claimed(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """The one temporary path of a target, made, empty, and held; removed if the block fails.

    It is in the target's own directory, since a rename never crosses file systems, and has its suffix, since some
    writers choose the format by it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise EdgeDigitsError(
            f"cannot create the folder {target.parent}: {cause.strerror}; choose another place"
        ) from cause
    temporary = target.with_name(f".{target.stem}.unfinished{target.suffix}")
    while True:
        make(temporary)
        with _held(temporary) as state:
            if state == "taken":
                raise EdgeDigitsError(
                    f"another process is writing {target}; wait until it is done, or choose another name"
                )
            if state == "gone":  # its owner has just finished
                continue
            try:
                _clear(temporary)
                yield temporary
            except BaseException:
                _clear(temporary)
                temporary.rmdir() if temporary.is_dir() else temporary.unlink(missing_ok=True)
                raise
            return


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | _NO_LINK, 0o666))


def _make_folder(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir()


def _clear(path: Path) -> None:
    """Empty a file or a folder."""
    if not path.is_dir():
        with contextlib.suppress(FileNotFoundError):
            os.truncate(path, 0)
        return
    import shutil

    for inner in path.iterdir():
        shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()


@contextlib.contextmanager
def _held(path: Path, *, wait: bool = False) -> Iterator[str]:
    """Hold a file or a folder against other processes that ask the same: "held", or "taken" or "gone" if that failed.

    The system lets go of it when the process ends, however it ends. Where there are no such locks it counts as held.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield "held"
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_LINK)
    except FileNotFoundError:
        yield "gone"
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield "taken"
            return
        except OSError as cause:
            if cause.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        try:
            here = os.path.samestat(os.fstat(descriptor), path.stat())
        except FileNotFoundError:
            here = False
        yield "held" if here else "gone"
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    """Force a file or a directory to the disk; not every system can open or sync a directory."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target``; what stood there ends up under the name ``new``."""
    if not _exchange(new, target):
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
