"""Keras model to bundle: convert, describe, check the parity of every artifact, and only then write to ``out``."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits import __version__
from edgedigits.bundle.bundle import GOLDEN, HELD_OUT, INPUTS, MANIFEST, Bundle, BundleFiles, Manifest
from edgedigits.bundle.contract import Contract
from edgedigits.bundle.dataset import Labels
from edgedigits.bundle.manifest import InputRows
from edgedigits.bundle.probes import PROBES
from edgedigits.errors import EdgeDigitsError, ExportError
from edgedigits.parity.check import check_parity
from edgedigits.parity.result import ParityReport
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.files import atomic_directory, atomic_file, locked, sha256, write_zip
from edgedigits.system.limits import RefusedError
from edgedigits.system.text import to_json
from edgedigits_export.converting.artifacts import FULL_INT8, INT8, chosen_files, convert_all
from edgedigits_export.converting.held_out import judge
from edgedigits_export.converting.loading import with_shape
from edgedigits_export.converting.outputs import output_kind
from edgedigits_export.int8.probes import find_probes
from edgedigits_export.interrupts import interrupts_deferred
from edgedigits_export.training import calibration
from edgedigits_export.training.checks import accuracy_lines
from edgedigits_export.training.data import HeldOut
from edgedigits_export.training.model import checked_logits, logits_of

if TYPE_CHECKING:
    import keras

RECIPES = ("notebook", "robust")  # of `edgedigits train`: their models read the course's digits
FAR_PROBABILITY = 0.05  # on average, from which an int8 file is no longer trusted with probabilities
MOST_OF_UNIT = 1.5  # the largest value of an X that is meant to be 0 to 1; the course's resize overshoots to 1.13
TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "numpy")


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
    pictures: str | None = None,
    order: str | None = None,
    scale: float | None = None,
    only: Sequence[str] = (),
    allow_mismatches: int = 0,
    verbose: bool = False,
    on_step: Callable[[str], None] = lambda line: None,
    on_note: Callable[[str], None] = lambda line: None,
) -> ParityReport:
    """Write the bundle to ``out``, a directory or a .zip, whole or not at all.

    Args:
        model: a Keras classifier, from :func:`edgedigits_export.converting.loading.load`.
        x, y: the inputs that parity is checked on, (m, ...) float32, and their labels (m,).
        training: facts for the manifest.
        plain_int8: use the converter's own quantization instead of tuning for parity.
        per_tensor: use per-tensor weight scales instead of per-channel.
        seed: random seed of the tuning.
        temperature: returns the softmax temperature, or None if it is unknown. Called after the conversion, so that
            what it trains cannot change the artifacts.
        labels: the names of the classes; empty means their numbers.
        held_out: returns inputs and labels that were not tuned on, or None. Called last, so that neither the artifacts
            nor the temperature can depend on them.
        pictures, order, scale: how a picture becomes an input, as in
            :class:`edgedigits.bundle.contract.Contract`; by default as the recipe in ``training`` says, or not at all.
        only: the artifacts to make, by file name or by kind (tflite, int8, onnx); all by default.
        allow_mismatches: how many an int8 artifact may have.
        verbose: show the converters' output.
        on_step: called with one line before each step.
        on_note: called with each line that is to be read: the accuracy, warnings, what is left out and why,
            the result on what was held out.

    Returns:
        The parity report of the new bundle: each artifact in one runtime. The bundle is written also if it fails.

    Raises:
        ExportError: the model or the options do not fit, every conversion failed, or ``out`` is not a bundle.
    """
    _check_replaceable(out)
    files = chosen_files(only)
    model = with_shape(model, x.shape[1:])
    on_step("reference outputs")
    golden = {"logits": checked_logits(model, x)}
    contract = _contract(x, output_kind(model, golden["logits"]), pictures, order, scale, training.get("recipe"))
    classes = contract.scores(golden["logits"][:1]).shape[1]
    most = max(abs(float(x.min())), abs(float(x.max())))
    if contract.pictures == "plain" and not most / 10 <= 255 / contract.scale <= most * 10:
        on_note(
            f"warning: --scale {contract.scale:g} makes values up to {255 / contract.scale:g} of a picture, those of X "
            f"reach {most:g}; --scale {255 / most:.3g} fits"
        )

    def predicted(outputs: FloatArray) -> Labels:
        classes_of: Labels = contract.scores(outputs).argmax(axis=1)
        return classes_of

    for line in accuracy_lines(
        lambda some: predicted(logits_of(model, some)), predicted(golden["logits"]), x, y, classes, labels
    ):
        on_note(line)
    described, artifacts, quantization = convert_all(
        model,
        x,
        contract,
        files,
        plain=plain_int8,
        per_tensor=per_tensor,
        seed=seed,
        verbose=verbose,
        on_step=on_step,
        on_note=on_note,
    )
    on_step("calibration")
    divisor = temperature()
    data = {"X": sha256(x.tobytes()), "y": sha256(y.tobytes())}
    held, judged, arrays = held_out(), None, dict[str, bytes]()
    probes = find_probes(artifacts[FULL_INT8], x, seed) if FULL_INT8 in artifacts else None
    if probes is not None:
        arrays[PROBES] = _npz(np.savez_compressed, **probes.arrays())
    if held is not None:
        golden["unseen_logits"] = logits_of(model, held.x)
        judged = golden["unseen_logits"], held.y
        if held.images is not None:
            data["unseen"] = sha256(held.images.tobytes())
        else:
            arrays[HELD_OUT] = _npz(np.savez_compressed, X=held.x, y=_compact(held.y, classes))
        int8 = artifacts.get(FULL_INT8) or artifacts.get(INT8)
        if int8 is not None:
            facts, line = judge(int8, contract, held.x, held.y, golden["unseen_logits"])
            quantization.update(facts)  # the described artifacts hold this dictionary
            on_note(f"{INT8}: {line}")
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
        report = _check(Bundle(folder), allow_mismatches)
        failed = failures(report)
        if failed:
            for artifact in described:
                if artifact.file in failed:
                    artifact.facts["fails_parity"] = failed[artifact.file]
            (folder / MANIFEST).write_bytes(to_json(manifest.to_dict()).encode())
        with interrupts_deferred():
            _place(folder, out)
    if contract.output != "logits":
        _warn_of_probabilities(report, on_note)
    return report


def _warn_of_probabilities(report: ParityReport, on_note: Callable[[str], None]) -> None:
    """Say which int8 artifacts give probabilities far from the trained model's."""
    worst = {row.artifact: row for row in report.rows if row.min_lead_quanta is not None and row.mean_abs_diff}
    for file, row in worst.items():
        if (row.mean_abs_diff or 0) > FAR_PROBABILITY:
            on_note(
                f"warning: the probabilities of {file} differ from Keras's by {row.mean_abs_diff:.2f} on average and "
                f"by up to {row.max_abs_diff:.2f}; where they matter, use a float32 artifact"
            )


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
        if out.exists() and not _is_bundle(out):
            raise ExportError(f"{out} is not a bundle; give another name, or remove it first")
    elif out.is_file():
        raise ExportError(f"{out} is a file; give the name of a directory, or one ending in .zip")
    elif out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ExportError(f"{out} holds other files and is not a bundle; give an empty or new directory")


