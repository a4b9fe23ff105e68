"""The notebook's network, what an exportable Keras model must look like, and the logits of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.errors import ExportError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.quiet import start_tensorflow

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


def logits_of(model: keras.Model, x: FloatArray) -> FloatArray:
    """The model's output on (m, ...) inputs, (m, classes) float32, in inference mode."""
    chunks = [np.asarray(model(x[start : start + CHUNK], training=False)) for start in range(0, len(x), CHUNK)]
    logits: FloatArray = np.concatenate(chunks).astype(np.float32, copy=False)
    return logits


def require(path: Path) -> None:
    """ExportError if there is no such file."""
    if not path.is_file():
        raise ExportError(f"{path}: no such file; make a model with `edgedigits train`, or give --model FILE")


def load(path: Path) -> keras.Model:
    """Load a .keras (or .h5) classifier of (n,) inputs.

    Raises:
        ExportError: no such file, not a Keras model, other inputs or outputs, or weights that are not finite.
    """
    require(path)
    start_tensorflow()
    import keras

    try:
        model: keras.Model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, ImportError) as cause:
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise ExportError(f"{path}: Keras cannot load it ({reason}); save it with model.save('name.keras')") from cause
    check(model, str(path))
    return model


def check(model: keras.Model, name: str) -> None:
    """ExportError unless the model takes one (n,) input, gives one (classes,) output and has finite weights."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ExportError(f"{name}: {len(model.inputs)} inputs and {len(model.outputs)} outputs; expected one of each")
    source, sink = model.input_shape, model.output_shape
    if len(source) != 2 or source[1] is None:
        raise ExportError(f"{name}: input shape {source}; expected (None, n), so put a Reshape layer first")
    if len(sink) != 2 or sink[1] is None or sink[1] < 2:
        raise ExportError(f"{name}: output shape {sink}; expected (None, classes) with at least 2 classes")
    for weight in model.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise ExportError(f"{name}: NaN or infinity in the weights {weight.path}; train the model again")
