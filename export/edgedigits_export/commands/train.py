"""The command `edgedigits train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgedigits.system.terminal import progress_bar
from edgedigits_export.commands.options import (
    data_option,
    hold,
    load_data,
    load_unseen,
    needs,
    out_option,
    seed_option,
)
from edgedigits_export.interrupts import heard


@click.command(short_help="Train the network as the notebook does, or on warped digits.")
@data_option
@out_option
@seed_option
@click.option("--epochs", type=click.IntRange(min=1), help="[default: 40; robust: 300]")
@click.option(
    "--recipe",
    type=click.Choice(["notebook", "robust"]),
    default="notebook",
    show_default=True,
    help="robust: fresh warps of the digits each epoch; it needs source.npz beside the data.",
)
@needs("tensorflow", "matplotlib")
@heard()
def train(data: Path | None, out: Path, seed: int, epochs: int | None, recipe: str) -> None:
    """Train the 400-25-15-10 network; write model.keras, history.json and the figures."""
    from edgedigits.system.files import locked
    from edgedigits_export.training import notebook as training

    x, y = load_data(data)
    written = ("model.keras", "history.json", "samples.png", "loss.png", "mistakes.png")
    hold(locked(*(out / name for name in written)))
    unseen = load_unseen(data)
    from edgedigits_export.quiet import start_tensorflow

    start_tensorflow()
    from edgedigits_export import figures
    from edgedigits_export.training import robust

    images = robust.sources(data or Path("data"), x, y) if recipe == "robust" else None
    epochs = epochs or (training.EPOCHS if images is None else robust.EPOCHS)
    click.echo(f"X {x.shape} {x.dtype}, y {y.shape}, X[0] {x[0].shape}, y[0] {y[0]}")

    def describe(model: Any) -> None:
        model.summary(print_fn=lambda line: click.echo(line), line_length=78)
        for name, weights, biases in training.shapes(model):
            click.echo(f"{name}: weights {weights}, biases {biases}")

    held_back = unseen and unseen[1:]
    with progress_bar() as show:
        options: Any = {
            "unseen": held_back,
            "seed": seed,
            "epochs": epochs,
            "on_start": describe,
            "on_epoch": lambda epoch, _: show(epoch, epochs),
        }
        result = training.train(x, y, **options) if images is None else robust.train_robust(x, y, images, **options)
    history = result.history
    every = 1 if images is None else max(1, epochs // 20)
    for epoch, value in enumerate(history["loss"], start=1):
        if epoch % every == 0:
            click.echo(f"epoch {epoch:>{len(str(epochs))}}/{epochs}  loss {value:.4f}")
    click.echo(f"{history['errors']} errors of {len(x)}, loss {history['final_loss']:.4f}, {history['seconds']:.1f} s")
    if history["unseen_accuracy"] is None:
        click.echo("accuracy on unseen digits: not measured, there is no unseen.npz beside the data")
    else:
        click.echo(f"accuracy on {history['unseen_images']} digits never seen: {history['unseen_accuracy']:.2%}")
    training.save(result, out)
    for name, figure in (
        ("samples", figures.samples(x, y)),
        ("loss", figures.loss(history["loss"])),
        ("mistakes", figures.mistakes(x, y, result.logits)),
    ):
        figures.save(figure, out / f"{name}.png")
    click.echo(f"wrote {out / written[0]}, {', '.join(written[1:])}")
