"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from edgedigits.errors import EdgeDigitsError


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
    with whole_files(target) as (temporary,):
        yield temporary


@contextlib.contextmanager
def whole_files(*targets: Path) -> Iterator[tuple[Path, ...]]:
    """The same for files that belong together: all are on the disk before the first takes its place."""
    with _told(*targets), contextlib.ExitStack() as stack:
        temporaries = tuple(stack.enter_context(_taken(target, directory=False)) for target in targets)
        yield temporaries
        for temporary in temporaries:
            _sync(temporary)
        pairs = list(zip(temporaries, targets, strict=True))
        try:
            _place(pairs)
        except KeyboardInterrupt:  # between two of them: the rest belongs to what is in its place already
            _place(pairs)
            raise
        for folder in {target.parent for target in targets}:
            _sync(folder)


def _place(pairs: list[tuple[Path, Path]]) -> None:
    for temporary, target in pairs:
        if temporary.exists():
            temporary.replace(target)


@contextlib.contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """Give an empty temporary directory to fill; on success it takes the place of ``target``, else it is removed.

    Otherwise as :func:`whole_file`.
    """
    with _told(target), _taken(target, directory=True) as temporary:
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        _sync(temporary)
        if not target.exists():
            temporary.rename(target)
        else:
            from edgedigits.system.locks import held

            with held(target, wait=True):  # what stood there gets the temporary's name, and is nobody else's
                _swap(temporary, target)
                _remove(temporary)
        _sync(target.parent)


@contextlib.contextmanager
def claimed(*targets: Path, directory: bool = False) -> Iterator[None]:
    """Make targets this thread's own to write, once each, while the block lasts: who comes second is told at once.

    Each is held until its :func:`whole_file` (of a directory: its :func:`whole_directory`) inside the block is through.

    Raises:
        EdgeDigitsError: another process is writing one, or it cannot be written there.
    """
    with contextlib.ExitStack() as stack:
        for target in targets:
            key = _key(target)
            if key not in _claims:
                with _told(target):
                    _claims[key] = _Claim(target, directory)
                stack.callback(_drop, key)
        yield


def write_text(target: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with whole_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _told(*targets: Path) -> Iterator[None]:
    """An OSError as one line."""
    try:
        yield
    except OSError as cause:
        names = ", ".join(map(str, targets))
        raise EdgeDigitsError(
            f"cannot write {names}: {cause.strerror or cause}; what stood there, if anything, is untouched"
        ) from cause


def temporary_of(target: Path) -> Path:
    """What a file or directory is called until it is whole.

    It is in the target's own directory, since a rename never crosses file systems, and has its suffix, since some
    writers choose the format by it.
    """
    return target.with_name(f".{target.stem}.unfinished{target.suffix}")


class _Claim:
    """The one temporary of a target, made, empty, and held against other processes."""

    def __init__(self, target: Path, directory: bool) -> None:
        from edgedigits.system.locks import held

        self._made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise EdgeDigitsError(
                f"cannot create the folder {target.parent}: {cause.strerror}; choose another place"
            ) from cause
        if not directory and target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self.temporary = temporary_of(target)
        while True:
            (_make_folder if directory else _make_file)(self.temporary)
            with contextlib.ExitStack() as stack:
                state = stack.enter_context(held(self.temporary))
                if state == "taken":
                    raise EdgeDigitsError(
                        f"another process is writing {target}; wait until it is done, or choose another name"
                    )
                if state == "gone":  # its owner has just finished
                    continue
                _recover(target)
                _clear(self.temporary)
                self.release = stack.pop_all().close
                return

    def remove(self) -> None:
        """Take the temporary away, and the folders that were made for it and hold nothing."""
        _remove(self.temporary)
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()


Key = tuple[int, int, Path]
_claims: dict[Key, _Claim] = {}  # those that are held and not yet used


def _key(target: Path) -> Key:
    """A thread and what it claimed; a forked child has other keys."""
    return os.getpid(), threading.get_ident(), target.absolute()


def _drop(key: Key) -> None:
    """Let go of a claim that was not used."""
    claim = _claims.pop(key, None)
    if claim is not None:
        claim.remove()
        claim.release()


@contextlib.contextmanager
def _taken(target: Path, *, directory: bool) -> Iterator[Path]:
    """The temporary of a target, claimed here if it was not before; removed if the block fails."""
    claim = _claims.pop(_key(target), None) or _Claim(target, directory)
    try:
        yield claim.temporary
    except BaseException:
        claim.remove()
        raise
    finally:
        claim.release()


def _make_file(path: Path) -> None:
    from edgedigits.system.locks import NO_LINK

    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | NO_LINK, 0o666))


def _make_folder(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir()


def _clear(path: Path) -> None:
    """Empty a file or a folder."""
    if not path.is_dir():
        with contextlib.suppress(FileNotFoundError):
            os.truncate(path, 0)
        return
    import shutil  # it imports every compressor there is

    for inner in path.iterdir():
        shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()


def _remove(path: Path) -> None:
    """Remove a file or a folder; it may be gone."""
    _clear(path)
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file or a directory to the disk; not every system can open or sync a directory.

    A disk that turns out to be full or broken only now is an error: what stood there must stay.
    """
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as cause:
        if cause.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):  # there is no syncing this
            raise
    finally:
        os.close(descriptor)


def _swap(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target``; what stood there ends up under the name ``new``."""
    if not _exchange(new, target):
        aside = _aside(target)
        target.rename(aside)
        new.rename(target)
        aside.rename(new)


def _aside(target: Path) -> Path:
    """Where a directory stands for a moment while it is replaced, on systems that cannot swap two names."""
    return target.with_name(f"{temporary_of(target).name}.old")


def _recover(target: Path) -> None:
    """Undo a swap that was cut short: what stood in the target's place goes back there, or goes if that is taken."""
    aside = _aside(target)
    if aside.is_dir():
        _remove(aside) if target.exists() else aside.rename(target)


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
