"""The workstation side: train, export, quantize, draw. Needs TensorFlow, tf2onnx, onnx and matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt

    from edgedigits.parity.result import ParityReport


def export(
    model: keras.Model | Path | str,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    out: Path | str,
    *,
    x_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    labels: Sequence[str] = (),
    labels_from: int | None = None,
    test_fraction: float | None = None,
    name: str | None = None,
    seed: int = 1234,
    **options: Any,
) -> ParityReport:
    """Export a Keras classifier to a bundle, as `edgedigits export` does.

    Args:
        model: a Keras model, or the path of one.
        x, y: the inputs that int8 is tuned and parity is checked on, and their labels: whole numbers from 0, one-hot
            or names.
        out: a directory, or a name that ends in .zip.
        x_test, y_test: held-out inputs and labels, which nothing is tuned on.
        labels: the names of the classes, in the order of the model's outputs.
        labels_from: the label of the first class, 0 or 1.
        test_fraction: the share of each class of x to hold out.
        name: the bundle's name; by default the model's.
        seed: random seed of the tuning and of the held-out choice.
        options: others of :func:`edgedigits_export.converting.bundle.export_bundle`, such as ``pictures="plain"``,
            ``scale=255.0``, ``plain_int8=True``, ``only=["int8"]``, ``allow_mismatches=3`` and ``on_note=print``.

    Returns:
        The parity report of the new bundle; ``report.passed`` says whether every artifact holds.

    Raises:
        EdgeDigitsError: the model, the data or the options do not fit; nothing is written.
    """
    import numpy as np

    from edgedigits_export.converting.bundle import export_bundle
    from edgedigits_export.converting.loading import check, load
    from edgedigits_export.training.data import check_arrays
    from edgedigits_export.training.notebook import history_of

    checked = load(Path(model)) if isinstance(model, str | Path) else check(model, "the model")
    history = history_of(Path(model)) if isinstance(model, str | Path) else {}
    arrays = {"X": np.asarray(x), "y": np.asarray(y)}
    if x_test is not None and y_test is not None:
        arrays |= {"X_test": np.asarray(x_test), "y_test": np.asarray(y_test)}
    where = {"X": "x", "y": "y", "X_test": "x_test", "y_test": "y_test"}
    shape, classes = tuple(checked.inputs[0].shape[1:]), max(2, checked.outputs[0].shape[1])
    data = check_arrays(arrays, where, shape, classes, labels, labels_from, test_fraction, seed)
    return export_bundle(
        checked,
        data.x,
        data.y,
        Path(out),
        name=name or checked.name,
        training={key: value for key, value in history.items() if key not in ("loss", "seconds")},
        labels=data.labels,
        held_out=lambda: data.held_out,
        seed=seed,
        **options,
    )
