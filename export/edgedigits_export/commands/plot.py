"""The command `edgedigits plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgedigits.errors import InputError
from edgedigits_export.commands.options import BUILD, data_option, load_data, needs, seed_option


@click.command(short_help="Draw samples, loss, prediction or mistakes.")
@click.argument("figure", type=click.Choice(["samples", "loss", "prediction", "mistakes"]))
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="A directory, a .zip, notebook or robust. [default: build/bundle, or notebook; `samples`: the data]",
)
@data_option
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    default=BUILD / "history.json",
    show_default=True,
    help="The training history for `loss`.",
)
@click.option("--index", default=1015, show_default=True, help="The image of `prediction`.")
@seed_option
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The PNG file. [default: build/FIGURE.png]")
@click.option("--show", is_flag=True, help="Open a window instead of writing a file.")
@needs("matplotlib")
def plot(figure: str, out: Path | None, show: bool, **options: Any) -> None:
    """Draw one of the notebook's figures: samples, loss, prediction or mistakes."""
    from edgedigits_export import figures

    drawn = _draw(figure, **options)
    if show:
        figures.show(drawn)
        return
    target = out or BUILD / f"{figure}.png"
    figures.save(figures.png(drawn), target)
    click.echo(f"wrote {target}")


def _draw(figure: str, bundle: Path | None, data: Path | None, history: Path, index: int, seed: int) -> Any:
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.classifier import Classifier
    from edgedigits.system.limits import read_json
    from edgedigits_export import figures

    if figure == "samples" and bundle is None:
        return figures.samples(*load_data(data), seed)
    if figure == "loss":
        try:
            losses = [float(value) for value in read_json(history)["loss"]]
        except (OSError, ValueError, KeyError, TypeError) as cause:
            raise InputError(f"{history}: cannot read a training history ({cause}); run `edgedigits train`") from cause
        return figures.loss(losses)
    built = BUILD / "bundle"
    opened = Bundle(bundle or (built if built.is_dir() else None))
    contract, labels = opened.manifest.contract, opened.manifest.labels
    if figure == "samples":
        return figures.samples(*opened.inputs(), seed, contract, labels)
    if figure == "mistakes":
        return figures.mistakes(*opened.inputs(), opened.golden(), contract, labels)
    row = opened.input_row(index)
    with Classifier(opened) as classifier:
        return figures.prediction(row, classifier.probabilities(row), f"X[{index}]", contract, labels)
