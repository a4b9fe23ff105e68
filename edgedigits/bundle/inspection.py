"""Finds everything that is wrong with a bundle, file by file, where reading stops at the first problem.

Beyond sizes and checksums it compares what a bundle states more than once, and so finds a manifest that was edited or
made wrong: the shapes and checksums of the arrays, and the tensors that a .tflite declares itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgedigits.bundle.bundle import (
    GOLDEN,
    HELD_OUT,
    INPUTS,
    MANIFEST,
    SIGNATURE,
    Artifact,
    Bundle,
    BundleFiles,
    Manifest,
)
from edgedigits.bundle.manifest import MOST_FILES, check_file_name, examine_manifest, parse_manifest
from edgedigits.bundle.probes import PROBES
from edgedigits.bundle.signing import signature_status
from edgedigits.errors import EdgeDigitsError
from edgedigits.system.files import sha256
from edgedigits.system.limits import MOST_ARCHIVE_BYTES, MOST_MANIFEST_BYTES, RefusedError, printable, short
from edgedigits.system.schema import check_sha256, validate
from edgedigits.system.text import table

MOST_LISTED = 20  # labels
REMEDY = "Copy the bundle again from an intact one, or make it again with `edgedigits export`."


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file."""

    file: str
    problem: str


@dataclass(frozen=True)
class Examination:
    """A bundle's manifest, None where it is invalid, and all problems."""

    path: Path
    manifest: Manifest | None
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """The manifest in plain types, if it is valid, and ``problems``."""
        known = self.manifest.to_dict() if self.manifest else {}
        return {**known, "problems": [asdict(problem) for problem in self.problems]}

    def text(self) -> str:
        """The problems for the terminal, a line each, and what to do."""
        lines = [f"  {printable(p.file)}: {printable(p.problem)}" for p in self.problems]
        count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
        return "\n".join([f"DAMAGED: {self.path}, {count}:", *lines, REMEDY])


def examine(path: Path | str | None) -> Examination:
    """Check every file of a bundle, also of one that :class:`Bundle` refuses.

    Raises BundleError where nothing can be checked: there is no bundle, its .zip is invalid, or its manifest is
    missing, not a JSON object, or of another schema.
    """
    files = BundleFiles(path)
    content = files.read(MANIFEST, MOST_MANIFEST_BYTES)
    try:
        text = content.decode("utf-8")
        facts = parse_manifest(text)
    except ValueError as cause:
        raise files.unreadable(MANIFEST, cause) from cause
    manifest, wrong = examine_manifest(facts, text)
    found = [Problem(MANIFEST, problem) for problem in wrong]
    hashes, sizes = (manifest.hashes, manifest.sizes) if manifest else _list_valid(facts)
    bundle = Bundle(path) if manifest else None
    for name, digest in hashes.items():
        try:
            content = files.read_raw(name, MOST_ARCHIVE_BYTES, sizes.get(name), digest)
            if bundle is not None:
                _check_content(bundle, name, content)
        except FileNotFoundError:
            found.append(Problem(name, "it is missing"))
        except OSError as cause:
            found.append(Problem(name, f"it cannot be read, {cause.strerror or cause}"))
        except (RefusedError, EdgeDigitsError) as cause:
            found.append(Problem(name, str(cause).removeprefix(f"{files.path}: {name} ")))
    if manifest is not None:
        others = [name for name in files.names() if name not in {MANIFEST, SIGNATURE, *hashes}]
        found += [Problem(name, "it is not in the manifest and never read; remove it") for name in others]
    return Examination(files.path, manifest, tuple(dict.fromkeys(found)))


def _list_valid(facts: dict[str, Any]) -> tuple[dict[str, str], dict[str, int]]:
    """Checksums and sizes by name of the files that an invalid manifest still lists correctly."""
    hashes, sizes = {}, {}
    for entry in _items(facts, "artifacts", list):
        with contextlib.suppress(RefusedError):
            artifact = validate(Artifact, entry)
            hashes[artifact.file], sizes[artifact.file] = artifact.sha256, artifact.bytes
    for name in _items(facts, "files", dict):
        with contextlib.suppress(RefusedError):
            check_file_name(name)
            check_sha256(facts["files"][name])
            hashes[name] = facts["files"][name]
    return hashes, sizes


def _items(facts: dict[str, Any], key: str, kind: type[list[Any] | dict[str, Any]]) -> list[Any]:
    value: Any = facts.get(key)
    return list(value)[:MOST_FILES] if isinstance(value, kind) else []


def _check_content(bundle: Bundle, name: str, content: bytes) -> None:
    """RefusedError or EdgeDigitsError if what an intact file holds contradicts the manifest."""
    if name == INPUTS:
        _check_inputs(bundle, content)
    elif name == GOLDEN:
        _check_golden(bundle)
    elif name == HELD_OUT:
        bundle.held_out(content)
    elif name == PROBES:
        bundle.probes()
    elif name in bundle.names:
        _check_tensors(bundle.artifact(name), content)


