"""Keras model to bundle: convert, describe, reopen every artifact in a runtime, compare, and only then put in place."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits import __version__
from edgedigits.bundle import rows
from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, Artifact, Bundle, Manifest
from edgedigits.bundle.dataset import Labels
from edgedigits.errors import EdgeDigitsError, ExportError, ModelError
from edgedigits.parity.check import check_parity
from edgedigits.parity.metrics import mismatched
from edgedigits.parity.result import ParityReport
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import RUNTIMES, runtimes_for
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.archive import write_zip
from edgedigits.system.files import atomic_directory, atomic_file, locked, sha256
from edgedigits_export.converting import onnx, tflite
from edgedigits_export.int8 import quantize
from edgedigits_export.quiet import caught
from edgedigits_export.training import calibration
from edgedigits_export.training.golden import logits_of

if TYPE_CHECKING:
    import keras

TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "numpy")
PREPROCESSING = {
    "input": "one row of pixels an image, float32, column by column: row.reshape(20, 20).T is upright",
    "range": "0 background, 1 ink; the resize overshoots by up to 0.13",
    "geometry": "MNIST 28x28 (box 20x20, centered by mass), shrunk to 20x20 bicubic and antialiased",
}


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
    unseen: Callable[[], tuple[AnyArray, FloatArray, Labels] | None] = lambda: None,
    verbose: bool = False,
    on_step: Callable[[str], None] = lambda line: None,
) -> ParityReport:
    """Write the bundle to ``out``, a directory or a .zip, whole or not at all.

    Args:
        model: a Keras classifier of (n,) inputs, as :func:`edgedigits_export.training.model.load` gives it.
        x, y: the inputs that parity will be proven on, (m, n) float32, and their labels (m,).
        training: facts for the manifest.
        plain_int8: quantize as the converter does by itself, instead of tuning for parity.
        per_tensor: one scale a weight matrix, for runtimes that cannot read one a channel.
        seed: of the tuning.
        temperature: gives what logits are divided by before the softmax, or None where that is not known. Called once
            the artifacts are made: whatever it trains cannot change them.
        unseen: gives the images (m, 28, 28) uint8, inputs (m, n) and labels (m,) of digits that nothing was trained on,
            or None. Called last, so that neither the artifacts nor the temperature can depend on it.
        verbose: let the converters talk.
        on_step: called with one line before each step.

    Returns:
        The report of the check that the bundle passed: each artifact in one runtime.

    Raises:
        ExportError: the converter failed, a float artifact answers otherwise than the model, or ``out`` is in the way.
    """
    _require_free(out)
    if x.shape[1] != model.input_shape[1]:
        raise ExportError(
            f"the model takes {model.input_shape[1]} values and X has {x.shape[1]}; give the model's own data"
        )
    on_step("golden outputs")
    golden = logits_of(model, x)
    if not np.isfinite(golden).all():
        raise ExportError("the model answers NaN or infinity on some inputs; train it again")
    quantization: dict[str, Any] = {}

    def quantized() -> bytes:
        result = quantize.quantize(
            model, x, plain=plain_int8, per_channel=not per_tensor, seed=seed, progress=on_step, verbose=verbose
        )
        quantization.update(result.facts())
        return result.model

    makers: tuple[tuple[str, Callable[[], bytes], bool], ...] = (
        ("float32.tflite", lambda: tflite.convert(model), verbose),
        ("int8.tflite", quantized, True),  # it tells how far it is, and keeps the converter quiet itself
        ("float32.onnx", lambda: onnx.convert(model), verbose),
    )
    contents = {}
    for file, make, show in makers:
        on_step(file)
        contents[file] = _converted(file, make, show)
    hashes = {"X": sha256(x.tobytes()), "y": sha256(y.tobytes())}
    logits = {"logits": golden}
    on_step("calibration")
    divisor = temperature()
    held_back = unseen()
    if held_back is not None:
        logits["unseen_logits"] = logits_of(model, held_back[1])
        hashes["unseen"] = sha256(held_back[0].tobytes())
        quantization["unseen_images"] = len(held_back[1])
        quantization["unseen_mismatches"] = _flips(contents["int8.tflite"], held_back[1], logits["unseen_logits"])
    judged = None if held_back is None else (logits["unseen_logits"], held_back[2])
    calibrated = {} if divisor is None else calibration.facts(divisor, judged)

    def fill(folder: Path) -> ParityReport:
        arrays = {
            INPUTS: _npz(np.savez, X=x, y=y.astype(np.uint8)),  # not compressed, so that one row can be read alone
            GOLDEN: _npz(np.savez_compressed, **logits),
        }
        for file, content in {**contents, **arrays}.items():
            (folder / file).write_bytes(content)
        with caught(verbose):
            artifacts = tuple(_describe(file, content, quantization) for file, content in contents.items())
        manifest = Manifest(
            name=name,
            artifacts=artifacts,
            files={file: sha256(content) for file, content in arrays.items()},
            images=len(x),
            labels=tuple(str(c) for c in range(golden.shape[1])),
            preprocessing=PREPROCESSING if x.shape[1] == 400 else {},
            training=training,
            versions={"edgedigits": __version__, **{tool: version(tool) for tool in TOOLS}},
            data=hashes,
            calibration=calibrated,
            rows=rows.describe(arrays[INPUTS], x),
        )
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        on_step("reopening every artifact in a runtime")
        return _reopen(Bundle(folder))

    if out.suffix == ".zip":
        with TemporaryDirectory() as name:
            folder = Path(name)
            report = fill(folder)
            with atomic_file(out) as temporary:
                write_zip(temporary, {file.name: file for file in folder.iterdir()})
    else:
        with atomic_directory(out) as folder:
            report = fill(folder)
    return report


@contextlib.contextmanager
def locked_bundle(out: Path) -> Iterator[None]:
    """Hold the place of a bundle for the length of a block, so that who exports there as well is told at its start.

    Raises:
        ExportError: something other than an older bundle stands there.
        EdgeDigitsError: another process is exporting there, or it cannot be written.
    """
    _require_free(out)
    with locked(out):
        yield


def _npz(save: Callable[..., None], **arrays: AnyArray) -> bytes:
    """An .npz in memory: on a full disk NumPy leaves an open file behind, which complains when it is collected."""
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def _flips(int8_file: bytes, x: FloatArray, golden: FloatArray) -> int:
    """How many answers on (m, n) inputs the int8 file changes, in TensorFlow's own interpreter."""
    with caught(), Session(int8_file, "tflite", "tensorflow") as session:
        return len(mismatched(session.run(x), golden))


