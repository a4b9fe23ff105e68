"""Keras to float32 TFLite, and the facts of a .tflite file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgedigits.runtimes.oracle.reader import read_graph
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.tensors import TensorSpec
from edgedigits_export.quiet import conversion

if TYPE_CHECKING:
    import keras


def convert(model: keras.Model, verbose: bool = False) -> bytes:
    """The model as a float32 .tflite, any batch."""
    import tensorflow as tf

    with conversion(verbose):
        return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def output_scale(content: bytes) -> float | None:
    """The step of the int8 output in a .tflite file that dequantizes it itself; None for another file."""
    *_, last = read_graph(content)[2]
    return float(last.inputs[0].scale[0]) if last.name == "DEQUANTIZE" and last.inputs[0] else None


def describe(content: bytes) -> tuple[TensorSpec, TensorSpec, dict[str, Any]]:
    """Input, output and facts (schema version, operators) of a .tflite file's bytes."""
    from tensorflow.lite.tools import flatbuffer_utils

    parsed = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    ops = {
        flatbuffer_utils.opcode_to_name(parsed, op.opcodeIndex) for graph in parsed.subgraphs for op in graph.operators
    }
    with Session(content, "tflite", "tensorflow") as session:
        return session.input, session.output, {"schema_version": int(parsed.version), "ops": sorted(ops)}