def _check_inputs(bundle: Bundle, content: bytes) -> None:
    """X and y have the shapes that the contract gives, and the checksums of the data."""
    manifest = bundle.manifest
    x, y = bundle.inputs(content)
    for name, array in (("X", x), ("y", y)):
        if manifest.data.get(name) != sha256(array.tobytes()):
            raise RefusedError(f"its {name} does not match the SHA-256 in the manifest's data")
    if manifest.rows and not manifest.rows.matches(content, x):
        raise RefusedError("its rows are not where the manifest says, or differ")


def _check_golden(bundle: Bundle) -> None:
    """There are as many logits as labels."""
    logits, manifest = bundle.golden(), bundle.manifest
    classes, sigmoid = len(manifest.labels), manifest.contract.output == "sigmoid"
    outputs = classes - 1 if sigmoid else classes
    if logits.shape[1] != outputs or any(a.output.elements != outputs for a in manifest.artifacts):
        shapes = ", ".join(str(a.output.shape) for a in manifest.artifacts)
        raise RefusedError(f"{logits.shape[1]} logits per image, {classes} labels, outputs of shape {shapes}")


def _check_tensors(artifact: Artifact, content: bytes) -> None:
    """A runtime can open the artifact; the tensors of a .tflite that the numpy runtime opens match the manifest."""
    if not artifact.opened_by:
        raise RefusedError(f"no known runtime opens it as {short(artifact.format)}")
    from edgedigits.runtimes.session import open_adapter
    from edgedigits.runtimes.table import RUNTIMES

    if "numpy" not in artifact.opened_by or not RUNTIMES["numpy"].installed:
        return
    adapter = open_adapter(content, artifact.format, "numpy", 1, "exact")
    for expected, actual in ((artifact.input, adapter.inputs), (artifact.output, adapter.outputs)):
        if not expected.matches(actual):
            raise RefusedError(f"the manifest says {expected}, the file has {actual}")


def inspect_text(bundle: Bundle) -> str:
    """The text of `edgedigits inspect`: tensors, sizes, provenance, and whose signature it has."""
    manifest, signature = bundle.manifest, signature_status(bundle)
    head = ("artifact", "bytes", "opened by", "sha256")
    rows = [(a.file, f"{a.bytes:,}", ", ".join(a.runtimes), a.sha256[:16]) for a in manifest.artifacts]
    rows += [(name, f"{len(bundle.read(name)):,}", "", digest[:16]) for name, digest in manifest.files.items()]
    lines = [f"{manifest.name} ({bundle.path}): {manifest.images} images, labels {_listed(manifest.labels)}"]
    if signature is not None:
        checked = "verified" if signature["verified"] else "not verified; use `edgedigits verify`"
        lines.append(f"signed by {signature['key']}, {checked}")
    elif bundle.signature() is not None:
        lines.append("manifest.sig is damaged")
    lines.append("")
    padded = [(name, size.rjust(9), runtimes, digest) for name, size, runtimes, digest in rows]
    lines += [table(head, padded, left=4), ""]
    for a in manifest.artifacts:
        lines += [f"{a.file}", f"  input   {a.input}", f"  output  {a.output}"]
        lines += [f"  {key}  {_plain(value)}" for key, value in a.facts.items()]
    lines += ["", "contract", *(f"  {line}" for line in contract_lines(manifest))]
    facts = manifest.to_dict()
    for title in ("training", "calibration", "versions", "data"):
        lines += ["", title, *(f"  {key}  {_plain(value)}" for key, value in facts[title].items())]
    return "\n".join(lines)


def contract_lines(manifest: Manifest) -> list[str]:
    """What the model takes and gives, in words."""
    contract, labels = manifest.contract, manifest.labels
    values = ""
    if None not in (contract.minimum, contract.mean, contract.maximum):
        values = f", values from {contract.minimum:.4g} to {contract.maximum:.4g}, mean {contract.mean:.4g}"
    pictures = contract.pictures
    if pictures != "none" and contract.picture_shape is not None:
        height, width, channels = contract.picture_shape
        pictures += f", {'gray' if channels == 1 else 'RGB'} {width}x{height}, {contract.order}"
        pictures += f", divided by {contract.pixel_scale:g}"
    output = contract.outputs
    output += f", the probability of {labels[-1]}" if contract.output == "sigmoid" else f" of {len(labels)} classes"
    return [f"input     float32 {list(contract.shape)}{values}", f"pictures  {pictures}", f"output    {output}"]


def _listed(labels: Sequence[str]) -> str:
    """The names of the classes, of many only the first."""
    if len(labels) <= MOST_LISTED:
        return ", ".join(labels)
    return f"{', '.join(labels[:MOST_LISTED])} and {len(labels) - MOST_LISTED} more"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{key} {_plain(item)}" for key, item in value.items()]
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)
