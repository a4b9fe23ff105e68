"""The command `edgedigits train`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from edgedigits_export.interrupts import exit_on_interrupt, interrupts_deferred

if TYPE_CHECKING:
    from edgedigits.bundle.dataset import Labels
    from edgedigits.runtimes.tensors import FloatArray
    from edgedigits_export.training.notebook import Training

OUTPUTS = ("model.keras", "history.json", "samples.png", "loss.png", "mistakes.png")


@click.command(short_help="Train the network by the notebook's recipe, or on augmented digits.")
@data_option
@out_option
@seed_option
@click.option("--epochs", type=click.IntRange(min=1), help="[default: 40; robust: 300]")
@click.option(
    "--recipe",
    type=click.Choice(["notebook", "robust"]),
    default="notebook",
    show_default=True,
    help="robust: augment the digits anew in each epoch; needs source.npz in the data folder.",
)
@exit_on_interrupt()
@needs("tensorflow", "matplotlib")
def train(data: Path | None, out: Path, seed: int, epochs: int | None, recipe: str) -> None:
    """Train the 400-25-15-10 network; write model.keras, history.json and the figures."""
    from edgedigits.system.files import locked
    from edgedigits_export.quiet import start_tensorflow
    from edgedigits_export.training import notebook

    x, y = load_data(data)
    hold(locked(*(out / name for name in OUTPUTS)))
    unseen = load_unseen(data)
    if recipe == "robust":
        from edgedigits_export.training import robust

        images = robust.sources(data or Path("data"), x, y)
        fit: Callable[..., Training] = partial(robust.train_robust, images=images)
        epochs = epochs or robust.EPOCHS
    else:
        fit, epochs = notebook.train, epochs or notebook.EPOCHS
    start_tensorflow()
    click.echo(f"X {x.shape} {x.dtype}, y {y.shape}, X[0] {x[0].shape}, y[0] {y[0]}")
    with progress_bar() as show:
        result = fit(
            x,
            y,
            unseen=unseen and (unseen.x, unseen.y),
            seed=seed,
            epochs=epochs,
            on_start=_print_model,
            on_epoch=lambda epoch, _: show(epoch, epochs),
        )
    _print_history(result.history)
    _write(result, x, y, out)
    click.echo(f"wrote {out / OUTPUTS[0]}, {', '.join(OUTPUTS[1:])}")


def _print_model(model: Any) -> None:
    from edgedigits_export.training.notebook import shapes

    model.summary(print_fn=click.echo, line_length=78)
    for name, weights, biases in shapes(model):
        click.echo(f"{name}: weights {weights}, biases {biases}")


def _print_history(history: dict[str, Any]) -> None:
    losses = history["loss"]
    every = 1 if history["recipe"] == "notebook" else max(1, len(losses) // 20)
    for epoch in range(every, len(losses) + 1, every):
        click.echo(f"epoch {epoch:>{len(str(len(losses)))}}/{len(losses)}  loss {losses[epoch - 1]:.4f}")
    click.echo(
        f"{history['errors']} errors of {history['images']}, loss {history['final_loss']:.4f}, "
        f"{history['seconds']:.1f} s"
    )
    if history["unseen_accuracy"] is None:
        click.echo("accuracy on unseen digits: not measured, there is no unseen.npz in the data folder")
    else:
        click.echo(f"accuracy on {history['unseen_images']} unseen digits: {history['unseen_accuracy']:.2%}")


def _write(result: Training, x: FloatArray, y: Labels, out: Path) -> None:
    """Write the model, its history and the figures; the figures are drawn first, since that takes long."""
    from edgedigits_export import figures
    from edgedigits_export.training.notebook import save

    drawn = {
        "samples": figures.png(figures.samples(x, y)),
        "loss": figures.png(figures.loss(result.history["loss"])),
        "mistakes": figures.png(figures.mistakes(x, y, result.logits)),
    }
    with interrupts_deferred():
        save(result, out)
        for name, content in drawn.items():
            figures.save(content, out / f"{name}.png")
