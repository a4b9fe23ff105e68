"""Options and input data that several workstation commands share."""

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

INSTALL = "pip install tensorflow tf2onnx onnx matplotlib"
BUILD = Path("build")
DATA = Path("data")
folder = click.Path(path_type=Path, file_okay=False)
data_option = click.option(
    "--data", type=folder, help="Folder with X.npy and y.npy. [default: ./data, or the digits in the package]"
)
out_option = click.option(
    "--out", type=folder, default=BUILD, show_default=True, help="Folder for the model and the figures."
)
seed_option = click.option("--seed", default=1234, show_default=True, help="Random seed.")


def needs(*packages: str) -> Callable[[Function], Function]:
    """Make a command fail with an installation hint if one of the packages is missing."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            missing = [package for package in packages if find_spec(package) is None]
            if missing:
                raise RuntimeUnavailableError(f"this command needs {', '.join(missing)}; on a workstation: {INSTALL}")
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    return decorate


def load_data(given: Path | None, features: int = 400, classes: int = 10) -> tuple[FloatArray, Labels]:
    """Inputs and labels from ``--data``, else ./data, else the bundle in the package."""
    from edgedigits.bundle.bundle import Bundle
    from edgedigits_export.training.data import load_xy

    if given is None and not (DATA / "X.npy").is_file():
        return Bundle().inputs()
    return load_xy(given or DATA, features, classes)


def load_unseen(given: Path | None) -> tuple[AnyArray, FloatArray, Labels] | None:
    """Images, inputs and labels of unseen.npz in the data folder, on which nothing is trained; None without it."""
    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.pictures.normalization import to_rows

    path = (given or DATA) / "unseen.npz"
    if not path.is_file():
        return None
    images, labels = load_28x28(path)
    return images, to_rows(images), labels


def hold(lock: AbstractContextManager[None]) -> None:
    """Hold a lock until the command ends; called before TensorFlow is imported, which takes long."""
    with interrupts_deferred():
        click.get_current_context().with_resource(lock)
