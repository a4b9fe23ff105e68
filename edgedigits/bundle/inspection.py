"""What is wrong with a bundle, file by file: all of it, where reading ends at the first.

Beyond sizes and checksums it holds against each other what a bundle says more than once, and so finds a manifest that
was changed, or made, wrong: the shapes and the checksums of the arrays, and the tensors that a .tflite states itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from edgedigits.bundle import rows
from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, SIGNATURE, Bundle, located
from edgedigits.bundle.manifest import FIELDS, MOST_FILES, Artifact, Manifest, artifact, plain_name, require_schema
from edgedigits.errors import BundleError, EdgeDigitsError
from edgedigits.system.files import sha256
from edgedigits.system.limits import (
    MOST_ARCHIVE_BYTES,
    MOST_MANIFEST_BYTES,
    MOST_MODEL_BYTES,
    Facts,
    RefusedError,
    parse_json,
    printable,
    short,
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file."""

    file: str
    problem: str


@dataclass(frozen=True)
class Examination:
    """A bundle's manifest, None where it cannot be read, and all that is wrong."""

    path: Path
    manifest: Manifest | None
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """The manifest in plain types, as far as it can be read, and ``problems``."""
        known = self.manifest.to_dict() if self.manifest else {}
        return {**known, "problems": [asdict(problem) for problem in self.problems]}

    def text(self) -> str:
        """The problems for the terminal, a line each, and what to do."""
        lines = [f"{printable(p.file)}: {printable(p.problem)}" for p in self.problems]
        count = f"{len(lines)} thing{'s are' if len(lines) > 1 else ' is'} wrong"
        return "\n".join([f"DAMAGED: {self.path}, {count}:", *(f"  {line}" for line in lines), REMEDY])


REMEDY = "Copy the bundle again from where it was whole, or make it again with `edgedigits export`."


def examine(path: Path | str | None) -> Examination:
    """Look at every file of a bundle, also of one that :class:`Bundle` refuses.

    Raises BundleError where nothing can be said: there is no bundle, its .zip is none, or its manifest is missing, no
    JSON object, or of another schema.
    """
    pieces = _Pieces(path)
    facts = pieces.facts()
    found: list[Problem] = []
    manifest = None
    try:
        manifest = Manifest.from_json(pieces.text)
    except RefusedError as cause:
        found.append(Problem(MANIFEST, str(cause)))
    promised = _Promised(manifest.hashes, manifest.sizes, set()) if manifest else _salvaged(facts, found)
    contents = {name: pieces.sound(name, promised, found) for name in promised.hashes}
    found += [
        Problem(name, "it is not in the manifest, so nothing reads it; remove it")
        for name in pieces.present()
        if name not in {MANIFEST, SIGNATURE, *promised.hashes, *promised.named}
    ]
    if manifest is not None:
        found += _contradictions(pieces, manifest, contents)
    return Examination(pieces.path, manifest, tuple(dict.fromkeys(found)))


class _Promised(NamedTuple):
    """Checksums and sizes by file name, and names that are told of, but not what."""

    hashes: dict[str, str]
    sizes: dict[str, int]
    named: set[str]


class _Pieces(Bundle):
    """A bundle of which only the path is known."""

    def __init__(self, path: Path | str | None) -> None:
        self.path = located(path)
        content = self._raw(MANIFEST, MOST_MANIFEST_BYTES)
        try:
            self.text = content.decode("utf-8")
        except ValueError as cause:
            raise BundleError(f"{self.path}: {MANIFEST} cannot be read ({cause}); {REMEDY}") from cause

    def facts(self) -> Facts:
        """The manifest as far as any can be told: an object of a schema that is known."""
        try:
            facts = Facts(parse_json(self.text))
            require_schema(facts)
        except RefusedError as cause:
            raise BundleError(f"{self.path}: {MANIFEST} cannot be read ({cause}); {REMEDY}") from cause
        return facts

    def sound(self, name: str, promised: _Promised, found: list[Problem]) -> bytes | None:
        """A file's content if it is what was promised, else what is wrong with it joins ``found``."""
        try:
            size = promised.sizes.get(name)
            content = self.content(name, MOST_ARCHIVE_BYTES if size is None else MOST_MODEL_BYTES, size)
        except (KeyError, FileNotFoundError):
            found.append(Problem(name, "it is missing"))
        except RefusedError as cause:
            found.append(Problem(name, str(cause)))
        except OSError as cause:
            found.append(Problem(name, f"it cannot be read, {cause.strerror or cause}"))
        else:
            digest = sha256(content)
            if digest == promised.hashes[name]:
                return content
            found.append(Problem(name, f"its SHA-256 is {digest}, the manifest's is {promised.hashes[name]}"))
        return None


