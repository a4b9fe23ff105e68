"""The options that several workstation commands share, and the data that they read."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgedigits.errors import RuntimeUnavailableError
from edgedigits_export.interrupts import interrupts_deferred

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
    """A command that says which extra to install where one of the packages is missing."""

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
            return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    return decorate


def load_data(given: Path | None, features: int = 400, classes: int = 10) -> tuple[FloatArray, Labels]:
    """``--data``, else ./data, else the inputs of the bundle inside the package."""
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.bundle.dataset import load_xy

    if given is None and not Path("data/X.npy").is_file():
        return Bundle().inputs()
    return load_xy(given or Path("data"), features, classes)


def load_unseen(given: Path | None) -> tuple[AnyArray, FloatArray, Labels] | None:
    """The digits that no training sees, where unseen.npz lies beside the data: images, inputs and labels."""
    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.pictures.normalization import to_rows

    path = (given or Path("data")) / "unseen.npz"
    if not path.is_file():
        return None
    images, labels = load_28x28(path)
    return images, to_rows(images), labels


def hold(lock: AbstractContextManager[None]) -> None:
    """Hold a lock until the command ends; called before TensorFlow is imported, which takes long."""
    with interrupts_deferred():
        click.get_current_context().with_resource(lock)
