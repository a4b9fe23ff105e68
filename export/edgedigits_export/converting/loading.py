"""Load any Keras classifier: .keras, .h5 of Keras 3 or 2, or a SavedModel folder; refuse what is no classifier."""

from __future__ import annotations

import re
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.errors import ExportError
from edgedigits.system.limits import short
from edgedigits_export.converting.outputs import ONE_OUTPUT, last_activation
from edgedigits_export.quiet import start_tensorflow, suppress_output

if TYPE_CHECKING:
    import keras

SAVED_MODEL = "saved_model.pb"
SIGNATURES = ("serving_default", "serve")  # of TensorFlow and Keras 2, and of Keras 3's model.export()
SAVE = "save it with model.save('name.keras')"


def require(path: Path) -> None:
    """ExportError if there is neither a file nor a SavedModel folder at the path."""
    if path.is_dir() and not (path / SAVED_MODEL).is_file():
        raise ExportError(f"{path}: a folder without {SAVED_MODEL}; expected a SavedModel, a .keras or an .h5 file")
    if not path.exists():
        raise ExportError(f"{path}: no such file; make a model with `edgedigits train`, or give --model FILE")


def load(path: Path) -> keras.Model:
    """Load a classifier from a .keras or .h5 file or a SavedModel folder.

    Raises:
        ExportError: no such file, not a Keras model, other inputs or outputs, or weights that are not finite.
    """
    require(path)
    start_tensorflow()
    with suppress_output():
        model = _from_saved_model(path) if path.is_dir() else _from_file(path)
        return check(model, str(path))


def _from_file(path: Path) -> keras.Model:
    import keras

    keras_version = _check_h5(path) if path.suffix in (".h5", ".hdf5") else "3"
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):  # Keras would say that there is no such file
        raise ExportError(f"{path}: not a .keras file, or only a part of one; {SAVE}")
    try:
        model: keras.Model = keras.models.load_model(path, compile=False)
    except Exception as cause:  # a damaged file can make Keras and what it reads with raise anything
        if keras_version < "3":
            return _from_keras_2(path, keras_version)
        own = re.search(r"Could not locate (?:class|function) '(\w+)'|(`?Lambda`?) layer", str(cause))
        if own:
            what = f"{own[1]} is not a part of Keras" if own[1] else "a Lambda layer's code is not run from a file"
            raise ExportError(f"{path}: {what}; save the model with model.export('folder'), and export that") from cause
        raise ExportError(f"{path}: Keras cannot load it ({_reason(cause)}); {SAVE}") from cause
    return model


def _check_h5(path: Path) -> str:
    """The version of Keras that wrote the .h5 file; ExportError if it holds no model."""
    import h5py

    try:
        with h5py.File(path) as file:
            if "model_config" in file.attrs:
                keras_version = file.attrs.get("keras_version", "2")
                return keras_version.decode() if isinstance(keras_version, bytes) else str(keras_version)
    except OSError as cause:
        raise ExportError(f"{path}: not an HDF5 file; {SAVE}") from cause
    raise ExportError(f"{path}: weights without the model that they belong to; {SAVE}")


def _from_keras_2(path: Path, keras_version: str) -> keras.Model:
    """A model that only Keras 2 can load, through a SavedModel, which Keras 3 runs."""
    if find_spec("tf_keras") is None:
        series = ".".join(version("tensorflow").split(".")[:2])
        raise ExportError(
            f"{path}: Keras {keras_version} wrote it, and Keras 3 cannot load it; pip install 'tf-keras=={series}.*', "
            "then export again"
        )
    import tensorflow as tf
    import tf_keras

    try:
        model = tf_keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, ImportError) as cause:
        raise ExportError(f"{path}: Keras 2 cannot load it either ({_reason(cause)})") from cause
    with TemporaryDirectory() as folder:
        tf.saved_model.save(model, folder)
        return _from_saved_model(Path(folder), str(path))


