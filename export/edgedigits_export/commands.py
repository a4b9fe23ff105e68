"""The workstation's commands.

Only click is imported here, so that ``edgedigits --help`` stays quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgedigits.commands.benchmark import benchmark
from edgedigits.commands.parity import parity
from edgedigits.commands.predict import predict
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.system.terminal import end_progress, progress
from edgedigits_export.interrupts import heard

if TYPE_CHECKING:
    from edgedigits.bundle.dataset import Labels
    from edgedigits.runtimes.tensors import AnyArray, FloatArray

Function = TypeVar("Function", bound=Callable[..., Any])

BUILD = Path("build")
folder = click.Path(path_type=Path, file_okay=False)
data_option = click.option(
    "--data", type=folder, help="A folder with X.npy and y.npy. [default: ./data, or the digits inside the package]"
)
out_option = click.option(
    "--out", type=folder, default=BUILD, show_default=True, help="Where the model and figures go."
)
seed_option = click.option("--seed", default=1234, show_default=True, help="Of every random choice.")
model_option = click.option(
    "--model", "model_path", type=click.Path(path_type=Path), default=BUILD / "model.keras", show_default=True
)
bundle_option = click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="A directory, a .zip, notebook or robust. [default: build/bundle, or notebook]",
)


def needs(*packages: str) -> Callable[[Function], Function]:
    """A command that says which extra to install where one of the packages is missing.

    What those lay aside for a while is in one place, which the next command clears should this one be killed.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            missing = [package for package in packages if find_spec(package) is None]
            if missing:
                raise RuntimeUnavailableError(
                    f"this command needs {' and '.join(missing)}, which a device does without; on a workstation: "
                    "pip install 'edgedigits[export]'"
                )
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            from edgedigits.system.scratch import all_in_scratch

            with all_in_scratch():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    return decorate


def _data(given: Path | None, features: int = 400, classes: int = 10) -> tuple[FloatArray, Labels]:
    """``--data``, else ./data, else the inputs of the bundle inside the package."""
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.bundle.dataset import load_xy

    if given is None and not Path("data/X.npy").is_file():
        return Bundle().inputs()
    return load_xy(given or Path("data"), features, classes)


def _unseen(given: Path | None) -> tuple[AnyArray, FloatArray, Labels] | None:
    """The digits that no training sees, where unseen.npz lies beside the data: images, inputs and labels."""
    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.pictures.preprocessing import to_rows

    path = (given or Path("data")) / "unseen.npz"
    if not path.is_file():
        return None
    images, labels = load_28x28(path)
    return images, to_rows(images), labels


def _hold(claim: AbstractContextManager[None]) -> None:
    """Hold what a command writes until it ends; called before TensorFlow is waited for."""
    click.get_current_context().with_resource(claim)


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
    from edgedigits.system.files import claimed
    from edgedigits_export.training import notebook as training

    x, y = _data(data)
    training.finish_cut_short(out)
    written = ("model.keras", "history.json", "samples.png", "loss.png", "mistakes.png")
    _hold(claimed(*(out / name for name in written)))
    unseen = _unseen(data)
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
    with click.progressbar(length=epochs, label="training", file=sys.stderr) as bar:
        options: Any = {
            "unseen": held_back,
            "seed": seed,
            "epochs": epochs,
            "on_start": describe,
            "on_epoch": lambda *_: bar.update(1),
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


@click.command(short_help="Export a Keras classifier to a bundle.")
@model_option
@data_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=BUILD / "bundle",
    show_default=True,
    help="A directory, or a name ending in .zip.",
)
@click.option("--name", default=None, help="The bundle's name. [default: the model's]")
@click.option("--plain", is_flag=True, help="The converter's own quantization, not tuned for parity.")
@click.option("--per-tensor", is_flag=True, help="One scale a weight matrix, not one a channel.")
@seed_option
@click.option("--verbose", is_flag=True, help="Show what the converters say.")
@needs("tensorflow", "tf2onnx", "onnx")
@heard()
def export(
    model_path: Path,
    data: Path | None,
    out: Path,
    name: str | None,
    plain: bool,
    per_tensor: bool,
    seed: int,
    verbose: bool,
) -> None:
    """Export a Keras classifier of (n,) inputs to a bundle: TFLite float32 and int8, ONNX, and the golden outputs.

    The parity of each artifact is proven on all of X, so give the data that the model was made for.
    """
    from edgedigits_export.converting.bundle import claimed_bundle, export_bundle
    from edgedigits_export.training.calibration import temperature_for
    from edgedigits_export.training.model import load, require
    from edgedigits_export.training.notebook import history_of

    require(model_path)
    _hold(claimed_bundle(out))
    model = load(model_path)
    was_signed = is_signed(out)
    x, y = _data(data, model.input_shape[1], model.output_shape[1])
    training = {key: value for key, value in history_of(model_path).items() if key not in ("loss", "seconds")}

    def unseen() -> tuple[AnyArray, FloatArray, Labels] | None:
        return _unseen(data) if x.shape[1] == 400 else None

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
        unseen=unseen,
        verbose=verbose,
        on_step=progress,
    )
    end_progress()
    for artifact in dict.fromkeys(row.artifact for row in report.rows):
        rows = [row for row in report.rows if row.artifact == artifact]
        worst = max(row.mismatches or 0 for row in rows)
        leads = [row.min_lead_quanta for row in rows if row.min_lead_quanta is not None]
        lead = f", smallest lead {min(leads)} quanta" if leads else ""
        where = f"{rows[0].runtime} ({', '.join(row.kernels for row in rows)})"
        click.echo(f"{artifact}: {worst} of {rows[0].images} images answer differently in {where}{lead}")
    click.echo(f"wrote {out}")
    if was_signed:
        click.echo(f"{out} was signed, and what took its place is not: edgedigits sign {out} --key NAME.key")


