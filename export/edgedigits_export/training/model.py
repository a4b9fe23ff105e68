"""The notebook's network, and the output of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.errors import ExportError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.quiet import conversion

if TYPE_CHECKING:
    import keras

LAYERS = (("L1", 25, "relu"), ("L2", 15, "relu"), ("L3", 10, "linear"))
CHUNK = 1000


def build(features: int = 400) -> keras.Model:
    """The 400-25-15-10 network with layers L1, L2, L3 and linear logits: 10,575 parameters."""
    import keras

    layers: list[Any] = [keras.Input((features,), name="image")]
    layers += [keras.layers.Dense(units, activation=activation, name=name) for name, units, activation in LAYERS]
    return keras.Sequential(layers, name="digits")


def checked_logits(model: keras.Model, x: FloatArray) -> FloatArray:
    """As :func:`logits_of`; ExportError if the model does not take such values, or outputs NaN or infinity."""
    try:
        with conversion():
            logits = logits_of(model, x)
    except ExportError as cause:  # such as an Embedding, for values beyond its vocabulary
        raise ExportError(f"the model cannot run on X ({cause}); give inputs as those of its training") from cause
    if not np.isfinite(logits).all():
        raise ExportError("the model outputs NaN or infinity on some inputs; train it again")
    return logits


def logits_of(model: keras.Model, x: FloatArray) -> FloatArray:
    """The model's output on (m, ...) inputs, (m, classes) float32, in inference mode."""
    chunks = [np.asarray(model(x[start : start + CHUNK], training=False)) for start in range(0, len(x), CHUNK)]
    logits: FloatArray = np.concatenate(chunks).astype(np.float32, copy=False)
    return logits
