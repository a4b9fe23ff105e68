"""The bundle: a directory, or the same as one .zip, that holds all a device needs; read, verified, written whole.

Every file is checked against the manifest's SHA-256 as it is read, and what was checked is what is used: the runtimes
are given these very bytes, never a path that could change in between.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits import rows
from edgedigits.dataset import Labels
from edgedigits.errors import BundleError, InputError
from edgedigits.files import sha256
from edgedigits.runtimes import runtimes_for
from edgedigits.tensors import FloatArray, TensorSpec

SCHEMA = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
INPUTS = "inputs.npz"
GOLDEN = "golden.npz"
MODELS = Path(__file__).parent / "models"
REFERENCE, READER = "notebook", "robust"  # the packaged bundles: what parity stands on, and what reads pictures best
DEFAULT_BUNDLE = MODELS / REFERENCE


@dataclass(frozen=True)
class Artifact:
    """One exported model file and what it takes and gives.

    ``facts`` holds what only inspection needs: the operators of a .tflite, the opset and IR version of an .onnx, how an
    int8 model was quantized.
    """

    file: str
    format: str
    runtimes: tuple[str, ...]
    sha256: str
    bytes: int
    input: TensorSpec
    output: TensorSpec
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def opened_by(self) -> tuple[str, ...]:
        """Of ``runtimes``, those that this version knows, in order of preference."""
        return tuple(name for name in runtimes_for(self.format) if name in self.runtimes)

    @property
    def quantized(self) -> bool:
        """Whether the output is int8."""
        return self.output.scale is not None


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself; ``files`` gives the SHA-256 of the arrays beside the artifacts.

    ``calibration`` is empty in a bundle whose probabilities nobody calibrated, and in those older than calibration;
    ``rows``, see :mod:`edgedigits.rows`, in those whose inputs are compressed.
    """

    name: str
    artifacts: tuple[Artifact, ...]
    files: dict[str, str]
    images: int
    labels: tuple[str, ...]
    preprocessing: dict[str, Any]
    training: dict[str, Any]
    versions: dict[str, str]
    data: dict[str, str]
    calibration: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax; 1 where nothing was calibrated."""
        return float(self.calibration.get("temperature", 1.0))

    def to_dict(self) -> dict[str, Any]:
        """The manifest in plain types."""
        artifacts = [
            {
                "file": a.file,
                "format": a.format,
                "runtimes": list(a.runtimes),
                "sha256": a.sha256,
                "bytes": a.bytes,
                "input": a.input.to_json(),
                "output": a.output.to_json(),
                "facts": a.facts,
            }
            for a in self.artifacts
        ]
        return {"schema": SCHEMA, **self.__dict__, "artifacts": artifacts, "labels": list(self.labels)}

    def to_json(self) -> str:
        """The text of manifest.json."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Parse manifest.json; ValueError, KeyError or TypeError where it is not one."""
        facts = json.loads(text)
        if facts["schema"] != SCHEMA:
            raise ValueError(f"schema {facts['schema']!r}, this version reads schema {SCHEMA}")
        artifacts = []
        for a in facts["artifacts"]:
            specs = {side: TensorSpec.from_json(a[side]) for side in ("input", "output")}
            artifacts.append(
                Artifact(
                    file=_plain_name(a["file"]),
                    format=str(a["format"]),
                    runtimes=tuple(a["runtimes"]),
                    sha256=str(a["sha256"]),
                    bytes=int(a["bytes"]),
                    facts=dict(a["facts"]),
                    **specs,
                )
            )
        if not artifacts:
            raise ValueError("no artifacts")
        manifest = cls(
            name=str(facts["name"]),
            artifacts=tuple(artifacts),
            files={_plain_name(k): str(v) for k, v in facts["files"].items()},
            images=int(facts["images"]),
            labels=tuple(str(label) for label in facts["labels"]),
            preprocessing=dict(facts["preprocessing"]),
            training=dict(facts["training"]),
            versions=dict(facts["versions"]),
            data=dict(facts["data"]),
            calibration=dict(facts.get("calibration", {})),
            rows=rows.parse(facts["rows"], int(facts["images"])) if facts.get("rows") else {},
        )
        if not 0.01 <= manifest.temperature <= 100:  # NaN is not
            raise ValueError(f"temperature {manifest.temperature}, expected 0.01 to 100")
        return manifest


def reading_bundle() -> Path:
    """The packaged bundle that reads best: ``robust``, or the only one there is, as in a kit made with another."""
    reader = MODELS / READER
    return reader if reader.is_dir() else DEFAULT_BUNDLE


def _plain_name(name: Any) -> str:
    """A file name that cannot leave the bundle; ValueError otherwise."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} is not a plain file name")
    return name


def _from_zip(path: Path, name: str) -> bytes:
    """A member's bytes; KeyError if it is missing."""
    import zipfile  # here and below: only what reads an archive pays for it, predict on a picture does not
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except zipfile.BadZipFile as cause:
        raise BundleError(f"{path}: neither a directory nor a whole .zip ({cause}); copy the bundle again") from cause
    except (EOFError, RuntimeError, NotImplementedError, zlib.error) as cause:
        raise BundleError(f"{path}: {name} cannot be read ({cause}); copy the bundle again") from cause