def _require_free(out: Path) -> None:
    """ExportError if something other than an older bundle stands where the new one is to go."""
    if out.suffix == ".zip":
        if out.is_dir():
            raise ExportError(f"{out} is a directory; give another name for the .zip")
    elif out.is_file():
        raise ExportError(f"{out} is a file; give the name of a directory, or one ending in .zip")
    elif out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ExportError(f"{out} holds other files and is not a bundle; give an empty or new directory")


def _converted(file: str, make: Callable[[], bytes], show: bool) -> bytes:
    try:
        with caught(show):
            return make()
    except EdgeDigitsError:
        raise
    except Exception as cause:
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise ExportError(
            f"{file}: the converter failed ({reason}); --verbose shows all it said. No bundle was written"
        ) from cause


def _describe(file: str, content: bytes, quantization: dict[str, Any]) -> Artifact:
    kind = Path(file).suffix[1:]
    given, got, facts = {"tflite": tflite.describe, "onnx": onnx.describe}[kind](content)
    if got.scale is not None:
        facts["quantization"] = quantization
    return Artifact(file, kind, _opened_by(content, kind), sha256(content), len(content), given, got, facts)


def _opened_by(content: bytes, kind: str) -> tuple[str, ...]:
    """The runtimes that open files of this kind; the numpy one only where it has every operator."""
    names = runtimes_for(kind)
    if "numpy" in names:
        try:
            Session(content, kind, "numpy").close()
        except ModelError:
            names = tuple(name for name in names if name != "numpy")
    return names


def _reopen(bundle: Bundle) -> ParityReport:
    """Parity in the first installed runtime of each format; ExportError unless every float row is exact."""
    chosen = {next((n for n in a.opened_by if RUNTIMES[n].installed), None) for a in bundle.manifest.artifacts}
    report = check_parity(bundle, runtimes=sorted(filter(None, chosen)), allow_mismatches=len(bundle.golden()))
    for row in report.rows:
        if not row.passed:
            found = row.message or f"{row.mismatches} of {row.images} images answer differently"
            raise ExportError(
                f"{row.artifact} in {row.runtime}: {found}. No bundle was written; please report the model"
            )
    unopened = {a.file for a in bundle.manifest.artifacts} - {row.artifact for row in report.rows}
    if unopened:
        raise ExportError(
            f"no runtime is installed that opens {', '.join(sorted(unopened))}, so it cannot be checked; "
            "pip install 'edgedigits[runtimes]'"
        )
    return report
