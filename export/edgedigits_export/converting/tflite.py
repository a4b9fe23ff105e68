"""Keras to TFLite, float32, and what a .tflite file says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgedigits.runtimes.session import Session
from edgedigits.runtimes.tensors import TensorSpec

if TYPE_CHECKING:
    import keras


def convert(model: keras.Model) -> bytes:
    """The model as a float32 .tflite, any batch."""
    import tensorflow as tf

    content: bytes = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    return content


def describe(content: bytes) -> tuple[TensorSpec, TensorSpec, dict[str, Any]]:
    """Input, output and facts (schema version, operators) of a .tflite file's bytes."""
    from tensorflow.lite.tools import flatbuffer_utils

    parsed = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    ops = {
        flatbuffer_utils.opcode_to_name(parsed, op.opcodeIndex) for graph in parsed.subgraphs for op in graph.operators
    }
    with Session(content, "tflite", "tensorflow") as session:
        return session.input, session.output, {"schema_version": int(parsed.version), "ops": sorted(ops)}
