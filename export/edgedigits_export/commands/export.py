"""The command `edgedigits export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgedigits.system.terminal import progress
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
    help="The Keras model.",
)
@data_option
@labels_from_option
@test_fraction_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=BUILD / "bundle",
    show_default=True,
    help="A directory, or a name that ends in .zip.",
)
@click.option("--name", default=None, help="The bundle's name. [default: the model's]")
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
    plain: bool,
    per_tensor: bool,
    seed: int,
    verbose: bool,
) -> None:
    """Export a Keras classifier with (n,) inputs to a bundle: TFLite float32 and int8, ONNX, and the reference logits.

    Every artifact is compared with the Keras model on all of X, so give the data that the model was trained on.
    """
    from edgedigits.parity.result import kernel_text
    from edgedigits_export.converting.bundle import export_bundle, locked_bundle
    from edgedigits_export.training.calibration import temperature_for
    from edgedigits_export.training.model import load, require
    from edgedigits_export.training.notebook import history_of

    require(model_path)
    hold(locked_bundle(out))
    model = load(model_path)
    was_signed = is_signed(out)
    dataset = load_dataset(
        data,
        model.input_shape[1:],
        max(2, model.output_shape[1]),
        labels_from=labels_from,
        test_fraction=test_fraction,
        seed=seed,
    )
    x, y = dataset.x, dataset.y
    training = {key: value for key, value in history_of(model_path).items() if key not in ("loss", "seconds")}
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
        held_out=lambda: dataset.held_out or (load_unseen(data) if x.shape[1:] == (400,) else None),
        verbose=verbose,
        on_step=progress,
        on_note=_note,
    )
    progress("")
    _print_parity(report)
    for line in kernel_text(report.rows):
        click.echo(line)
    click.echo(f"wrote {out}")
    if was_signed:
        click.echo(f"the replaced bundle was signed, the new one is not: edgedigits sign {out} --key NAME.key")


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
