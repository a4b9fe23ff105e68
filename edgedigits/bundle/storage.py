"""The stored files of a bundle, in a directory or a .zip, read by name within limits and not yet verified."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgedigits.bundle.manifest import MANIFEST, SIGNATURE
from edgedigits.errors import BundleError
from edgedigits.system.limits import MOST_ARCHIVE_BYTES, RefusedError, plain_file, read_file

if TYPE_CHECKING:
    from edgedigits.bundle.zip_reader import ZipReader

MODELS = Path(__file__).parents[1] / "models"
REFERENCE, READER = "notebook", "robust"  # the packaged bundles: what parity stands on, and what reads pictures best
DEFAULT_BUNDLE = MODELS / REFERENCE


class BundleFiles:
    """The files of a bundle, given by its path or its name inside the package; BundleError if there is none."""

    def __init__(self, path: Path | str | None) -> None:
        self.path = DEFAULT_BUNDLE if path is None else Path(path)
        if not self.path.exists() and str(path) in (REFERENCE, READER):
            self.path = MODELS / str(path)
        if not self.path.exists():
            raise BundleError(f"{self.path}: no such bundle; expected a directory or .zip made by `edgedigits export`")

    def names(self) -> tuple[str, ...]:
        """The names of all files, whether the manifest lists them or not; raises as :meth:`read_raw`."""
        if self.path.is_dir():
            return tuple(sorted(path.name for path in self.path.iterdir()))
        with self._open_zip() as archive:
            return archive.names

    def read(self, name: str, most: int, exactly: int | None = None) -> bytes:
        """A file's unverified bytes, at most ``most`` and, if given, ``exactly`` so many; else BundleError."""
        try:
            return self.read_raw(name, most, exactly)
        except (OSError, RefusedError) as cause:
            raise self.unreadable(name, cause) from cause

    def read_raw(self, name: str, most: int, exactly: int | None = None) -> bytes:
        """As :meth:`read`, but raises FileNotFoundError for a missing file, OSError or RefusedError for a bad one.

        BundleError if the bundle is neither a directory nor a .zip.
        """
        if self.path.is_dir():
            return read_file(self.locate(name), most, exactly)
        with self._open_zip() as archive:
            return archive.read(name, most, exactly)

    def unreadable(self, name: str, cause: OSError | RefusedError) -> BundleError:
        """The error for a file that is missing, that the system refuses, or that is no plain file of its size."""
        if isinstance(cause, FileNotFoundError):
            return BundleError(f"{self.path}: {name} is missing; copy the bundle again, or export it again")
        if isinstance(cause, RefusedError):
            return BundleError(f"{self.path}: {name} is damaged ({cause}); copy the bundle again, or export it again")
        return BundleError(f"{self.path}: {name} cannot be read ({cause}); copy the bundle again")

    def locate(self, name: str) -> Path:
        """Where a directory's file is; the packaged bundles store what they share once, in the reference.

        RefusedError for a link out of the bundle, so that no message reveals anything about other files.
        """
        own = self.path / name
        if not own.exists() and name not in (MANIFEST, SIGNATURE) and self.path.resolve().parent == MODELS.resolve():
            own = DEFAULT_BUNDLE / name
        # Unlike Path.resolve, realpath accepts a link to itself, which cannot be opened then.
        if own.is_symlink() and not Path(os.path.realpath(own)).is_relative_to(os.path.realpath(own.parent)):
            raise RefusedError("it is a link that leads out of the bundle")
        return own

    @contextlib.contextmanager
    def _open_zip(self) -> Iterator[ZipReader]:
        from edgedigits.bundle.zip_reader import ZipReader  # a directory does not pay for zipfile

        with contextlib.ExitStack() as stack:
            try:
                archive = ZipReader(*stack.enter_context(plain_file(self.path, MOST_ARCHIVE_BYTES)))
            except RefusedError as cause:
                raise BundleError(
                    f"{self.path}: neither a directory nor a valid .zip ({cause}); copy the bundle again"
                ) from cause
            yield archive
