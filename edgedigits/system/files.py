"""Output that replaces a file or a directory as a whole, checksums and zip archives.

Output is written to a work folder beside its target, synced and then renamed, so a reader never sees part of it. The
work folder is locked with flock while it is in use; a second writer of the same target fails at once.

    .NAME.unfinished/new/     being written
    .NAME.unfinished/done/    complete, being moved into place
    .NAME.unfinished/old      a directory that is being replaced

A killed process leaves its work folder behind, unlocked. The next writer of that target takes it over: complete output
is moved into place, everything else is deleted. Windows has no flock; there the last of two writers wins.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgedigits.errors import EdgeDigitsError

_held: set[Path] = set()  # the work folders that locked() holds


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_zip(path: Path, members: Mapping[str, bytes | Path]) -> None:
    """Write a zip archive of members given by name as bytes or files, sorted, without times and owners."""
    from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo  # slow to import

    with ZipFile(path, "w") as archive:
        for name, content in sorted(members.items()):
            member = ZipInfo(name)  # dated 1980-01-01
            member.create_system = 3  # Unix
            member.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            member.compress_type = ZIP_STORED if name.endswith((".whl", ".deb", ".zip")) else ZIP_DEFLATED
            archive.writestr(member, content if isinstance(content, bytes) else content.read_bytes())


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give the path of a new file, which replaces ``target`` when the block succeeds; EdgeDigitsError if it cannot."""
    with atomic_files(target) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_files(*targets: Path) -> Iterator[tuple[Path, ...]]:
    """As :func:`atomic_file` for files of one folder that belong together: all are complete before one is replaced."""
    for target in targets:
        if target.exists() and not target.is_file():
            raise EdgeDigitsError(f"cannot write {target}: it is not a regular file; choose another name")
    with _new_folder(targets[0]) as folder:
        yield tuple(folder / target.name for target in targets)


@contextlib.contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """As :func:`atomic_file` for a directory: gives an empty one to fill."""
    with _new_folder(target) as folder:
        directory = folder / target.absolute().name
        directory.mkdir()
        yield directory


@contextlib.contextmanager
def locked(*targets: Path) -> Iterator[None]:
    """Lock outputs that are written later in the block, so that a second process fails at its start, not at its end."""
    with contextlib.ExitStack() as stack:
        for target in targets:
            _held.add(stack.enter_context(_work_folder(target)))
        try:
            yield
        finally:
            stack.close()  # an error of the block is not one of these outputs


@contextlib.contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Give a folder; when the block succeeds, what is in it is moved beside ``target``."""
    with _work_folder(target) as work:
        new = work / "new"
        new.mkdir()
        try:
            yield new
            for path in new.rglob("*"):
                _sync(path)
            new.replace(work / "done")
            _move_into_place(work)
            _sync(work.parent)
        except KeyboardInterrupt:
            _move_into_place(work)  # if it came between two files, the others follow
            raise
        finally:
            _clear(work)


@contextlib.contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """Create and lock the work folder of ``target``, unless it is held; finish or delete what a killed process left."""
    work = target.absolute().parent.resolve() / f".{target.absolute().name}.unfinished"
    try:
        if work in _held:
            yield work
            return
        made = [folder for folder in work.parents if not folder.exists()]
        with contextlib.suppress(FileExistsError):  # also where its owner removes it while mkdir looks at it
            work.mkdir(parents=True)
        descriptor = os.open(os.devnull, os.O_RDONLY) if os.name == "nt" else _lock(work)
        if descriptor is None:
            raise EdgeDigitsError(f"another process is writing {target}; wait until it is done, or choose another name")
        try:
            _move_into_place(work)
            _clear(work)
            yield work
        finally:
            _held.discard(work)
            with contextlib.suppress(OSError):
                for folder in (work, *made):  # up to the first that is not empty
                    folder.rmdir()
            os.close(descriptor)
    except OSError as cause:
        remedy = (
            "free some space" if cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "choose another place"
        )
        raise EdgeDigitsError(
            f"cannot write {target}: {cause.strerror or cause}; nothing was changed, {remedy}"
        ) from cause


def _lock(folder: Path) -> int | None:
    """Return a locked descriptor of the folder; None if another process holds it or has just removed it."""
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(descriptor), folder.stat())
    except OSError as cause:  # some network file systems have no locks
        ours = not isinstance(cause, BlockingIOError | FileNotFoundError)
    if not ours:
        os.close(descriptor)
    return descriptor if ours else None


def _move_into_place(work: Path) -> None:
    """Move the complete output, if any, beside the work folder. If that fails, a replaced directory is put back."""
    done, old = work / "done", work / "old"
    for new in list(done.iterdir()) if done.exists() else ():
        target = work.with_name(new.name)
        try:
            if new.is_dir() and target.is_dir():
                target.replace(old)
            new.replace(target)
        finally:
            if old.exists() and not target.exists():
                old.replace(target)


def _clear(work: Path) -> None:
    """Delete everything in the work folder."""
    with contextlib.suppress(OSError):
        (work / "done").rmdir()  # after a success there is nothing else
    for path in list(work.iterdir()):
        import shutil  # slow to import

        path.unlink() if path.is_symlink() else shutil.rmtree(path)


def _sync(path: Path) -> None:
    """Flush a file or a directory to the disk."""
    try:
        descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if path.is_file():  # Windows and some file systems cannot sync a directory
            raise
