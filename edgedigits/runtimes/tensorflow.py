"""TensorFlow on a workstation: its TFLite interpreter, and Keras for .keras files. Used only when named."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgedigits.errors import RuntimeUnavailableError
from edgedigits.runtimes.table import Adapter
from edgedigits.runtimes.tensors import AnyArray, TensorSpec, copying_invoke
from edgedigits.runtimes.tflite import TFLiteAdapter


def open_model(model: bytes, model_format: str, threads: int, kernels: str) -> Adapter:
    """Open a .tflite or .keras model."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up messages
    if model_format == "keras":
        return KerasAdapter(model, threads)
    import tensorflow as tf

    return TFLiteAdapter(tf.lite.Interpreter, tf.lite.experimental.OpResolverType, model, threads, kernels)


class KerasAdapter:
    """A .keras model run by Keras, the reference for every export."""

    def __init__(self, model: bytes, threads: int) -> None:
        import keras
        import tensorflow as tf

        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            try:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
            except RuntimeError as cause:
                raise RuntimeUnavailableError(
                    f"TensorFlow has already started in this process and cannot change to {threads} threads; "
                    "open the .keras file in a process of its own"
                ) from cause
        with TemporaryDirectory() as folder:  # Keras reads files, not bytes
            path = Path(folder) / "model.keras"
            path.write_bytes(model)
            self._model: Any = keras.models.load_model(path, compile=False)
        self.inputs = TensorSpec(self._model.inputs[0].name, tuple(self._model.input_shape[1:]), "float32")
        self.outputs = TensorSpec(self._model.outputs[0].name, tuple(self._model.output_shape[1:]), "float32")
        self.buffers, self.invoke = copying_invoke(self.run, self.inputs, self.outputs)

    def run(self, x: AnyArray) -> AnyArray:
        """See :class:`edgedigits.runtimes.table.Adapter`."""
        return np.array(self._model(x, training=False))

    def close(self) -> None:
        """Drop the model."""
        del self._model
