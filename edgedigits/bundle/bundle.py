"""The bundle, a directory or one .zip, which holds all that a device needs.

Every file is checked against the manifest's SHA-256 as it is read, and the runtimes get these very bytes, not a path.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.bundle.dataset import Labels
from edgedigits.bundle.manifest import MANIFEST, SIGNATURE, Artifact, Manifest
from edgedigits.errors import BundleError, InputError
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system import limits
from edgedigits.system.files import sha256
from edgedigits.system.limits import RefusedError, plain_file, read_file

if TYPE_CHECKING:
    from edgedigits.bundle.arrays import Wanted
    from edgedigits.bundle.probes import Probes
    from edgedigits.bundle.zip_reader import ZipReader

__all__ = [
    "DEFAULT_BUNDLE", "GOLDEN", "HELD_OUT", "INPUTS", "MANIFEST", "MODELS", "READER", "REFERENCE", "SIGNATURE",
    "Artifact", "Bundle", "BundleFiles", "Manifest", "reading_bundle",
]  # fmt: skip

MODELS = Path(__file__).parents[1] / "models"
REFERENCE, READER = "notebook", "robust"  # the packaged bundles: what parity stands on, and what reads pictures best
DEFAULT_BUNDLE = MODELS / REFERENCE
INPUTS = "inputs.npz"
GOLDEN = "golden.npz"
HELD_OUT = "held_out.npz"  # optional: inputs and labels that nothing was tuned on


def reading_bundle() -> Path:
    """The packaged bundle that reads pictures best: ``robust``, or the only one in a kit made with another."""
    reader = MODELS / READER
    return reader if reader.is_dir() else DEFAULT_BUNDLE


class BundleFiles:
    """The files of a bundle, given by its path or its name inside the package; BundleError if there is none."""

    def __init__(self, path: Path | str | None) -> None:
        if not isinstance(path, str | os.PathLike | None):
            raise InputError(f"the bundle is {path!r:.60}; expected a path, the name of a packaged bundle or a Bundle")
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

    def read(self, name: str, most: int, exactly: int | None = None, digest: str | None = None) -> bytes:
        """A file's bytes, at most ``most`` and, if given, ``exactly`` so many and of that SHA-256; else BundleError."""
        try:
            return self.read_raw(name, most, exactly, digest)
        except (OSError, RefusedError) as cause:
            raise self.unreadable(name, cause) from cause

    def read_raw(self, name: str, most: int, exactly: int | None = None, digest: str | None = None) -> bytes:
        """As :meth:`read`, but raises FileNotFoundError for a missing file, OSError or RefusedError for a bad one.

        BundleError if the bundle is neither a directory nor a .zip.
        """
        if self.path.is_dir():
            content = read_file(self.locate(name), most, exactly)
        else:
            with self._open_zip() as archive:
                content = archive.read(name, most, exactly)
        if digest is not None and sha256(content) != digest:
            raise RefusedError(f"its SHA-256 is {sha256(content)}, the manifest's is {digest}")
        return content

    def unreadable(self, name: str, cause: OSError | ValueError) -> BundleError:
        """The error for a file that is missing, that the system refuses, or whose content is wrong."""
        if isinstance(cause, OSError):
            problem = "is missing" if isinstance(cause, FileNotFoundError) else f"cannot be read ({cause})"
        else:
            problem = f"is {'invalid' if name == MANIFEST else 'damaged'} ({cause})"
        return BundleError(f"{self.path}: {name} {problem}; copy the bundle again, or export it again")

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
                archive = ZipReader(*stack.enter_context(plain_file(self.path, limits.MOST_ARCHIVE_BYTES)))
            except RefusedError as cause:
                raise BundleError(
                    f"{self.path}: neither a directory nor a valid .zip ({cause}); copy the bundle again"
                ) from cause
            yield archive