def is_signed(out: Path) -> bool:
    """Whether a bundle with a signature stands there, whole or not."""
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.errors import BundleError

    try:
        return out.exists() and Bundle(out).signature() is not None
    except BundleError:
        return False


@click.command(short_help="Draw samples, loss, prediction or mistakes.")
@click.argument("figure", type=click.Choice(["samples", "loss", "prediction", "mistakes"]))
@bundle_option
@data_option
@click.option("--history", type=click.Path(path_type=Path), default=BUILD / "history.json", show_default=True)
@click.option("--index", default=1015, show_default=True, help="Which image `prediction` shows.")
@seed_option
@click.option("--out", type=click.Path(path_type=Path), help="The PNG file. [default: build/FIGURE.png]")
@click.option("--show", is_flag=True, help="Open a window instead of writing a file.")
@needs("matplotlib")
def plot(
    figure: str,
    bundle: Path | None,
    data: Path | None,
    history: Path,
    index: int,
    seed: int,
    out: Path | None,
    show: bool,
) -> None:
    """Draw one of the notebook's pictures: samples, loss, prediction or mistakes."""
    from edgedigits_export import figures

    drawn = _draw(figure, bundle, data, history, index, seed)
    if show:
        figures.show(drawn)
        return
    target = out or BUILD / f"{figure}.png"
    figures.save(drawn, target)
    click.echo(f"wrote {target}")


def _draw(figure: str, bundle: Path | None, data: Path | None, history: Path, index: int, seed: int) -> Any:
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.classifier import Classifier
    from edgedigits.system.limits import read_json
    from edgedigits_export import figures

    if figure == "samples":
        return figures.samples(*_data(data), seed)
    if figure == "loss":
        try:
            losses = [float(value) for value in read_json(history)["loss"]]
        except (OSError, ValueError, KeyError, TypeError) as cause:
            raise InputError(f"{history}: no training history to draw ({cause}); run `edgedigits train`") from cause
        return figures.loss(losses)
    built = BUILD / "bundle"
    opened = Bundle(bundle or (built if built.is_dir() else None))
    if figure == "mistakes":
        return figures.mistakes(*opened.inputs(), opened.golden())
    row = opened.input_row(index)
    with Classifier(opened) as classifier:
        return figures.prediction(row, classifier.logits(row), f"X[{index}]")


@click.command(short_help="Do the main job, end to end.")
@data_option
@out_option
@seed_option
@click.pass_context
@needs("tensorflow", "tf2onnx", "onnx", "matplotlib")
def run(context: click.Context, data: Path | None, out: Path, seed: int) -> None:
    """Do the main job: train, export, prove parity, benchmark briefly, and read X[1015]."""
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
