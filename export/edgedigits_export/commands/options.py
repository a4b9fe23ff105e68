"""Options and input data that several workstation commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits_export.interrupts import interrupts_deferred

if TYPE_CHECKING:
    from edgedigits.bundle.dataset import Labels
    from edgedigits.runtimes.tensors import AnyArray, FloatArray
    from edgedigits_export.training.data import Dataset, HeldOut

Function = TypeVar("Function", bound=Callable[..., Any])

INSTALL = "pip install tensorflow tf2onnx onnx matplotlib"
BUILD = Path("build")
DATA = Path("data")
folder = click.Path(path_type=Path, file_okay=False)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with X.npy and y.npy, or an .npz with X and y. [default: ./data, or the digits in the package]",
)
labels_from_option = click.option(
    "--labels-from", type=click.Choice(["0", "1"]), help="The label of the first class. [default: 0]"
)
test_fraction_option = click.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="F",
    help="Hold out this share of each class. [default: none, or X_test and y_test of the data]",
)
out_option = click.option(
    "-o", "--out", type=folder, default=BUILD, show_default=True, help="Folder for the model and the figures."
)
seed_option = click.option("--seed", default=1234, show_default=True, help="Random seed.")


def needs(*packages: str) -> Callable[[Function], Function]:
    """Make a command fail with an installation hint if one of the packages is missing; ``--help`` tells, too."""

    def missing() -> list[str]:
        return [package for package in packages if find_spec(package) is None]

    def decorate(function: Function) -> Function:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if names := missing():
                raise RuntimeUnavailableError(f"this command needs {', '.join(names)}; on a workstation: {INSTALL}")
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            return function(*args, **kwargs)

        wrapped.missing = missing  # type: ignore[attr-defined]
        return wrapped  # type: ignore[return-value]

    return decorate


def load_data(given: Path | None) -> tuple[FloatArray, Labels]:
    """The digits from ``--data``, else ./data, else the bundle in the package: X (m, 400) and y (m,)."""
    data = load_dataset(given, (400,), 10)
    return data.x, data.y


def load_dataset(
    given: Path | None,
    shape: tuple[int | None, ...],
    classes: int,
    *,
    names: Sequence[str] = (),
    labels_from: str | None = None,
    test_fraction: float | None = None,
    seed: int = 1234,
) -> Dataset:
    """As :func:`edgedigits_export.training.data.load`, from ``--data``, else ./data, else the bundle in the package."""
    from edgedigits.bundle.bundle import Bundle
    from edgedigits_export.training.data import check_arrays, load

    first = None if labels_from is None else int(labels_from)
    if given is None and not (DATA / "X.npy").is_file():
        if shape != (400,) or classes != 10:
            raise InputError(
                f"the model takes inputs of shape {shape} and has {classes} classes; give its X and y with --data"
            )
        x, y = Bundle().inputs()
        arrays: dict[str, AnyArray] = {"X": x, "y": y}
        where = {name: f"{name} in the package" for name in arrays}
        return check_arrays(arrays, where, shape, classes, names, first, test_fraction, seed)
    path = given or DATA
    return load(path, shape, classes, names=names, labels_from=first, test_fraction=test_fraction, seed=seed)


def load_unseen(given: Path | None) -> HeldOut | None:
    """The digits of unseen.npz in the data folder, on which nothing is trained; None without it."""
    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.pictures.normalization import to_rows
    from edgedigits_export.training.data import HeldOut

    path = (given or DATA) / "unseen.npz"
    if not path.is_file():
        return None
    images, labels = load_28x28(path)
    return HeldOut(to_rows(images), labels, images)


def hold(lock: AbstractContextManager[None]) -> None:
    """Hold a lock until the command ends; called before TensorFlow is imported, which takes long."""
    with interrupts_deferred():
        click.get_current_context().with_resource(lock)
