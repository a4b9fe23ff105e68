"""The command `edgedigits predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgedigits.commands.options import (
    json_option,
    memory_option,
    positive,
    refuse_overwriting,
    signature_options,
)
from edgedigits.errors import InputError
from edgedigits.system.limits import printable
from edgedigits.system.terminal import FAILED, TROUBLE, emit, progress_bar, quiet_stderr

if TYPE_CHECKING:
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.pictures.plain import PlainPicture
    from edgedigits.pictures.predictions import Row
    from edgedigits.pictures.preprocessing import Preprocessed
    from edgedigits.runtimes.tensors import FloatArray


@dataclass(frozen=True)
class _Input:
    """One picture or bundle image: the model's input and the steps to it, or the error that prevented it."""

    source: str
    row: FloatArray | None = None
    steps: Preprocessed | PlainPicture | None = None
    error: str = ""


@click.command(short_help="Predict the class of each picture, such as its digit.")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path, readable=False))
@click.option("--index", "indices", multiple=True, type=int, metavar="N", help="Image N of the bundle; repeatable.")
@click.option(
    "--bundle", type=click.Path(path_type=Path), help="A directory, .zip, robust or notebook. [default: robust]"
)
@click.option("--artifact", help="An artifact such as int8.tflite, or int8 for short.")
@click.option("--runtime", help="litert, tflite-runtime, onnxruntime, numpy or tensorflow.")
@click.option("--ascii", "as_ascii", is_flag=True, help="Show the model's input as text.")
@click.option("--explain", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw each preprocessing step.")
@json_option
@click.option("--csv", "csv_file", metavar="FILE", help="Write the result as CSV; - is standard output.")
@click.option("--strict", is_flag=True, help="Exit with status 1 if a prediction is unsure.")
@signature_options
@click.option(
    "--timeout", type=float, callback=positive, metavar="SECONDS", help="Abort after SECONDS. [default: never]"
)
@memory_option
def predict(bundle: Path | None, timeout: float | None, memory_bytes: int | None, **options: Any) -> int:
    """Predict the class of each picture.

    The bundles that come with edgedigits read one digit: any size, dark on light or light on dark, a photo, a scan or a
    drawing. For another model a picture is resized and scaled as `edgedigits inspect` shows under "contract".

    IMAGES are files, folders, patterns, or - for standard input. Each prediction is `sure`, or `unsure` with reasons.
    Unreadable pictures are reported on standard error; the exit status is then 2. A bundle that does not come with
    edgedigits runs in a separate process, which contains crashes of its runtime.
    """
    packaged = bundle is None or (str(bundle) in ("notebook", "robust") and not bundle.exists())
    if packaged and timeout is None and memory_bytes is None:
        return _predict(bundle, **options)
    from edgedigits.system.isolation import run_guarded

    return run_guarded(lambda: _predict(bundle, **options), timeout, memory_bytes, debug="--debug" in sys.argv)


def _predict(
    bundle: Path | None,
    images: Sequence[Path],
    indices: Sequence[int],
    artifact: str | None,
    runtime: str | None,
    as_ascii: bool,
    explain: Path | None,
    json_file: str | None,
    csv_file: str | None,
    strict: bool,
    signed_by: Sequence[Path | str] | None,
) -> int:
    if not images and not indices:
        raise click.UsageError("nothing to read; give one or more pictures, or --index N")
    if json_file == "-" and csv_file == "-":
        raise click.UsageError("--json - and --csv - both write to standard output; give one of them a file")
    refuse_overwriting([*images, *filter(None, [bundle])], explain, json_file, csv_file)
    from edgedigits.bundle.bundle import Bundle, reading_bundle

    opened = Bundle(reading_bundle() if bundle is None else bundle, signed_by=signed_by)
    if opened.manifest.contract.pictures == "none":
        _refuse_pictures(opened, images, as_ascii, explain)
    inputs = list(_load_inputs(opened, images, indices))  # before the runtime starts, so that errors appear at once
    for each in inputs:
        if each.error:
            click.echo(f"edgedigits: {printable(each.error)}", err=True)
    rows = _predict_rows(opened, inputs, artifact, runtime)
    _write_results(opened, inputs, rows, as_ascii, json_file, csv_file)
    if explain:
        _explain(opened, inputs, rows, explain)
    if any(each.row is None for each in inputs):
        return TROUBLE
    return FAILED if strict and any(row["status"] != "sure" for row in rows) else 0


def _refuse_pictures(bundle: Bundle, images: Sequence[Path], as_ascii: bool, explain: Path | None) -> None:
    """InputError for pictures, and for drawings of inputs that are none."""
    takes_none = f"the model of {bundle.path} takes no pictures"
    if images:
        raise InputError(f"{takes_none}; export it with --pictures plain, or use --index N")
    if as_ascii or explain:
        raise InputError(f"{takes_none}, so its inputs cannot be drawn; leave out --ascii and --explain")


def _load_inputs(bundle: Bundle, images: Sequence[Path], indices: Sequence[int]) -> Iterator[_Input]:
    """Preprocess every picture; an unreadable one yields an error, an index out of range raises InputError."""
    from edgedigits.pictures.sources import expand

    rows = [_Input(f"X[{index}]", bundle.input_row(index)) for index in indices]
    sources = list(expand(images))
    with progress_bar(shown=len(sources) >= 20) as show:  # fewer do not take long enough
        for done, source in enumerate(sources):
            show(done, len(sources))
            yield _load_picture(source, bundle)
    yield from rows


def _load_picture(source: Path | InputError, bundle: Bundle) -> _Input:
    from edgedigits.pictures.reading import read_picture
    from edgedigits.pictures.sources import read_stdin

    if isinstance(source, InputError):
        return _Input(str(source).partition(": ")[0], error=str(source))
    name = "standard input" if str(source) == "-" else click.format_filename(source)
    try:
        steps = read_picture(read_stdin() if str(source) == "-" else source, bundle.manifest.contract, name)
    except InputError as error:
        return _Input(name, error=" ".join(str(error).split()))
    return _Input(name, steps.row, steps)


def _predict_rows(bundle: Bundle, inputs: Sequence[_Input], artifact: str | None, runtime: str | None) -> list[Row]:
    """One row per input; the runtime is started only if there is something to predict."""
    from edgedigits.pictures.predictions import prediction_row, to_reading, unread_row

    contract = bundle.manifest.contract
    rows = [unread_row(each.source, each.error, contract) for each in inputs]
    if all(each.row is None for each in inputs):
        return rows
    from edgedigits.classifier import Classifier

    with quiet_stderr():
        classifier = Classifier(bundle, artifact, runtime)
    with classifier:
        model = {"artifact": classifier.artifact.file, "runtime": classifier.runtime}
        for number, each in enumerate(inputs):
            if each.row is not None:
                reasons = each.steps.implausibilities if each.steps else ()
                probabilities = classifier.probabilities(each.row).tolist()
                read = to_reading(probabilities, reasons, classifier.labels, contract)
                rows[number] = prediction_row(each.source, probabilities, read, contract) | model
    return rows


def _write_results(
    bundle: Bundle,
    inputs: Sequence[_Input],
    rows: Sequence[Row],
    as_ascii: bool,
    json_file: str | None,
    csv_file: str | None,
) -> None:
    """Print a line per prediction, unless JSON or CSV goes to standard output, and write the requested files."""
    from edgedigits.pictures.predictions import format_row, to_ascii, to_brightness, to_csv

    labels, contract = bundle.manifest.labels, bundle.manifest.contract
    lines = []
    for each, row in zip(inputs, rows, strict=True):
        if each.row is not None:
            lines += [to_ascii(to_brightness(each.row, contract))] if as_ascii else []
            lines.append(format_row(row, labels))
    text = "\n".join(lines)
    if csv_file == "-":
        text = to_csv(rows, labels, contract).rstrip("\n")
    elif csv_file is not None:
        from edgedigits.system.files import write_text

        write_text(Path(csv_file), to_csv(rows, labels, contract))
    emit(rows, text, json_file)


def _explain(bundle: Bundle, inputs: Sequence[_Input], rows: Sequence[Row], target: Path) -> None:
    """Draw the steps of every prediction, if there is one."""
    from edgedigits.pictures.explain import Step, draw_steps
    from edgedigits.pictures.predictions import to_brightness

    contract = bundle.manifest.contract
    steps = [
        Step(each.steps, to_brightness(each.row, contract), row)
        for each, row in zip(inputs, rows, strict=True)
        if each.row is not None
    ]
    if steps:
        draw_steps(steps, bundle.manifest.labels, contract.pictures == "digits", target)
