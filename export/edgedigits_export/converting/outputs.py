"""What a classifier outputs: logits, softmax probabilities or one sigmoid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.errors import ExportError
from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-3  # of a sum of probabilities
# These pass scores on as they are, so what a model outputs is decided before them.
PASSING = {"Identity", "Dropout", "Flatten", "Reshape", "Cast"}
ONE_OUTPUT = "end with Dense(1, activation='sigmoid'), or with one output per class"


def output_kind(model: keras.Model, outputs: FloatArray) -> str:
    """``logits``, ``softmax`` or ``sigmoid``: from the model's last activation, and checked on its outputs (m, n).

    Raises:
        ExportError: the outputs are not scores of which exactly one class is the best.
    """
    activation = last_activation(model)
    within = bool((outputs >= -TOLERANCE).all() and (outputs <= 1 + TOLERANCE).all())
    if outputs.shape[1] == 1:
        if activation == "sigmoid" or (activation is None and within):
            return "sigmoid"
        raise ExportError(
            f"the model's one output is {activation or 'not within 0 and 1'}, not a sigmoid; {ONE_OUTPUT}"
        )
    if activation == "sigmoid":
        raise ExportError(
            f"the model ends in {outputs.shape[1]} sigmoids, so several classes can be true; expected one class "
            "per input: end with a softmax, or with logits"
        )
    sums = within and bool(np.abs(outputs.sum(axis=1, dtype=np.float64) - 1).max() <= TOLERANCE)
    if activation == "softmax" and not sums:
        raise ExportError(
            "the outputs of the model's softmax do not sum to 1; apply it to the classes, as the last layer"
        )
    if activation is None and within and not sums:
        raise ExportError(
            "the model's outputs lie between 0 and 1 but do not sum to 1, as of several sigmoids; end with a softmax, "
            "or with logits"
        )
    return "softmax" if sums and activation in ("softmax", None) else "logits"


def last_activation(model: keras.Model) -> str | None:
    """The name of the model's last activation, such as ``softmax`` or ``linear``; None if its layers do not tell."""
    import keras

    operation: Any = model
    while isinstance(operation, keras.Model):
        tensor = operation.outputs[0]
        operation = tensor._keras_history.operation  # Keras's own code finds the layers of a tensor so, too
        while type(operation).__name__ in PASSING:
            tensor = operation.input
            operation = tensor._keras_history.operation
    if hasattr(operation, "activation"):
        return getattr(operation.activation, "__name__", None)
    name = type(operation).__name__
    return name.lower() if name in ("Softmax", "Sigmoid") else None