class Bundle:
    """A bundle that is open for reading.

    Args:
        path: a directory or a .zip, or the name of a bundle inside the package (``notebook``, ``robust``) where there
            is no such path; None for ``notebook``, the reference.
        signed_by: files of public keys, of which one must have signed it; None to take it unsigned as well. See
            :func:`edgedigits.signing.trusted_keys`.

    Attributes:
        manifest_bytes: manifest.json as it was read, once: what was verified is what ``manifest`` was parsed from.
        signer: the fingerprint of the key whose signature was verified, None where none was demanded.

    Raises:
        BundleError: nothing is there, or its manifest cannot be read.
        SignatureError: it is not signed by any of these keys, or was changed since.
    """

    def __init__(self, path: Path | str | None = None, *, signed_by: Sequence[Path | str] | None = None) -> None:
        self.path = DEFAULT_BUNDLE if path is None else Path(path)
        if not self.path.exists() and str(path) in (REFERENCE, READER):
            self.path = MODELS / str(path)
        if not self.path.exists():
            raise BundleError(f"{self.path}: no such bundle; expected a directory or .zip made by `edgedigits export`")
        self.manifest_bytes = self._raw(MANIFEST)
        self.signer: str | None = None
        if signed_by is not None:
            from edgedigits.signing import require

            self.signer = require(self.manifest_bytes, self.signature(), signed_by, self.path)
        try:
            self.manifest = Manifest.from_json(self.manifest_bytes.decode("utf-8"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
            what = f"{cause} is missing" if isinstance(cause, KeyError) else str(cause)
            raise BundleError(f"{self.path}: {MANIFEST} cannot be read ({what}); export the bundle again") from cause

    def _raw(self, name: str) -> bytes:
        """A member's bytes, not yet verified."""
        try:
            return self._shared(name).read_bytes() if self.path.is_dir() else _from_zip(self.path, name)
        except (KeyError, OSError) as cause:
            raise self._unread(name, cause) from cause

    def _unread(self, name: str, cause: KeyError | OSError) -> BundleError:
        """What to say of a member that is not there, or that the system does not give."""
        if isinstance(cause, KeyError | FileNotFoundError):
            return BundleError(f"{self.path}: {name} is missing; a bundle is made by `edgedigits export`")
        return BundleError(f"{self.path}: {name} cannot be read ({cause}); copy the bundle again")

    def signature(self) -> bytes | None:
        """The bytes of manifest.sig, as they are; None for a bundle that nobody signed."""
        try:
            return self._raw(SIGNATURE)
        except BundleError as error:
            if isinstance(error.__cause__, KeyError | FileNotFoundError):
                return None
            raise

    def _shared(self, name: str) -> Path:
        """Where a member lies: the packaged bundles store what they share once, in the reference."""
        own = self.path / name
        if own.exists() or name in (MANIFEST, SIGNATURE) or self.path.resolve().parent != MODELS.resolve():
            return own
        return DEFAULT_BUNDLE / name

    def read(self, name: str) -> bytes:
        """The verified bytes of an artifact or an array file; BundleError if they are not those of the manifest."""
        expected = {**self.manifest.files, **{a.file: a.sha256 for a in self.manifest.artifacts}}.get(name)
        if expected is None:
            raise BundleError(f"{self.path}: {name} is not part of the bundle, which holds {', '.join(self.names)}")
        content = self._raw(name)
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

    def verify(self) -> None:
        """Check every file of the bundle against the manifest; BundleError names the first that differs."""
        for name in (*self.names, *self.manifest.files):
            self.read(name)
        if self.manifest.rows and not rows.agree(self.read(INPUTS), self.inputs()[0], self.manifest.rows):
            raise BundleError(
                f"{self.path}: {MANIFEST} says otherwise of the rows of {INPUTS}; export the bundle again"
            )

    def _arrays(self, name: str, *keys: str) -> list[Any]:
        import zipfile

        content = self.read(name)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return [arrays[key] for key in keys]
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as cause:
            raise BundleError(
                f"{self.path}: {name} does not hold {', '.join(keys)} ({cause}); export the bundle again"
            ) from cause

    def inputs(self) -> tuple[FloatArray, Labels]:
        """The inputs X (m, n) float32 and their labels y (m,) int64."""
        x, y = self._arrays(INPUTS, "X", "y")
        return x, y.astype(np.int64)

    def golden(self, unseen: bool = False) -> FloatArray:
        """The trained Keras model's logits on the inputs, or on the unseen digits, (m, classes) float32."""
        logits: FloatArray = self._arrays(GOLDEN, "unseen_logits" if unseen else "logits")[0]
        return logits

    def unseen(self, folder: Path) -> tuple[FloatArray, Labels]:
        """The digits that no training and no tuning saw, from ``folder/unseen.npz``: X (m, 400) float32 and y (m,).

        Raises InputError if the file is missing or is not the one that the golden logits were made with.
        """
        from edgedigits.dataset import load_28x28
        from edgedigits.images import to_rows

        if "unseen" not in self.manifest.data:
            raise InputError(f"{self.path} has no golden outputs on unseen digits; export it with unseen.npz by X.npy")
        path = folder / "unseen.npz"
        images, labels = load_28x28(path)
        if sha256(images.tobytes()) != self.manifest.data["unseen"]:
            raise InputError(f"{path}: not the digits that {self.path} was exported with; use the file it was")
        return to_rows(images), labels

    def input_row(self, index: int) -> FloatArray:
        """``X[index]``, (n,) float32; from a directory only the block of rows around it is read and verified."""
        images = self.manifest.images
        if not 0 <= index < images:
            raise InputError(f"--index {index}: the bundle holds images 0 to {images - 1}")
        if self.manifest.rows and self.path.is_dir():
            try:
                return rows.read(self._shared(INPUTS), self.manifest.rows, index, images)
            except OSError as cause:
                raise self._unread(INPUTS, cause) from cause
        x = self.inputs()[0]
        if x.ndim != 2 or x.dtype != np.float32 or len(x) <= index:
            found = f"X is {x.shape} {x.dtype}"
            raise BundleError(
                f"{self.path}: {INPUTS} does not hold row {index} of X ({found}); export the bundle again"
            )
        row: FloatArray = x[index]
        return row