def _is_bundle(path: Path) -> bool:
    """Whether a .zip holds a manifest."""
    try:
        return MANIFEST in BundleFiles(path).names()
    except EdgeDigitsError:
        return False


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


def _check(bundle: Bundle, allow_mismatches: int) -> ParityReport:
    """Parity of each artifact in the first installed runtime of its format."""
    chosen = {next((n for n in a.opened_by if RUNTIMES[n].installed), None) for a in bundle.manifest.artifacts}
    report = check_parity(bundle, runtimes=sorted(filter(None, chosen)), allow_mismatches=allow_mismatches)
    unopened = {a.file for a in bundle.manifest.artifacts} - {row.artifact for row in report.rows}
    if unopened:
        raise ExportError(
            f"no installed runtime opens {', '.join(sorted(unopened))}, so it cannot be checked; "
            "pip install ai-edge-litert onnxruntime"
        )
    return report


def failures(report: ParityReport) -> dict[str, str]:
    """What is wrong with each artifact that fails parity, by file."""
    found = dict[str, str]()
    for row in report.rows:
        if not row.passed and row.artifact not in found:
            wrong = row.message or f"{row.mismatches} of {row.images} inputs differ from Keras, {row.allowed} may"
            found[row.artifact] = f"{wrong} ({row.runtime}, {row.kernels} kernels)"
    return found


def _contract(
    x: FloatArray, output: str, pictures: str | None, order: str | None, scale: float | None, recipe: Any
) -> Contract:
    """The contract of a model; ``pictures`` is what was asked for, or by default what the recipe says.

    Without a scale, plain pictures become values from 0 to 1 if those of x end there, and stay 0 to 255 otherwise.
    """
    pictures = pictures or ("digits" if recipe in RECIPES else "none")
    if order and pictures == "none":
        raise ExportError(f"--order {order} goes with --pictures plain or digits only, not with none")
    order = order or ("columns" if pictures == "digits" else "rows")
    if scale is None:
        scale = 255.0 if pictures == "plain" and float(x.max()) <= MOST_OF_UNIT else 1.0
    elif pictures != "plain":
        raise ExportError(f"--scale {scale:g} goes with --pictures plain only, not with {pictures}")
    try:
        return Contract(
            x.shape[1:], float(x.min()), float(x.mean(dtype=np.float64)), float(x.max()), pictures, order, scale, output
        )
    except RefusedError as cause:
        raise ExportError(f"--pictures {pictures} {cause}") from cause
