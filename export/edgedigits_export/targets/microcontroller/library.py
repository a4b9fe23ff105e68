"""Write the library: its files from templates, into a new folder or over a library that was generated before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from edgedigits import __version__
from edgedigits.bundle.contract import Contract
from edgedigits.errors import ExportError, InputError
from edgedigits.parity.board import full_integer_artifact
from edgedigits.runtimes.oracle.arithmetic import NumpyAdapter
from edgedigits.runtimes.oracle.reader import read_graph
from edgedigits.runtimes.tensors import TensorSpec
from edgedigits.system.files import atomic_directory, sha256
from edgedigits_export.targets.microcontroller import layers, self_test

if TYPE_CHECKING:
    from edgedigits.bundle.bundle import Bundle

#: The generated files and their templates; NAME stands for the library's name.
FILES = {
    "library.properties": "library.properties",
    "CMakeLists.txt": "CMakeLists.txt",
    "README.md": "README.md",
    "src/NAME.h": "model.h",
    "src/NAME.c": "model.c",
    "src/NAME_selftest.c": "selftest.c",
    "examples/host/main.c": "main.c",
    "examples/parity/parity.ino": "parity.ino",
}
# A header of this name would hide one of C's or of Arduino's.
TAKEN = (
    "arduino assert complex ctype errno fenv float inttypes iso646 limits locale math memory setjmp signal stdarg "
    "stdbool stddef stdint stdio stdlib string strings tgmath time wchar wctype"
)


def write_library(bundle: Bundle, target: Path, name: str) -> None:
    """Write the C library of the bundle's full-integer artifact to the folder ``target``.

    Raises:
        InputError: the name is no C name, or the folder has files that were not generated.
        ExportError: the bundle has no full-integer model, or one with other than dense layers.
    """
    if not re.fullmatch("[a-z][a-z0-9_]{0,30}", name) or name in TAKEN.split():
        raise InputError(
            f"--name {name!r} cannot name a header and its functions; expected lower-case letters, digits and _, not "
            "the name of a C header, such as digits"
        )
    _require_ours(target)
    artifact = full_integer_artifact(bundle)
    try:
        generated = generate(bundle.read(artifact.file), artifact.file, bundle.manifest.contract, name)
    except ExportError as cause:
        raise ExportError(f"{bundle.path}: {artifact.file}: {cause}") from cause
    with atomic_directory(target) as folder:
        for path, text in generated.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8", newline="\n")


def _require_ours(target: Path) -> None:
    """InputError unless the folder is missing, empty, or a library that was generated, without further files."""
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; choose a folder for -o")
    names = [path.stem for path in target.glob("src/*.h")]
    ours = {target / path.replace("NAME", names[0]) for path in FILES} if len(names) == 1 else set()
    for path in target.rglob("*"):
        if not path.is_dir() and path not in ours:
            other = path.relative_to(target)
            raise InputError(
                f"{target} has {other}, which is no file of a generated library; choose a new folder for -o"
            )


def generate(model: bytes, file: str, contract: Contract, name: str) -> dict[str, str]:
    """The text of every file by its path; the same for the same model, name and version of edgedigits.

    Args:
        model, file: the .tflite with int8 input and output, and what it is called.
        contract: says how pixels become inputs.
    """
    from jinja2 import Environment, StrictUndefined  # takes a tenth of a second to import

    environment = Environment(
        keep_trailing_newline=True, lstrip_blocks=True, trim_blocks=True, undefined=StrictUndefined
    )  # not HTML, so nothing is escaped
    environment.filters |= {"array": _array, "signed": _signed, "real": "{:.9g}".format}
    values, folder = _values(model, file, contract, name), files(__package__) / "templates"
    templates = {path: (folder / f"{source}.j2").read_text(encoding="utf-8") for path, source in FILES.items()}
    return {
        path.replace("NAME", name): environment.from_string(text).render(values) for path, text in templates.items()
    }


def _values(model: bytes, file: str, contract: Contract, name: str) -> dict[str, Any]:
    """What the templates use."""
    try:
        # Operators with int32 outputs compute the shape that a Flatten layer gives to RESHAPE.
        data = [op.name for op in read_graph(model)[2] if op.output.type != "INT32"]
        others = dict.fromkeys(name for name in data if name not in layers.OPERATORS)
        if others:
            raise ExportError(f"it has {', '.join(others)}; only {' and '.join(layers.OPERATORS)} can be written as C")
        adapter = NumpyAdapter(model, "reference")
    except ValueError as cause:
        raise ExportError(str(cause)) from cause
    found = layers.read_layers(model)
    block = layers.best_block(found)
    x, y, digest = adapter.inputs, adapter.outputs, sha256(model)
    assert x.zero_point is not None
    widest = max(layer.weights.shape[1] for layer in found)
    hidden = max([len(layer.bias) for layer in found[:-1]], default=1)
    inputs = self_test.random_inputs(x.elements, x.zero_point)
    return {
        "name": name,
        "NAME": name.upper(),
        "version": __version__,
        "stamp": f"Made by edgedigits {__version__} from {file}, SHA-256 {digest}; do not edit.",
        "file": file,
        "sha256": digest,
        "x": x,
        "y": y,
        "layers": found,
        "block": block,
        "widest": widest,
        "hidden": hidden,
        "stack": round(4 * widest + 2 * hidden + 150, -1),
        "constants": sum(layer.flash_bytes(block) for layer in found),
        "pixels": _pixels(contract, x),
        "count": self_test.COUNT,
        "densities": self_test.DENSITIES,
        "hash": f"{self_test.hash_of(adapter.run(inputs.reshape(-1, *x.shape))):#010x}",
    }


def _pixels(contract: Contract, spec: TensorSpec) -> dict[str, Any] | None:
    """How pixels become inputs; None for a model that reads no pictures."""
    if contract.pictures == "none":
        return None
    digits = contract.pictures == "digits"
    scale = 255.0 if digits else contract.scale
    return {
        "range": "0 background to 255 ink" if digits else "0 to 255",
        "order": "column by column" if contract.order == "columns" else "row by row",
        "formula": layers.pixel_formula(spec, scale),
        "table": layers.pixel_table(spec, scale),
    }


def _array(declaration: str, values: Iterable[int]) -> str:
    """A C array of integers."""
    numbers = list(values)
    body = fill(", ".join(map(str, numbers)), 120, initial_indent="    ", subsequent_indent="    ")
    return f"{declaration}[{len(numbers)}] = {{\n{body}\n}};"


def _signed(value: int) -> str:
    """An integer as an operand: negative ones in parentheses."""
    return f"({value})" if value < 0 else str(value)