def _salvaged(facts: Facts, found: list[Problem]) -> _Promised:
    """What a manifest that is wrong somewhere still promises, and each field that is wrong joins ``found``."""
    kept = _Promised({}, {}, set())

    def read(part: Callable[[], Any]) -> Any:
        try:
            return part()
        except RefusedError as cause:
            found.append(Problem(MANIFEST, str(cause)))

    for field, reader in FIELDS.items():
        if field not in ("artifacts", "files"):
            read(partial(reader, facts))
    for number, each in enumerate(_inside(facts, "artifacts", list, found)):
        entry = read(partial(Facts, each, f"artifacts[{number}]"))
        known = entry and read(partial(artifact, entry))
        if known:
            kept.hashes[known.file], kept.sizes[known.file] = known.sha256, known.bytes
        elif entry:
            kept.named.add(str(entry.raw.get("file")))
    for name in _inside(facts, "files", dict, found):
        digest = read(partial(Facts(facts.raw["files"], "files").sha256, name))
        if read(partial(plain_name, name)) and digest:
            kept.hashes[name] = digest
        kept.named.add(name)
    return kept


def _inside(facts: Facts, key: str, kind: type[Any], found: list[Problem]) -> Any:
    value: Any = facts.raw.get(key)
    if not isinstance(value, kind) or len(value) > MOST_FILES:
        try:
            FIELDS[key](facts)
        except RefusedError as cause:
            found.append(Problem(MANIFEST, str(cause)))
        return ()
    return value


def _contradictions(pieces: _Pieces, manifest: Manifest, contents: dict[str, bytes | None]) -> list[Problem]:
    """What files that are as promised hold that is not: the manifest, or whoever made it, is wrong then."""
    pieces.manifest = manifest
    found = []
    checks = {INPUTS: _inputs, GOLDEN: _golden}
    for name, content in contents.items():
        known = next((a for a in manifest.artifacts if a.file == name), None)
        try:
            if content is None:
                continue
            if name in checks:
                checks[name](pieces)
            elif known is not None:
                _tensors(known, content)
        except RefusedError as cause:
            found.append(Problem(name, str(cause)))
        except EdgeDigitsError as cause:
            found.append(Problem(name, str(cause).removeprefix(f"{pieces.path}: {name} ")))
    return found


def _inputs(bundle: Bundle) -> None:
    """X and y have the shapes that the images and the tensors ask for, and the checksums of the data."""
    x, y = bundle.inputs()
    for given in (a.input for a in bundle.manifest.artifacts):
        if x[:1].size != (given.elements if len(x) else 0):
            raise RefusedError(f"its X has rows of {x.shape[1]}, and the manifest a tensor {given}")
    for name, array in (("X", x), ("y", y)):
        if bundle.manifest.data.get(name) != sha256(array.tobytes()):
            raise RefusedError(f"its {name} is not the one whose SHA-256 the manifest gives under data")
    if bundle.manifest.rows and not rows.agree(bundle.read(INPUTS), x, bundle.manifest.rows):
        raise RefusedError("its rows do not lie where the manifest says, or are others")


def _golden(bundle: Bundle) -> None:
    """As many logits as there are labels."""
    logits = bundle.golden()
    classes = len(bundle.manifest.labels)
    if logits.shape[1] != classes or any(a.output.elements != classes for a in bundle.manifest.artifacts):
        shapes = ", ".join(str(a.output.shape) for a in bundle.manifest.artifacts)
        raise RefusedError(f"{logits.shape[1]} logits an image, {classes} labels, outputs of shape {shapes}")


def _tensors(known: Artifact, content: bytes) -> None:
    """There is a runtime for it, and of a .tflite that the numpy runtime opens the tensors are the manifest's."""
    if not known.opened_by:
        raise RefusedError(f"no runtime that is known here opens it as {short(known.format)}")
    if "numpy" not in known.opened_by:
        return
    from edgedigits.runtimes.session import open_adapter
    from edgedigits.runtimes.table import RUNTIMES

    if not RUNTIMES["numpy"].installed:
        return
    adapter = open_adapter(content, known.format, "numpy", 1, "exact")
    for promised, stated in ((known.input, adapter.inputs), (known.output, adapter.outputs)):
        if not promised.matches(stated):
            raise RefusedError(f"the manifest promises {promised}, the file has {stated}")
