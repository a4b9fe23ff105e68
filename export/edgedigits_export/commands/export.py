"""The command `edgedigits export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgedigits.commands.options import positive
from edgedigits.system.terminal import FAILED, progress
from edgedigits_export.commands.options import (
    BUILD,
    data_option,
    hold,
    labels_from_option,
    load_dataset,
    load_unseen,
    needs,
    seed_option,
    test_fraction_option,
)
from edgedigits_export.interrupts import exit_on_interrupt

if TYPE_CHECKING:
    from edgedigits.parity.result import ParityReport


@click.command(short_help="Export a Keras classifier to a bundle.")
@click.option(
    "--model",
    "model_path",
    type=click.Path(path_type=Path),
    default=BUILD / "model.keras",
    show_default=True,
    help="The model: .keras, .h5 or a SavedModel folder.",
)
@data_option
@labels_from_option
@test_fraction_option
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=BUILD / "bundle",
    show_default=True,
    help="A directory, or a name that ends in .zip.",
)
@click.option("--name", default=None, help="The bundle's name. [default: the model's]")
@click.option(
    "--labels", "labels_path", type=click.Path(path_type=Path, dir_okay=False), help="Text file, one class name a line."
)
@click.option(
    "--pictures",
    type=click.Choice(["digits", "plain", "none"]),
    help="How a picture becomes an input: digits as the course's (400,); plain, resized; or none. [default: digits for "
    "models of `edgedigits train`, else none]",
)
@click.option(
    "--order",
    type=click.Choice(["rows", "columns"]),
    help="Pixels of a picture by rows or by columns. [default: rows; columns for digits]",
)
@click.option(
    "--scale",
    type=click.FloatRange(1e-6, 1e6),
    callback=positive,  # a range lets NaN through
    metavar="S",
    help="Divide the pixels of plain pictures, 0 to 255, by it. [default: 255 if X ends near 1, else 1]",
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Make only this artifact: tflite, int8, onnx or a file. Repeatable."
)
@click.option(
    "--allow-mismatches",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Let int8 pass with up to N mismatches. [default: 0]",
)
@click.option("--plain", is_flag=True, help="Use the converter's own quantization, without tuning.")
@click.option("--per-tensor", is_flag=True, help="Use per-tensor weight scales instead of per-channel.")
@seed_option
@click.option("--verbose", is_flag=True, help="Show the converters' output.")
@exit_on_interrupt()
@needs("tensorflow", "tf2onnx", "onnx")
def export(
    model_path: Path,
    data: Path | None,
    labels_from: str | None,
    test_fraction: float | None,
    out: Path,
    name: str | None,
    labels_path: Path | None,
    pictures: str | None,
    order: str | None,
    scale: float | None,
    only: tuple[str, ...],
    allow_mismatches: int,
    plain: bool,
    per_tensor: bool,
    seed: int,
    verbose: bool,
) -> None:
    """Export a Keras classifier to a bundle: TFLite float32 and int8, ONNX, and the reference outputs.

    Every artifact is compared with the Keras model on all of X, so give the data that the model was trained on. Exit
    status 1: an artifact fails that comparison, or one that --only names cannot be made; the bundle is written.
    """
    from edgedigits.parity.result import kernel_text
    from edgedigits_export.converting.artifacts import chosen_files
    from edgedigits_export.converting.bundle import RECIPES, export_bundle, failures, locked_bundle
    from edgedigits_export.converting.loading import load, require
    from edgedigits_export.training.calibration import temperature_for
    from edgedigits_export.training.notebook import history_of

    require(model_path)
    files = chosen_files(only)
    names = read_labels(labels_path) if labels_path else []
    hold(locked_bundle(out))
    model = load(model_path)
    was_signed = is_signed(out)
    dataset = load_dataset(
        data,
        model.input_shape[1:],
        max(2, model.output_shape[1]),
        names=names,
        labels_from=labels_from,
        test_fraction=test_fraction,
        seed=seed,
    )
    x, y = dataset.x, dataset.y
    training = {key: value for key, value in history_of(model_path).items() if key not in ("loss", "seconds")}
    digits = pictures == "digits" or (pictures is None and training.get("recipe") in RECIPES)
    report = export_bundle(
        model,
        x,
        y,
        out,
        name=name or model.name,
        training=training,
        plain_int8=plain,
        per_tensor=per_tensor,
        seed=seed,
        temperature=lambda: temperature_for(training, x, y),
        labels=dataset.labels,
        held_out=lambda: dataset.held_out or (load_unseen(data) if digits else None),
        pictures=pictures,
        order=order,
        scale=scale,
        only=only,
        allow_mismatches=allow_mismatches,
        verbose=verbose,
        on_step=progress,
        on_note=_note,
    )
    progress("")
    _print_parity(report)
    for line in kernel_text(report.rows):
        click.echo(line)
    failed = failures(report)
    for file, wrong in failed.items():
        click.echo(f"{file} fails parity: {wrong}")
    click.echo(f"wrote {out}")
    if was_signed:
        click.echo(f"the replaced bundle was signed, the new one is not: edgedigits sign {out} --key NAME.key")
    missing = bool(only) and len({row.artifact for row in report.rows}) < len(files)
    if failed or missing:
        raise SystemExit(FAILED)


def read_labels(path: Path) -> list[str]:
    """The class names in a text file, one a line; InputError if it cannot be read, or names a class twice."""
    from edgedigits.errors import InputError

    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(f"{path}: cannot be read as text ({cause}); expected one class name a line") from cause
    wrong = next((name for name in names if not name or names.count(name) > 1 or not name.isprintable()), None)
    if wrong is not None:
        raise InputError(
            f"{path}: {f'{wrong!r} is there twice' if wrong else 'an empty line'}; expected one class name a line"
        )
    return names


def _note(line: str) -> None:
    """Print a line at once, a warning on standard error."""
    progress("")
    click.echo(line, err=line.startswith("warning: "))


def _print_parity(report: ParityReport) -> None:
    for artifact in dict.fromkeys(row.artifact for row in report.rows):
        rows = [row for row in report.rows if row.artifact == artifact]
        worst = max(row.mismatches or 0 for row in rows)
        leads = [row.min_lead_quanta for row in rows if row.min_lead_quanta is not None]
        lead = f", smallest lead {min(leads)} quanta" if leads else ""
        where = f"{rows[0].runtime} ({', '.join(row.kernels for row in rows)})"
        click.echo(f"{artifact}: {worst} of {rows[0].images} mismatches in {where}{lead}")


def is_signed(out: Path) -> bool:
    """Whether a signed bundle exists at ``out``, damaged or not."""
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.errors import BundleError

    try:
        return out.exists() and Bundle(out).signature() is not None
    except BundleError:
        return False