def _from_saved_model(folder: Path, name: str = "") -> keras.Model:
    """The serving signature of a SavedModel as a Keras model of one layer."""
    import keras
    import tensorflow as tf

    name = name or str(folder)
    try:
        signatures = tf.saved_model.load(str(folder)).signatures
    except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError) as cause:
        raise ExportError(f"{name}: TensorFlow cannot load it ({_reason(cause)})") from cause
    endpoint = next((signature for signature in SIGNATURES if signature in signatures), None)
    if endpoint is None:
        raise ExportError(f"{name}: no serving signature; write it with model.export(), or save the Keras model")
    inputs = list(signatures[endpoint].structured_input_signature[1].values())
    outputs = signatures[endpoint].structured_outputs
    _check_one_of_each(name, len(inputs), len(outputs))
    batch, *shape = inputs[0].shape.as_list() if inputs[0].shape.rank else [1]
    if batch is not None:
        raise ExportError(f"{name}: its signature takes shape {inputs[0].shape}; expected (None, ...), any batch")
    source = keras.Input(shape, dtype=inputs[0].dtype.name)
    layer = keras.layers.TFSMLayer(str(folder), call_endpoint=endpoint)
    (output,) = layer(source).values()
    stem = Path(name).name.partition(".")[0]
    return keras.Model(source, output, name=stem if stem.isidentifier() else "model")


def check(model: keras.Model, name: str) -> keras.Model:
    """The model if it takes one input, gives one row of scores and has finite weights; else ExportError.

    A model with other types than float32 at its ends gets casts.
    """
    import keras

    if not getattr(model, "inputs", None):
        raise ExportError(f"{name}: a subclassed model; wrap it: keras.Model(inputs, model(inputs))")
    _check_one_of_each(name, len(model.inputs), len(model.outputs))
    source, sink = model.inputs[0].shape, model.outputs[0].shape
    if len(source) < 2:
        raise ExportError(f"{name}: input shape {source}; expected (None, ...) with at least one axis")
    if len(sink) != 2 or sink[1] is None:
        raise ExportError(
            f"{name}: output shape {sink}; expected (None, classes), one score per class and input: end with a "
            "pooling or Flatten layer and a Dense layer"
        )
    activation = last_activation(model)
    if sink[1] == 1 and activation not in ("sigmoid", None):
        raise ExportError(
            f"{name}: its one output is {activation}, as of a regression or a logit, not a classifier; {ONE_OUTPUT}"
        )
    if not model.weights and not any(isinstance(layer, keras.layers.TFSMLayer) for layer in model.layers):
        raise ExportError(f"{name}: a model without weights; train one")
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ExportError(f"{name}: NaN or infinity in the weights {weight.path}; train the model again")
    if model.inputs[0].dtype == model.outputs[0].dtype == "float32":
        return model
    start = keras.Input(source[1:], dtype="float32")
    inner = keras.ops.cast(start, model.inputs[0].dtype)
    return keras.Model(start, keras.ops.cast(model(inner), "float32"), name=model.name)


def with_shape(model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    """The model for inputs of exactly this shape, where its own leaves sides open.

    Raises ExportError if such inputs do not fit.
    """
    import keras

    own = tuple(model.inputs[0].shape[1:])
    if len(own) != len(shape) or any(side not in (None, given) for side, given in zip(own, shape, strict=True)):
        raise ExportError(f"the model takes inputs of shape {own}, X has {shape}; give the model's own data")
    if own == shape:
        return model
    source = keras.Input(shape)
    return keras.Model(source, model(source), name=model.name)


def _check_one_of_each(name: str, inputs: int, outputs: int) -> None:
    if inputs != 1 or outputs != 1:
        raise ExportError(f"{name}: {inputs} inputs and {outputs} outputs; expected one of each")


def _reason(cause: Exception) -> Any:
    return short((str(cause).strip() or type(cause).__name__).splitlines()[0])
