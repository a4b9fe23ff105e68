"""Golden outputs: what the trained Keras model itself answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    import keras

_CHUNK = 1000


def logits_of(model: keras.Model, x: FloatArray) -> FloatArray:
    """The model's output on (m, n) inputs, (m, classes) float32, in inference mode."""
    chunks = [np.asarray(model(x[start : start + _CHUNK], training=False)) for start in range(0, len(x), _CHUNK)]
    logits: FloatArray = np.concatenate(chunks).astype(np.float32, copy=False)
    return logits
