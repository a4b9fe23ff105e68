"""Keras model to bundle: convert, describe, check the parity of every artifact, and only then write to ``out``."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits import __version__
from edgedigits.bundle.bundle import GOLDEN, HELD_OUT, INPUTS, MANIFEST, Artifact, Bundle, Manifest
from edgedigits.bundle.contract import Contract
from edgedigits.bundle.dataset import Labels
from edgedigits.bundle.manifest import InputRows
from edgedigits.errors import EdgeDigitsError, ExportError, ModelError
from edgedigits.parity.check import check_parity
from edgedigits.parity.result import ParityReport
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import RUNTIMES, runtimes_for
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.files import atomic_directory, atomic_file, locked, sha256, write_zip
from edgedigits.system.text import to_json
from edgedigits_export.converting import onnx, tflite
from edgedigits_export.converting.held_out import judge
from edgedigits_export.int8.file import with_float_ends
from edgedigits_export.int8.quantize import quantize
from edgedigits_export.interrupts import interrupts_deferred
from edgedigits_export.quiet import suppress_output
from edgedigits_export.training import calibration
from edgedigits_export.training.checks import accuracy_lines
from edgedigits_export.training.data import HeldOut
from edgedigits_export.training.model import logits_of

if TYPE_CHECKING:
    import keras

TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "numpy")
INT8, FULL_INT8 = "int8.tflite", "int8_full.tflite"  # with float32 and with int8 input and output


def export_bundle(
    model: keras.Model,
    x: FloatArray,
    y: Labels,
    out: Path,
    *,
    name: str,
    training: dict[str, Any],
    plain_int8: bool = False,
    per_tensor: bool = False,
    seed: int = 1234,
    temperature: Callable[[], float | None] = lambda: None,
    labels: Sequence[str] = (),
    held_out: Callable[[], HeldOut | None] = lambda: None,
    verbose: bool = False,
    on_step: Callable[[str], None] = lambda line: None,
    on_note: Callable[[str], None] = lambda line: None,
) -> ParityReport:
    """Write the bundle to ``out``, a directory or a .zip, whole or not at all.

    Args:
        model: a Keras classifier of (n,) inputs, from :func:`edgedigits_export.training.model.load`.
        x, y: the inputs that parity is checked on, (m, n) float32, and their labels (m,).
        training: facts for the manifest.
        plain_int8: use the converter's own quantization instead of tuning for parity.
        per_tensor: use per-tensor weight scales instead of per-channel.
        seed: random seed of the tuning.
        temperature: returns the softmax temperature, or None if it is unknown. Called after the conversion, so that
            what it trains cannot change the artifacts.
        labels: the names of the classes; empty means their numbers.
        held_out: returns inputs and labels that were not tuned on, or None. Called last, so that neither the artifacts
            nor the temperature can depend on them.
        verbose: show the converters' output.
        on_step: called with one line before each step.
        on_note: called with each line that is to be read: the accuracy, warnings, the result on what was held out.

    Returns:
        The parity report of the new bundle: each artifact in one runtime.

    Raises:
        ExportError: a conversion failed, a float artifact does not match the model, or ``out`` is not a bundle.
    """
    _check_replaceable(out)
    if x.shape[1] != model.input_shape[1]:
        raise ExportError(
            f"the model takes {model.input_shape[1]} values and X has {x.shape[1]}; give the model's own data"
        )
    on_step("reference logits")
    golden = {"logits": logits_of(model, x)}
    if not np.isfinite(golden["logits"]).all():
        raise ExportError("the model outputs NaN or infinity on some inputs; train it again")
    classes = golden["logits"].shape[1]
    contract = Contract(x.shape[1:], float(x.min()), float(x.mean(dtype=np.float64)), float(x.max()))
    if training.get("recipe") in ("notebook", "robust"):
        contract = replace(contract, pictures="digits", order="columns")

    def predicted(outputs: FloatArray) -> Labels:
        classes_of: Labels = contract.scores(outputs).argmax(axis=1)
        return classes_of

    for line in accuracy_lines(
        lambda some: predicted(logits_of(model, some)), predicted(golden["logits"]), x, y, classes
    ):
        on_note(line)
    artifacts, quantization = _convert_all(model, x, plain_int8, per_tensor, seed, verbose, on_step)
    on_step("calibration")
    divisor = temperature()
    data = {"X": sha256(x.tobytes()), "y": sha256(y.tobytes())}
    held, judged, arrays = held_out(), None, dict[str, bytes]()
    if held is not None:
        golden["unseen_logits"] = logits_of(model, held.x)
        judged = golden["unseen_logits"], held.y
        if held.images is not None:
            data["unseen"] = sha256(held.images.tobytes())
        else:
            arrays[HELD_OUT] = _npz(np.savez_compressed, X=held.x, y=_compact(held.y, classes))
        facts, line = judge(artifacts[FULL_INT8], contract, held.x, held.y, golden["unseen_logits"])
        quantization.update(facts)
        on_note(f"{INT8}: {line}")
    with suppress_output(verbose):
        described = tuple(_describe(file, content, quantization) for file, content in artifacts.items())
    # Not compressed, so that one row can be read alone.
    arrays[INPUTS] = _npz(np.savez, X=x, y=_compact(y, classes))
    arrays[GOLDEN] = _npz(np.savez_compressed, **golden)
    manifest = Manifest(
        name=name,
        artifacts=described,
        files={file: sha256(content) for file, content in arrays.items()},
        images=len(x),
        labels=tuple(labels) or tuple(map(str, range(classes))),
        contract=contract,
        training=training,
        versions={"edgedigits": __version__, **{tool: version(tool) for tool in TOOLS}},
        data=data,
        calibration={} if divisor is None else calibration.facts(divisor, judged),
        rows=InputRows.of(x, arrays[INPUTS].index(x.tobytes())),
    )
    on_step("parity of every artifact")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file, content in {**artifacts, **arrays, MANIFEST: to_json(manifest.to_dict()).encode()}.items():
            (folder / file).write_bytes(content)
        report = _check(Bundle(folder))
        with interrupts_deferred():
            _place(folder, out)
    return report


@contextlib.contextmanager
def locked_bundle(out: Path) -> Iterator[None]:
    """Lock ``out`` for the length of a block, so that a second export there fails at once.

    Raises:
        ExportError: ``out`` exists and is not a bundle.
        EdgeDigitsError: another process is exporting there, or it cannot be written.
    """
    _check_replaceable(out)
    with locked(out):
        yield


def _check_replaceable(out: Path) -> None:
    """ExportError if something other than an older bundle exists at ``out``."""
    if out.suffix == ".zip":
        if out.is_dir():
            raise ExportError(f"{out} is a directory; give another name for the .zip")
    elif out.is_file():
        raise ExportError(f"{out} is a file; give the name of a directory, or one ending in .zip")
    elif out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ExportError(f"{out} holds other files and is not a bundle; give an empty or new directory")


def _place(folder: Path, out: Path) -> None:
    """Copy the finished bundle to ``out``."""
    files = {file.name: file for file in folder.iterdir()}
    if out.suffix == ".zip":
        with atomic_file(out) as temporary:
            write_zip(temporary, files)
    else:
        with atomic_directory(out) as target:
            for name, file in files.items():
                shutil.copyfile(file, target / name)


def _npz(save: Callable[..., None], **arrays: AnyArray) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def _compact(y: Labels, classes: int) -> AnyArray:
    return y.astype(np.min_scalar_type(classes - 1))


def _convert_all(
    model: keras.Model,
    x: FloatArray,
    plain: bool,
    per_tensor: bool,
    seed: int,
    verbose: bool,
    on_step: Callable[[str], None],
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The artifacts by file name, and the manifest's facts of the quantization."""
    facts: dict[str, Any] = {}

    def int8() -> dict[str, bytes]:
        result = quantize(
            model, x, plain=plain, per_channel=not per_tensor, seed=seed, progress=on_step, verbose=verbose
        )
        facts.update(result.facts())
        return {INT8: with_float_ends(result.model), FULL_INT8: result.model}

    converters: dict[str, Callable[[], dict[str, bytes]]] = {
        "float32.tflite": lambda: {"float32.tflite": tflite.convert(model, verbose)},
        INT8: int8,
        "float32.onnx": lambda: {"float32.onnx": onnx.convert(model, verbose)},
    }
    artifacts = dict[str, bytes]()
    for file, convert in converters.items():
        on_step(file)
        try:
            artifacts |= convert()
        except EdgeDigitsError:
            raise
        except Exception as cause:  # a converter may raise anything
            reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
            raise ExportError(
                f"{file}: the converter failed ({reason}); --verbose shows its output. No bundle was written"
            ) from cause
    return artifacts, facts


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


def _check(bundle: Bundle) -> ParityReport:
    """Parity in the first installed runtime of each format; ExportError unless every float row is exact."""
    chosen = {next((n for n in a.opened_by if RUNTIMES[n].installed), None) for a in bundle.manifest.artifacts}
    report = check_parity(bundle, runtimes=sorted(filter(None, chosen)), allow_mismatches=len(bundle.golden()))
    for row in report.rows:
        if not row.passed:
            found = row.message or f"{row.mismatches} of {row.images} images differ from Keras"
            raise ExportError(
                f"{row.artifact} in {row.runtime}: {found}. No bundle was written; please report the model"
            )
    unopened = {a.file for a in bundle.manifest.artifacts} - {row.artifact for row in report.rows}
    if unopened:
        raise ExportError(
            f"no installed runtime opens {', '.join(sorted(unopened))}, so it cannot be checked; "
            "pip install ai-edge-litert onnxruntime"
        )
    return report
