"""The bundle: a directory, or the same as one .zip, that holds all a device needs; read, verified, written whole.

Every file is checked against the manifest's SHA-256 as it is read, and what was checked is what is used: the runtimes
are given these very bytes, never a path that could change in between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edgedigits.bundle import rows
from edgedigits.bundle.dataset import Labels
from edgedigits.bundle.manifest import MANIFEST, SIGNATURE, Artifact, Manifest
from edgedigits.errors import BundleError, InputError
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.files import sha256
from edgedigits.system.limits import (
    MOST_ARCHIVE_BYTES,
    MOST_MANIFEST_BYTES,
    MOST_MODEL_BYTES,
    MOST_SIGNATURE_BYTES,
    RefusedError,
    plain_file,
    read_file,
)

if TYPE_CHECKING:
    from edgedigits.bundle.archive_reading import Member
    from edgedigits.bundle.arrays import Wanted

__all__ = [
    "GOLDEN", "INPUTS", "MANIFEST", "MODELS", "READER", "REFERENCE", "SIGNATURE", "Artifact", "Bundle", "Manifest",
]  # fmt: skip

INPUTS = "inputs.npz"
GOLDEN = "golden.npz"
MODELS = Path(__file__).parents[1] / "models"
REFERENCE, READER = "notebook", "robust"  # the packaged bundles: what parity stands on, and what reads pictures best
DEFAULT_BUNDLE = MODELS / REFERENCE


def reading_bundle() -> Path:
    """The packaged bundle that reads best: ``robust``, or the only one there is, as in a kit made with another."""
    reader = MODELS / READER
    return reader if reader.is_dir() else DEFAULT_BUNDLE


def located(path: Path | str | None) -> Path:
    """Where a bundle is, by its path or its name inside the package; BundleError if there is none."""
    place = DEFAULT_BUNDLE if path is None else Path(path)
    if not place.exists() and str(path) in (REFERENCE, READER):
        place = MODELS / str(path)
    if not place.exists():
        raise BundleError(f"{place}: no such bundle; expected a directory or .zip made by `edgedigits export`")
    return place


class Bundle:
    """A bundle that is open for reading.

    Args:
        path: a directory or a .zip, or the name of a bundle inside the package (``notebook``, ``robust``) where there
            is no such path; None for ``notebook``, the reference.
        signed_by: files of public keys, of which one must have signed it; None to take it unsigned as well. See
            :func:`edgedigits.bundle.signature.trusted_keys`.

    Attributes:
        manifest_bytes: manifest.json as it was read, once: what was verified is what ``manifest`` was parsed from.
        signer: the fingerprint of the key whose signature was verified, None where none was demanded.

    Raises:
        BundleError: nothing is there, or its manifest cannot be read.
        SignatureError: it is not signed by any of these keys, or was changed since.
    """

    def __init__(self, path: Path | str | None = None, *, signed_by: Sequence[Path | str] | None = None) -> None:
        self.path = located(path)
        self.manifest_bytes = self._raw(MANIFEST, MOST_MANIFEST_BYTES)
        self.signer: str | None = None
        if signed_by is not None:
            from edgedigits.bundle.signature import require

            self.signer = require(self.manifest_bytes, self.signature(), signed_by, self.path)
        try:
            self.manifest = Manifest.from_json(self.manifest_bytes.decode("utf-8"))
        except ValueError as cause:
            raise BundleError(f"{self.path}: {MANIFEST} cannot be read ({cause}); export the bundle again") from cause

    @property
    def request(self) -> dict[str, str]:
        """What another process needs to open the very same with :meth:`again`, in plain types."""
        return {"bundle": str(self.path), "manifest": sha256(self.manifest_bytes)}

    @classmethod
    def again(cls, request: Mapping[str, Any]) -> Bundle:
        """The bundle of a :attr:`request`: what was verified is what is run. BundleError if another is there now."""
        opened = cls(request["bundle"])
        if sha256(opened.manifest_bytes) != request["manifest"]:
            raise BundleError(f"{opened.path}: {MANIFEST} has changed since the command began; run it again")
        return opened

    def _raw(self, name: str, most: int, exactly: int | None = None) -> bytes:
        """A member's bytes, not yet verified, at most, or exactly, so many."""
        try:
            return self.content(name, most, exactly)
        except (KeyError, OSError, RefusedError) as cause:
            raise self._unread(name, cause) from cause

    def _unread(self, name: str, cause: KeyError | OSError | RefusedError) -> BundleError:
        """What to say of a member that is not there, that is no plain file of its size, or that the system refuses."""
        if isinstance(cause, KeyError | FileNotFoundError):
            return BundleError(f"{self.path}: {name} is missing; a bundle is made by `edgedigits export`")
        if isinstance(cause, RefusedError):
            return BundleError(f"{self.path}: {name} is damaged ({cause}); copy the bundle again, or export it again")
        return BundleError(f"{self.path}: {name} cannot be read ({cause}); copy the bundle again")

    def content(self, name: str, most: int, exactly: int | None = None) -> bytes:
        """A member's bytes as they are, at most, or exactly, so many; nobody has checked them.

        Raises KeyError or FileNotFoundError for one that is missing, OSError or RefusedError for one that cannot be
        read, BundleError for what is no bundle.
        """
        if self.path.is_dir():
            return read_file(self._shared(name), most, exactly)
        return self._from_zip(name, most, exactly)

    def signature(self) -> bytes | None:
        """The bytes of manifest.sig, none where it cannot be one; None for a bundle that nobody signed."""
        try:
            return self._raw(SIGNATURE, MOST_SIGNATURE_BYTES)
        except BundleError as error:
            if isinstance(error.__cause__, KeyError | FileNotFoundError):
                return None
            if isinstance(error.__cause__, RefusedError):  # a link, a pipe, or far too long: no signature holds
                return b""
            raise

    def present(self) -> tuple[str, ...]:
        """The names of all that is in it, whether the manifest has them or not; raises as :meth:`content`."""
        if self.path.is_dir():
            return tuple(sorted(path.name for path in self.path.iterdir()))
        with self._archive() as (_, found):
            return tuple(found)

    def _from_zip(self, name: str, most: int, exactly: int | None) -> bytes:
        from edgedigits.bundle.archive_reading import read_member

        with self._archive() as (file, found):
            return read_member(file, found[name], most, exactly)

    @contextlib.contextmanager
    def _archive(self) -> Iterator[tuple[BinaryIO, dict[str, Member]]]:
        """The .zip, open, and its members; BundleError if it is none."""
        from edgedigits.bundle.archive_reading import members  # what reads no archive does not pay for it

        with contextlib.ExitStack() as stack:
            try:
                file, total = stack.enter_context(plain_file(self.path, MOST_ARCHIVE_BYTES))
                found = members(file, total)
            except RefusedError as cause:
                raise BundleError(
                    f"{self.path}: neither a directory nor a whole .zip ({cause}); copy the bundle again"
                ) from cause
            yield file, found

    def _shared(self, name: str) -> Path:
        """Where a member lies; the packaged bundles store what they share once, in the reference.

        RefusedError for a link to somewhere else: what is read is in the bundle, and what is said of it tells nothing
        of other files.
        """
        own = self.path / name
        if not own.exists() and name not in (MANIFEST, SIGNATURE) and self.path.resolve().parent == MODELS.resolve():
            own = DEFAULT_BUNDLE / name
        if own.is_symlink():
            try:
                inside = own.resolve().is_relative_to(own.parent.resolve())
            except (OSError, RuntimeError):  # a link to itself
                inside = False
            if not inside:
                raise RefusedError("it is a link that leads out of the bundle")
        return own

    def read(self, name: str) -> bytes:
        """The verified bytes of an artifact or an array file; BundleError if they are not those of the manifest."""
        expected = self.manifest.hashes.get(name)
        if expected is None:
            raise BundleError(f"{self.path}: {name} is not part of the bundle, which holds {', '.join(self.names)}")
        size = self.manifest.sizes.get(name)
        content = self._raw(name, MOST_ARCHIVE_BYTES if size is None else MOST_MODEL_BYTES, size)
        if sha256(content) != expected:
            raise BundleError(
                f"{self.path}: {name} is damaged (its SHA-256 is not the manifest's); copy or export the bundle again"
            )
        return content

    @property
    def names(self) -> tuple[str, ...]:
        """The artifacts' file names."""
        return tuple(a.file for a in self.manifest.artifacts)

    def artifact(self, name: str) -> Artifact:
        """The artifact of that file name; the suffix may be left out where that is unambiguous."""
        found = [a for a in self.manifest.artifacts if a.file == name] or [
            a for a in self.manifest.artifacts if a.file.rpartition(".")[0] == name
        ]
        if len(found) != 1:
            count = "more than one" if found else "no"
            raise BundleError(f"{self.path}: {count} artifact {name!r}; choose one of {', '.join(self.names)}")
        return found[0]

    def verify(self) -> tuple[FloatArray, Labels] | None:
        """Check every file of the bundle against the manifest; BundleError names the first that differs.

        Returns the inputs as :meth:`inputs` does, or None where the manifest lists none: a small device takes long to
        read and check them once more.
        """
        for name in (*self.names, *self.manifest.files):
            if name != INPUTS:
                self.read(name)
        if INPUTS not in self.manifest.files:
            return None
        inputs = self.read(INPUTS)
        x, y = self._inputs(inputs)
        if self.manifest.rows and not rows.agree(inputs, x, self.manifest.rows):
            raise BundleError(
                f"{self.path}: {MANIFEST} says otherwise of the rows of {INPUTS}; export the bundle again"
            )
        return x, y

    def _arrays(self, name: str, content: bytes, **wanted: Wanted) -> list[AnyArray]:
        from edgedigits.bundle.arrays import from_npz

        try:
            return from_npz(content, **wanted)
        except RefusedError as cause:
            raise BundleError(
                f"{self.path}: {name} does not hold {', '.join(wanted)} ({cause}); export the bundle again"
            ) from cause

    def inputs(self) -> tuple[FloatArray, Labels]:
        """The inputs X (m, n) float32 and their labels y (m,) int64."""
        return self._inputs(self.read(INPUTS))

    def _inputs(self, content: bytes) -> tuple[FloatArray, Labels]:
        from edgedigits.bundle.arrays import WHOLE

        m = self.manifest.images
        x, y = self._arrays(INPUTS, content, X=(["float32"], (m, None)), y=(WHOLE, (m,)))
        return x, y.astype(np.int64)

    def golden(self, unseen: bool = False) -> FloatArray:
        """The trained Keras model's logits on the inputs, or on the unseen digits, (m, classes) float32."""
        if unseen:
            return self._arrays(GOLDEN, self.read(GOLDEN), unseen_logits=(["float32"], (None, None)))[0]
        return self._arrays(GOLDEN, self.read(GOLDEN), logits=(["float32"], (self.manifest.images, None)))[0]

    def unseen(self, folder: Path) -> tuple[AnyArray, Labels]:
        """The digits that neither training nor tuning saw: images (m, 28, 28) uint8 and labels (m,) of unseen.npz.

        Raises InputError if the file is missing or is not the one that the golden logits were made with.
        """
        from edgedigits.bundle.dataset import load_28x28

        if "unseen" not in self.manifest.data:
            raise InputError(f"{self.path} has no golden outputs on unseen digits; export it with unseen.npz by X.npy")
        path = folder / "unseen.npz"
        images, labels = load_28x28(path)
        if sha256(images.tobytes()) != self.manifest.data["unseen"]:
            raise InputError(f"{path}: not the digits that {self.path} was exported with; use the file it was")
        return images, labels

    def input_row(self, index: int) -> FloatArray:
        """``X[index]``, (n,) float32; from a directory only the block of rows around it is read and verified."""
        images = self.manifest.images
        if not 0 <= index < images:
            raise InputError(f"--index {index}: the bundle holds images 0 to {images - 1}")
        if self.manifest.rows and self.path.is_dir():
            try:
                return rows.read(self._shared(INPUTS), self.manifest.rows, index, images)
            except (OSError, RefusedError) as cause:
                raise self._unread(INPUTS, cause) from cause
        row: FloatArray = self.inputs()[0][index]
        return row
