"""manifest.json: what a bundle says of itself, and how strictly that is read.

Nothing vouches for a manifest but its signature, where it has one. What can be checked without is: that every value is
of its kind and within reason, and, when a file is read or a model is opened, that it is what was promised.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgedigits.bundle import rows
from edgedigits.runtimes.table import runtimes_for
from edgedigits.runtimes.tensors import TensorSpec
from edgedigits.system.limits import MOST_ARRAY_BYTES, MOST_MODEL_BYTES, Facts, RefusedError, parse_json, short

SCHEMA = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MOST_FILES = 64  # of each kind; a bundle has three artifacts and two files of arrays
MOST_NAME = 100  # characters of a file's name, which some file systems end at 143
MOST_SIDE = 2**24  # of a tensor, and of all its sides multiplied: 64 MB in float32
MOST_IMAGES = MOST_ARRAY_BYTES // 4


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
    ``rows``, see :mod:`edgedigits.bundle.rows`, in those whose inputs are compressed.
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

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of every file, by name; the artifacts come first."""
        return {**{a.file: a.sha256 for a in self.artifacts}, **self.files}

    @property
    def sizes(self) -> dict[str, int]:
        """How many bytes each artifact has."""
        return {a.file: a.bytes for a in self.artifacts}

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
        """Parse manifest.json; :class:`edgedigits.system.limits.RefusedError` names the value that is wrong."""
        facts = Facts(parse_json(text))
        require_schema(facts)
        manifest = cls(**{name: read(facts) for name, read in FIELDS.items()})
        names = [MANIFEST, *(a.file for a in manifest.artifacts), *manifest.files]
        if len({name.lower() for name in names}) < len(names):
            raise RefusedError("a file's name stands in it twice")
        if "\\" in text or not text.replace("\n", " ").isprintable():  # else none of it is anything but plain text
            _require_harmless(facts.raw)
        return manifest


def require_schema(facts: Facts) -> None:
    """RefusedError unless this version reads such manifests."""
    schema = facts.raw.get("schema", facts)
    if schema is facts:
        raise RefusedError("'schema' is missing")
    if type(schema) is not int or schema != SCHEMA:
        said = short(repr(schema)) if isinstance(schema, str) else short(schema)
        raise RefusedError(f"schema {said}, this version reads schema {SCHEMA}")


def _artifacts(facts: Facts) -> tuple[Artifact, ...]:
    found = tuple(artifact(each) for each in facts.objects("artifacts", MOST_FILES))
    if not found:
        raise RefusedError("no artifacts")
    return found


def _files(facts: Facts) -> dict[str, str]:
    found = facts.inner("files")
    if len(found.raw) > MOST_FILES:
        raise RefusedError(f"files has {len(found.raw):,} items, more than {MOST_FILES}")
    return {plain_name(name): found.sha256(name) for name in found.raw}


def artifact(facts: Facts) -> Artifact:
    """One of ``artifacts``."""
    given, got = (_spec(facts.inner(side)) for side in ("input", "output"))
    return Artifact(
        file=plain_name(facts._get("file", object, "a string")),
        format=facts.text("format"),
        runtimes=facts.texts("runtimes"),
        sha256=facts.sha256("sha256"),
        bytes=facts.whole("bytes", 0, MOST_MODEL_BYTES),
        input=given,
        output=got,
        facts=facts.inner("facts").raw,
    )


def plain_name(name: Any) -> str:
    """A file name that cannot leave the bundle, nor mean something else on another system; RefusedError otherwise."""
    plain = isinstance(name, str) and name.isprintable() and not set(name) & set('/\\:*?"<>|')
    if not plain or len(name) > MOST_NAME or name != name.strip(" ") or name.endswith(".") or not name:
        raise RefusedError(f"{short(name)!r} is not a plain file name")
    return str(name)


def _spec(facts: Facts) -> TensorSpec:
    """A tensor of sides that fit into memory, with a scale and a zero point that int8 can have."""
    sides = facts.items("shape", 8)
    if not all(type(n) is int and 1 <= n <= MOST_SIDE for n in sides) or math.prod(sides) > MOST_SIDE:
        raise RefusedError(
            f"{facts._where}shape {[short(n) for n in sides]}, expected sides of 1 to {MOST_SIDE:,} in all"
        )
    facts.text("name")
    scale = zero_point = None
    if "scale" not in facts.raw or facts.raw["scale"] is not None:
        scale = facts.number("scale", 1e-30, 1e30)
    if "zero_point" not in facts.raw or facts.raw["zero_point"] is not None:
        zero_point = facts.whole("zero_point", -128, 127)
    try:
        return TensorSpec(facts.text("name"), tuple(sides), facts.text("dtype"), scale, zero_point)
    except ValueError as cause:
        raise RefusedError(str(cause)) from cause


def _calibration(facts: Facts) -> dict[str, Any]:
    if "calibration" not in facts.raw:
        return {}
    found = facts.inner("calibration")
    if "temperature" in found.raw:
        found.number("temperature", 0.01, 100)
    return found.raw


def _rows(facts: Facts) -> dict[str, Any]:
    if not facts.raw.get("rows"):
        return {}
    try:
        return rows.parse(facts.inner("rows").raw, facts.whole("images", 0, MOST_IMAGES))
    except KeyError as cause:
        raise RefusedError(f"rows: {cause} is missing") from cause
    except ValueError as cause:
        raise RefusedError(str(cause)) from cause


# Every field of a manifest and how it is read.
FIELDS: dict[str, Callable[[Facts], Any]] = {
    "name": lambda facts: facts.text("name"),
    "artifacts": _artifacts,
    "files": _files,
    "images": lambda facts: facts.whole("images", 0, MOST_IMAGES),
    "labels": lambda facts: facts.texts("labels"),
    "preprocessing": lambda facts: facts.inner("preprocessing").raw,
    "training": lambda facts: facts.inner("training").raw,
    "versions": lambda facts: facts.pairs("versions"),
    "data": lambda facts: facts.pairs("data"),
    "calibration": _calibration,
    "rows": _rows,
}


def _require_harmless(value: Any, where: str = "") -> None:
    """RefusedError for text that could steer the terminal it is shown on, at any depth; the depth itself is bounded."""
    if isinstance(value, str):
        if not value.isprintable():
            raise RefusedError(f"{where or 'it'} holds {short(repr(value))}, which is not plain text")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _require_harmless(key, where)
            _require_harmless(item, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            _require_harmless(item, where)
