"""The classic ``tflite-runtime``, the only TFLite runtime with wheels for 32-bit Raspberry Pi OS."""

from __future__ import annotations

import numpy as np

from edgedigits.errors import RuntimeUnavailableError
from edgedigits.runtimes.flatbuffer_bounds import check_bounds
from edgedigits.runtimes.tflite import TFLiteAdapter


def open_model(model: bytes, model_format: str, threads: int, kernels: str) -> TFLiteAdapter:
    """Open a .tflite model."""
    if int(np.__version__.partition(".")[0]) >= 2:  # it imports, then fails in Interpreter() with a SystemError
        raise RuntimeUnavailableError(
            f"tflite-runtime is built for NumPy 1 and NumPy {np.__version__} is installed; pip install 'numpy<2'"
        )
    check_bounds(model)  # it would crash on a damaged file
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    return TFLiteAdapter(Interpreter, OpResolverType, model, threads, kernels)