class Bundle:
    """A bundle that is open for reading.

    Args:
        path: a directory or a .zip, or the name of a bundle inside the package (``notebook``, ``robust``) where there
            is no such path; None for ``notebook``, the reference.
        signed_by: the file of a public key, or several of which one must have signed it; None accepts unsigned
            bundles too.

    Raises:
        BundleError: nothing is there, or its manifest cannot be read.
        SignatureError: it is not signed by any of these keys, or was changed since.
    """

    def __init__(
        self, path: Path | str | None = None, *, signed_by: Path | str | Sequence[Path | str] | None = None
    ) -> None:
        self.files = BundleFiles(path)
        self.path = self.files.path
        # Read once: what is verified is what is used.
        self.manifest_bytes = self.files.read(MANIFEST, limits.MOST_MANIFEST_BYTES)
        self.signer: str | None = None  # the fingerprint of the key whose signature was verified
        if signed_by is not None:
            from edgedigits.bundle.signature import verify_signature

            keys = [signed_by] if isinstance(signed_by, str | Path) else signed_by
            self.signer = verify_signature(self.manifest_bytes, self.signature(), keys, self.path)
        try:
            self.manifest = Manifest.from_json(self.manifest_bytes.decode("utf-8"))
        except ValueError as cause:
            raise self.files.unreadable(MANIFEST, cause) from cause

    @property
    def request(self) -> dict[str, str]:
        """What another process needs to :meth:`reopen` the same bundle, in plain types."""
        return {"bundle": str(self.path), "manifest": sha256(self.manifest_bytes)}

    @classmethod
    def reopen(cls, request: Mapping[str, Any]) -> Bundle:
        """The bundle of a :attr:`request`; BundleError if its manifest has changed since."""
        opened = cls(request["bundle"])
        if sha256(opened.manifest_bytes) != request["manifest"]:
            raise BundleError(f"{opened.path}: {MANIFEST} has changed since the command began; run it again")
        return opened

    def signature(self) -> bytes | None:
        """The bytes of manifest.sig, empty if they cannot be read; None for an unsigned bundle."""
        try:
            return self.files.read_raw(SIGNATURE, limits.MOST_SIGNATURE_BYTES)
        except FileNotFoundError:
            return None
        except (OSError, RefusedError):
            return b""

    def read(self, name: str) -> bytes:
        """The verified bytes of an artifact or an array file; BundleError if they do not match the manifest."""
        expected = self.manifest.hashes.get(name)
        if expected is None:
            raise BundleError(f"{self.path}: {name} is not part of the bundle, which holds {', '.join(self.names)}")
        return self.files.read(name, limits.MOST_ARCHIVE_BYTES, self.manifest.sizes.get(name), expected)

    @property
    def names(self) -> tuple[str, ...]:
        """The artifacts' file names."""
        return tuple(a.file for a in self.manifest.artifacts)

    def artifact(self, name: str) -> Artifact:
        """The artifact of that file name; the suffix may be left out where that is unambiguous."""
        found = self.artifacts(name)
        if len(found) > 1:
            raise BundleError(f"{self.path}: more than one artifact {name!r}; choose one of {', '.join(self.names)}")
        return found[0]

    def chosen(self, names: Sequence[str]) -> list[Artifact]:
        """All artifacts that have one of the names, with or without suffix; every artifact if no name is given."""
        found = {artifact.file: artifact for name in names for artifact in self.artifacts(name)}
        return list(found.values()) or list(self.manifest.artifacts)

    def artifacts(self, name: str) -> list[Artifact]:
        """The artifact of that file name, or all that have it before their suffix; BundleError if there is none."""
        artifacts = self.manifest.artifacts
        found = [a for a in artifacts if a.file == name] or [a for a in artifacts if Path(a.file).stem == name]
        if not found:
            raise BundleError(f"{self.path}: no artifact {name!r}; choose one of {', '.join(self.names)}")
        return found

    def verify(self) -> tuple[FloatArray, Labels] | None:
        """Check every file of the bundle against the manifest; BundleError names the first that differs.

        Returns the inputs as :meth:`inputs` does, which saves a small device reading them again, or None where the
        manifest lists none.
        """
        for name in self.manifest.hashes:
            if name != INPUTS:
                self.read(name)
        if INPUTS not in self.manifest.files:
            return None
        content = self.read(INPUTS)
        x, y = self.inputs(content)
        if self.manifest.rows and not self.manifest.rows.matches(content, x):
            raise BundleError(
                f"{self.path}: the rows of {INPUTS} are not where {MANIFEST} says; export the bundle again"
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

    def inputs(self, content: bytes | None = None) -> tuple[FloatArray, Labels]:
        """The inputs X (m, *shape) float32 and their labels y (m,) int64; ``content`` saves reading the file again."""
        return self._inputs(INPUTS, content or self.read(INPUTS), self.manifest.images)

    def _inputs(self, name: str, content: bytes, rows: int) -> tuple[FloatArray, Labels]:
        from edgedigits.bundle.arrays import WHOLE

        x, y = self._arrays(name, content, X=(["float32"], (rows, *self.manifest.contract.shape)), y=(WHOLE, (rows,)))
        return x, y.astype(np.int64)

    def held_out(self, content: bytes | None = None) -> tuple[FloatArray, Labels] | None:
        """Inputs (m, *shape) float32 and labels (m,) that the bundle was not tuned on; None if it contains none."""
        if HELD_OUT not in self.manifest.files:
            return None
        return self._inputs(HELD_OUT, content or self.read(HELD_OUT), len(self.golden(unseen=True)))

    def probes(self) -> Probes | None:
        """The probes for rounding; None in an older bundle, or for a model that the numpy runtime cannot run."""
        from edgedigits.bundle.probes import PROBES, Probes

        outputs = [artifact.output.elements for artifact in self.manifest.artifacts if artifact.quantized]
        if PROBES not in self.manifest.files or not outputs:
            return None
        try:
            return Probes.read(self.read(PROBES), self.manifest.contract.shape, outputs[0])
        except RefusedError as cause:
            raise self.files.unreadable(PROBES, cause) from cause

    def golden(self, unseen: bool = False) -> FloatArray:
        """The trained Keras model's outputs on the inputs, or on the held-out ones, (m, n) float32."""
        name, rows = ("unseen_logits", None) if unseen else ("logits", self.manifest.images)
        return self._arrays(GOLDEN, self.read(GOLDEN), **{name: (["float32"], (rows, None))})[0]

    def unseen(self, folder: Path) -> tuple[AnyArray, Labels]:
        """The digits that neither training nor tuning saw: images (m, 28, 28) uint8 and labels (m,) of unseen.npz.

        Raises InputError if the file is missing or is not the one that the golden logits were made with.
        """
        from edgedigits.bundle.dataset import load_28x28

        if "unseen" not in self.manifest.data:
            raise InputError(
                f"{self.path} has no held-out inputs; export it with X_test.npy and y_test.npy, or --test-fraction"
            )
        path = folder / "unseen.npz"
        images, labels = load_28x28(path)
        if sha256(images.tobytes()) != self.manifest.data["unseen"]:
            raise InputError(f"{path}: these are not the digits that {self.path} was exported with; use that file")
        return images, labels

    def input_row(self, index: int) -> FloatArray:
        """``X[index]``, (*shape,) float32; from a directory only the block of rows around it is read and verified."""
        images, shape = self.manifest.images, self.manifest.contract.shape
        if not 0 <= index < images:
            raise InputError(f"no image {index}: the bundle holds images 0 to {images - 1}")
        if self.manifest.rows and self.path.is_dir():
            try:
                return self.manifest.rows.read(self.files.locate(INPUTS), index, images).reshape(shape)
            except (OSError, RefusedError) as cause:
                raise self.files.unreadable(INPUTS, cause) from cause
        row: FloatArray = self.inputs()[0][index]
        return row
