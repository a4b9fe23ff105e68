"""The command `edgedigits run`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.benchmark import benchmark
from edgedigits.commands.parity import parity
from edgedigits.commands.predict import predict
from edgedigits_export.commands.export import export
from edgedigits_export.commands.options import data_option, needs, out_option, seed_option
from edgedigits_export.commands.train import train
from edgedigits_export.interrupts import exit_on_interrupt


@click.command(short_help="Train, export, check parity, benchmark and predict.")
@data_option
@out_option
@seed_option
@click.pass_context
@exit_on_interrupt()
@needs("tensorflow", "tf2onnx", "onnx", "matplotlib")
def run(context: click.Context, data: Path | None, out: Path, seed: int) -> None:
    """Train a model, export it, check parity, run a short benchmark and predict X[1015]."""
    bundle = out / "bundle"
    status = 0
    for title, command, options in (
        ("Train", train, {"data": data, "out": out, "seed": seed}),
        ("Export", export, {"model_path": out / "model.keras", "data": data, "out": bundle, "name": "notebook"}),
        ("Parity", parity, {"bundle": bundle}),
        ("Benchmark", benchmark, {"bundle": bundle, "windows": 2, "min_seconds": 0.5}),
        ("Predict", predict, {"indices": [1015], "bundle": bundle}),
    ):
        click.secho(f"\n{title}", bold=True)
        try:
            context.invoke(command, **options)
        except SystemExit as end:
            status = max(status, int(end.code or 0))
    click.echo(f"\nThe bundle is {bundle}; try `edgedigits parity {bundle}` on another machine.")
    raise SystemExit(status)
