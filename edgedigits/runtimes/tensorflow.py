"""TensorFlow, for the workstation: its own TFLite interpreter, and Keras for .keras files. Only ever by name."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgedigits.errors import RuntimeUnavailableError
from edgedigits.runtimes.table import Adapter
from edgedigits.runtimes.tensors import AnyArray, TensorSpec
from edgedigits.runtimes.tflite import TFLiteAdapter


def open_model(model: bytes, model_format: str, threads: int, kernels: str) -> Adapter:
    """Open the bytes of a .tflite or a .keras file."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its start-up notes are not the user's
    if model_format == "keras":
        return KerasAdapter(model, threads)
    import tensorflow as tf

    return TFLiteAdapter(tf.lite.Interpreter, tf.lite.experimental.OpResolverType, model, threads, kernels)


class KerasAdapter:
    """A .keras file, run by Keras itself: what every export is held against."""

    def __init__(self, model: bytes, threads: int) -> None:
        import keras
        import tensorflow as tf

        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            try:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
            except RuntimeError as cause:
                raise RuntimeUnavailableError(
                    f"TensorFlow has started in this process and cannot change to {threads} threads now; "
                    "use a process of its own for a .keras file"
                ) from cause
        with TemporaryDirectory() as folder:  # Keras reads files, not bytes
            path = Path(folder) / "model.keras"
            path.write_bytes(model)
            self._model: Any = keras.models.load_model(path, compile=False)
        self.inputs = TensorSpec(self._model.inputs[0].name, tuple(self._model.input_shape[1:]), "float32")
        self.outputs = TensorSpec(self._model.outputs[0].name, tuple(self._model.output_shape[1:]), "float32")
        self._given, self._got = (np.zeros((1, *spec.shape), np.float32) for spec in (self.inputs, self.outputs))
        self.place = self._given[0], self._got[0]

    def run(self, x: AnyArray) -> AnyArray:
        """See :class:`edgedigits.runtimes.table.Adapter`."""
        return np.array(self._model(x, training=False))

    def invoke(self) -> None:
        """See :class:`edgedigits.runtimes.table.Adapter`."""
        self._got[...] = self._model(self._given, training=False)

    def close(self) -> None:
        """Drop the model."""
        del self._model
