"""manifest.json: what a bundle states about its files, and how strictly that is read.

Only a signature vouches for a manifest. Without one, every value is checked for its type and range here, and every file
against the manifest when it is read or opened.
"""

# Without `from __future__ import annotations`: the schema reads them, and parsing them again costs at every start.

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Annotated, Any

from edgedigits.bundle.input_rows import InputRows
from edgedigits.runtimes.table import runtimes_for
from edgedigits.runtimes.tensors import TensorSpec
from edgedigits.system.limits import MOST_MODEL_BYTES, RefusedError, kind_of, parse_json, short
from edgedigits.system.schema import MOST_PROBLEMS, Sha256, Text, check_text, count, examine, within

SCHEMA = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MOST_FILES = 64  # of each kind; a bundle has three artifacts and two files of arrays


def check_file_name(name: str) -> None:
    """RefusedError for a file name that could leave the bundle, or mean something else on another system."""
    plain = name.isprintable() and not set(name) & set('/\\:*?"<>|') and name == name.strip(" ")
    if not name or not plain or name.endswith("."):
        raise RefusedError(f"is {short(name)!r}, not a plain file name")


def _check_temperature(calibration: dict[str, Any]) -> None:
    temperature = calibration.get("temperature", 1.0)
    if type(temperature) not in (int, float) or not 0.01 <= temperature <= 100:
        raise RefusedError(f"has the temperature {short(temperature)}, expected 0.01 to 100")


FileName = Annotated[str, check_file_name]


@dataclass(frozen=True)
class Artifact:
    """One exported model file and what it takes and gives.

    ``facts`` holds what only inspection needs: the operators of a .tflite, the opset and IR version of an .onnx, how an
    int8 model was quantized.
    """

    file: FileName
    format: Text
    runtimes: tuple[str, ...]
    sha256: Sha256
    bytes: Annotated[int, within(0, MOST_MODEL_BYTES)]
    input: TensorSpec
    output: TensorSpec
    facts: dict[str, Any]

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
    """The contents of manifest.json; ``files`` gives the SHA-256 of the arrays beside the artifacts.

    ``calibration`` is empty in a bundle whose probabilities are not calibrated or that is older than calibration;
    ``rows`` is None in one whose inputs are compressed.
    """

    name: Text
    artifacts: Annotated[tuple[Artifact, ...], count(MOST_FILES, least=1)]
    files: Annotated[dict[FileName, Sha256], count(MOST_FILES)]
    images: int
    labels: tuple[str, ...]
    preprocessing: dict[str, Any]
    training: dict[str, Any]
    versions: dict[str, str]
    data: dict[str, str]
    calibration: Annotated[dict[str, Any], _check_temperature] = field(default_factory=dict)
    rows: InputRows | None = None

    def __post_init__(self) -> None:
        names = [MANIFEST, *(a.file for a in self.artifacts), *self.files]
        if len({name.lower() for name in names}) < len(names):
            raise RefusedError("lists a file twice")
        if self.rows:
            blocks = -(-self.images // self.rows.rows_per_block)
            if len(self.rows.sha256) != blocks:
                raise RefusedError(f"has {len(self.rows.sha256)} blocks in rows.sha256, expected {blocks}")

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
        return {"schema": SCHEMA, **asdict(self), "rows": asdict(self.rows) if self.rows else {}}

    def to_json(self) -> str:
        """The text of manifest.json."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse manifest.json; :class:`edgedigits.system.limits.RefusedError` names the first value that is wrong."""
        manifest, problems = examine_manifest(parse_manifest(text), text)
        if manifest is None:
            raise RefusedError(problems[0])
        return manifest


def parse_manifest(text: str) -> dict[str, Any]:
    """The JSON object in manifest.json; RefusedError if it is none, or of a schema that this version does not read."""
    facts = parse_json(text)
    if not isinstance(facts, dict):
        raise RefusedError(f"it is {kind_of(facts)}, not an object")
    schema = facts.get("schema", "missing")
    if type(schema) is not int or schema != SCHEMA:
        raise RefusedError(f"schema is {short(schema)}, expected {SCHEMA}")
    return facts


def examine_manifest(facts: dict[str, Any], text: str) -> tuple[Manifest | None, list[str]]:
    """The manifest, or None and all that is wrong with it, from its JSON object and its text."""
    known = facts if facts.get("rows") else {name: value for name, value in facts.items() if name != "rows"}
    manifest, problems = examine(Manifest, known)
    if "\\" in text or not text.replace("\n", " ").isprintable():  # else all of it is plain text
        problems += islice(_unprintable(facts, ""), MOST_PROBLEMS)
    return (None if problems else manifest), list(dict.fromkeys(problems))


def _unprintable(value: Any, where: str) -> Iterator[str]:
    """A problem for each text, at any depth, that could steer the terminal it is shown on."""
    if isinstance(value, str):
        try:
            check_text(value)
        except RefusedError as cause:
            yield f"{where or 'it'} {cause}"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unprintable(key, f"a key of {where or 'it'}")
            yield from _unprintable(item, f"{where}.{short(key)}".lstrip("."))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unprintable(item, f"{where}[{number}]")
