"""A Keras model's artifacts: each is converted, described and, if its converter fails, left out on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.bundle.contract import Contract
from edgedigits.bundle.manifest import Artifact
from edgedigits.errors import EdgeDigitsError, ExportError, ModelError
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import runtimes_for
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.files import sha256
from edgedigits_export.converting import onnx, tflite
from edgedigits_export.int8.file import with_float_ends
from edgedigits_export.int8.quantize import quantize
from edgedigits_export.quiet import conversion

if TYPE_CHECKING:
    import keras

INT8, FULL_INT8 = "int8.tflite", "int8_full.tflite"  # with float32 and with int8 input and output
FILES = ("float32.tflite", INT8, FULL_INT8, "float32.onnx")  # as in the bundle
KINDS = {"tflite": ("float32.tflite",), "int8": (INT8, FULL_INT8), "onnx": ("float32.onnx",)}


def chosen_files(only: Sequence[str]) -> tuple[str, ...]:
    """The artifacts that ``--only`` names, by file or by kind (tflite, int8, onnx); all if it names none.

    Raises ExportError for a name that is none.
    """
    for name in only:
        if name not in FILES and name not in KINDS:
            raise ExportError(f"--only {name}: expected {', '.join((*KINDS, *FILES))}")
    wanted = {file for name in only for file in KINDS.get(name, (name,))}
    return tuple(file for file in FILES if file in wanted or not wanted)


def convert_all(
    model: keras.Model,
    x: FloatArray,
    contract: Contract,
    files: Sequence[str],
    *,
    plain: bool = False,
    per_tensor: bool = False,
    seed: int = 1234,
    verbose: bool = False,
    on_step: Callable[[str], None] = lambda line: None,
    on_note: Callable[[str], None] = lambda line: None,
) -> tuple[tuple[Artifact, ...], dict[str, bytes], dict[str, Any]]:
    """Convert the model into the named files.

    Args:
        model, x: the model and its inputs (m, ...) float32, on which int8 is tuned.
        contract: says how outputs become scores of the classes.
        on_step: called with one line before each step.
        on_note: called with one line for each artifact that is left out or not what was asked for, and why.

    Returns:
        The artifacts, their bytes by file name, and the facts of the quantization.

    Raises:
        ExportError: every conversion failed.
    """
    facts: dict[str, Any] = {}

    def int8() -> dict[str, bytes]:
        result = quantize(
            model,
            x,
            scores=contract.scores,
            plain=plain,
            per_channel=not per_tensor,
            seed=seed,
            progress=on_step,
            verbose=verbose,
        )
        facts.update(result.facts())
        flips = f"{result.mismatches} of {len(x)} mismatches"
        if result.method == "tuned":
            on_note(f"{INT8} is tuned: {flips}, the converter's own quantization has {result.plain_mismatches}")
        elif result.reason:
            note = f"{INT8} has the converter's own quantization, {flips}: {result.reason}"
            on_note(note if result.met_target else f"warning: {note}")
        lost = lost_values(x) if result.mismatches > len(x) / 10 else 0
        if lost:
            on_note(
                f"warning: {lost} of {x[0].size} values of an input vary by less than two int8 steps of X, which has "
                "one scale for all; scale them alike before the model, not in it, and train it on those"
            )
        return {INT8: with_float_ends(result.model), FULL_INT8: result.model}

    converters: dict[str, Callable[[], dict[str, bytes]]] = {
        "tflite": lambda: {"float32.tflite": tflite.convert(model, verbose)},
        "onnx": lambda: {"float32.onnx": onnx.convert(model, verbose)},
        "int8": int8,  # last: its tuning takes longest
    }
    contents, described, failures = dict[str, bytes](), dict[str, Artifact](), list[str]()
    for kind, convert in converters.items():
        wanted = [file for file in KINDS[kind] if file in files]
        if not wanted:
            continue
        on_step(wanted[0])
        try:
            made = convert()
            with conversion(verbose):
                described |= {file: _describe(file, made[file], facts) for file in wanted}
            contents |= made
        except EdgeDigitsError as cause:
            failures.append(f"{' and '.join(wanted)} cannot be made: {cause}")
            on_note(f"warning: {failures[-1]}")
    if not described:
        raise ExportError(f"{failures[-1]}; no bundle was written; --verbose shows the converter's output")
    kept = [file for file in FILES if file in described]
    return tuple(described[file] for file in kept), {file: contents[file] for file in kept}, facts


def lost_values(x: FloatArray) -> int:
    """How many values of an input vary over x (m, ...), but by less than two of its int8 steps."""
    spread = np.ptp(x.reshape(len(x), -1), axis=0)
    return int(((spread > 0) & (spread < 2 * float(np.ptp(x)) / 255)).sum())


def _describe(file: str, content: bytes, quantization: dict[str, Any]) -> Artifact:
    kind = Path(file).suffix[1:]
    source, sink, facts = {"tflite": tflite.describe, "onnx": onnx.describe}[kind](content)
    scale = tflite.output_scale(content) if kind == "tflite" else None
    if sink.scale or scale:
        facts["quantization"] = quantization
    runtimes = _runtimes_that_open(content, kind)
    return Artifact(file, kind, runtimes, sha256(content), len(content), source, sink, facts, scale)


def _runtimes_that_open(content: bytes, kind: str) -> tuple[str, ...]:
    """The runtimes for this format; the numpy one only where it has every operator."""
    names = runtimes_for(kind)
    if "numpy" in names:
        try:
            Session(content, kind, "numpy").close()
        except ModelError:
            names = tuple(name for name in names if name != "numpy")
    return names
