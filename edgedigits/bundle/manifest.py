"""manifest.json: what a bundle states about its files, and how strictly that is read.

Only a signature vouches for a manifest. Without one, every value is checked for its type and range here, and every file
against the manifest when it is read or opened.
"""

# Without `from __future__ import annotations`: the schema reads them, and parsing them again costs at every start.

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from edgedigits.bundle.contract import Contract, contract_of_schema_1
from edgedigits.errors import BundleError
from edgedigits.runtimes.table import runtimes_for
from edgedigits.runtimes.tensors import FloatArray, TensorSpec
from edgedigits.system import limits
from edgedigits.system.files import sha256
from edgedigits.system.limits import RefusedError, parse_json, plain_file, short
from edgedigits.system.schema import MOST_PROBLEMS, Sha256, Text, check_text, check_version, count, examine, within

SCHEMA = 2  # schema 1, without a contract, is read too
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
ROWS_PER_BLOCK = 100  # 160 kB of the digits: neither much to check for one row nor many lines in the manifest
MOST_FILES = 64  # of each kind; a bundle has four artifacts and two files of arrays


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
Size = Annotated[int, within(1, 2**32 - 1)]  # an offset too: no file begins with an array


@dataclass(frozen=True)
class Artifact:
    """One exported model file and what it takes and gives.

    ``facts`` holds what only inspection needs: the operators of a .tflite, the opset and IR version of an .onnx, how an
    int8 model was quantized. ``output_scale`` is the step of the int8 output inside a model with float32 output.
    """

    file: FileName
    format: Text
    runtimes: tuple[str, ...]
    sha256: Sha256
    bytes: Annotated[int, within(0, limits.MOST_MODEL_BYTES)]
    input: TensorSpec
    output: TensorSpec
    facts: dict[str, Any]
    output_scale: Annotated[float | None, within(1e-30, 1e30)] = None

    @property
    def opened_by(self) -> tuple[str, ...]:
        """Of ``runtimes``, those that this version knows, in order of preference."""
        return tuple(name for name in runtimes_for(self.format) if name in self.runtimes)

    @property
    def quantum(self) -> float | None:
        """The real size of one step of the int8 output; None for a float artifact."""
        return self.output_scale if self.output.scale is None else self.output.scale

    @property
    def quantized(self) -> bool:
        """Whether the model is int8 inside, with float32 or int8 input and output."""
        return self.quantum is not None


@dataclass(frozen=True)
class InputRows:
    """Where the rows of X (m, ...) float32 are in inputs.npz, which holds X as it is in memory, not compressed.

    A row is read with its block alone, a hundredth of the reading and hashing; a small device takes longer to read the
    whole file than to predict.
    """

    offset: Size
    bytes_per_row: Size
    rows_per_block: Size
    sha256: tuple[Sha256, ...]  # one per block; the last block may be shorter

    @classmethod
    def of(cls, x: FloatArray, offset: int, rows_per_block: int = ROWS_PER_BLOCK) -> "InputRows":
        """Describe the rows of x (m, ...) float32, whose little-endian bytes begin at ``offset``."""
        width, content = x[0].size * 4, x.tobytes()
        step = rows_per_block * width
        blocks = tuple(sha256(content[start : start + step]) for start in range(0, len(content), step))
        return cls(offset, width, rows_per_block, blocks)

    def matches(self, content: bytes, x: FloatArray) -> bool:
        """Whether the file's content has x where this says."""
        there = memoryview(content)[self.offset : self.offset + x.nbytes] == x.tobytes()
        return there and self == InputRows.of(x, self.offset, self.rows_per_block)

    def read(self, path: Path, index: int, rows: int) -> FloatArray:
        """Row ``index`` of ``rows``, flat float32, from the file at ``path``.

        Raises:
            BundleError: its block is incomplete, or its SHA-256 is not the manifest's.
            OSError, RefusedError: the file cannot be read.
        """
        width, per_block = self.bytes_per_row, self.rows_per_block
        block, row = divmod(index, per_block)
        length = min(per_block, rows - block * per_block) * width
        with plain_file(path, limits.MOST_ARCHIVE_BYTES) as (stream, size):
            left = size - stream.seek(self.offset + block * per_block * width)
            content = stream.read(length) if length <= left else b""
        if sha256(content) != self.sha256[block]:
            raise BundleError(
                f"{path.parent}: {path.name} is damaged (the block of row {index} does not match the manifest's "
                "SHA-256); copy or export the bundle again"
            )
        return np.frombuffer(content, "<f4", width // 4, row * width)


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
    contract: Contract
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
        for artifact in self.artifacts:
            if artifact.input.shape != self.contract.shape:
                raise RefusedError(
                    f"has a contract for inputs of shape {self.contract.shape}, {artifact.file} takes "
                    f"{artifact.input.shape}"
                )

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

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse manifest.json; :class:`edgedigits.system.limits.RefusedError` names the first value that is wrong."""
        manifest, problems = examine_manifest(parse_manifest(text), text)
        if manifest is None:
            raise RefusedError(problems[0])
        return manifest


def parse_manifest(text: str) -> dict[str, Any]:
    """The JSON object of a manifest, as schema 2; RefusedError for another schema."""
    facts = parse_json(text)
    if isinstance(facts, dict) and facts.get("schema") == 1 and type(facts["schema"]) is int:
        facts |= {"schema": SCHEMA, "contract": contract_of_schema_1(facts)}
    return check_version(facts, SCHEMA)


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
