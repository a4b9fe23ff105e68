"""Convert a TensorFlow graph to an int8 file, and measure the file in the real runtime."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edgedigits.errors import ExportError
from edgedigits.parity.metrics import lead_quanta, mismatched
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import FloatArray

if TYPE_CHECKING:
    import tensorflow as tf

REPRESENTATIVE = 500
Scores = Callable[[FloatArray], FloatArray]
REMEDY = "replace that layer, or use float32.tflite"


class QuantizationError(ExportError):
    """The model or the calibration set cannot be quantized; the message says what to do."""


def convert(converter: tf.lite.TFLiteConverter, calibration: FloatArray, per_channel: bool) -> bytes:
    """Full-integer conversion: int8 weights, activations, input and output."""
    import tensorflow as tf

    # TensorFlow has no public name for this class; catching everything would hide other errors.
    from tensorflow.lite.python.convert_phase import ConverterError

    chosen = np.linspace(0, len(calibration) - 1, min(len(calibration), REPRESENTATIVE)).astype(int)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([calibration[i : i + 1]] for i in chosen)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    if not per_channel:
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    try:
        content = bytes(converter.convert())
    except ConverterError as error:
        ops = sorted(set(re.findall(r"'tf\.(\w+)' op", str(error))))
        what = f"no int8 operator for TensorFlow's {', '.join(ops)}" if ops else "no int8 version of the model"
        raise QuantizationError(f"TensorFlow Lite has {what}; {REMEDY}") from error
    _require_int8(content)
    return content


def _require_int8(content: bytes) -> None:
    """Raise QuantizationError if a tensor is float: the converter wraps an operator without int8 in casts."""
    from tensorflow.lite.python.schema_py_generated import TensorType
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    floats = {
        flatbuffer_utils.opcode_to_name(model, op.opcodeIndex)
        for graph in model.subgraphs
        for op in graph.operators
        if any(graph.tensors[i].type == TensorType.FLOAT32 for i in (*op.inputs, *op.outputs) if i >= 0)
    }
    if floats:
        culprits = sorted(floats - {"QUANTIZE", "DEQUANTIZE"}) or sorted(floats)
        raise QuantizationError(f"TensorFlow Lite has no int8 version of {', '.join(culprits)}; {REMEDY}")


def strip(content: bytes) -> bytes:
    """Remove metadata and long tensor names, which no runtime reads; name the input `input` and the output `logits`.

    A small model's file gets smaller by a seventh.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    model.metadata, model.description = None, None
    for graph in model.subgraphs:
        for index, tensor in enumerate(graph.tensors):
            tensor.name = str(index)
        for index, op in enumerate(graph.operators, 1):
            graph.tensors[op.outputs[0]].name = f"layer{index}"
        if len(graph.inputs) == len(graph.outputs) == 1:
            graph.tensors[graph.inputs[0]].name, graph.tensors[graph.outputs[0]].name = "input", "logits"
    used = sorted({tensor.buffer for graph in model.subgraphs for tensor in graph.tensors} | {0})
    model.buffers = [model.buffers[index] for index in used]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = used.index(tensor.buffer)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def with_float_ends(content: bytes) -> bytes:
    """A full-integer .tflite with float32 input and output: QUANTIZE before its first operator, DEQUANTIZE at the end.

    Weights and arithmetic stay the same. A call from Python gets faster: NumPy quantizes more slowly than a runtime.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph, outer_of = model.subgraphs[0], dict[int, int]()

    def convert_end(name: str, version: int, inner: int, place: int) -> None:
        tensor, operator, code = schema.TensorT(), schema.OperatorT(), schema.OperatorCodeT()
        outer_of[inner] = outer = len(graph.tensors)
        stored = graph.tensors[inner]
        tensor.type, tensor.shape, tensor.shapeSignature = (
            schema.TensorType.FLOAT32,
            stored.shape,
            stored.shapeSignature,
        )
        tensor.name, stored.name = stored.name, stored.name + b"_int8"
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version, operator.opcodeIndex = version, len(model.operatorCodes)
        operator.inputs, operator.outputs = ([outer], [inner]) if place == 0 else ([inner], [outer])
        graph.tensors.append(tensor)
        model.operatorCodes.append(code)
        graph.operators.insert(place, operator)

    convert_end("QUANTIZE", 1, int(graph.inputs[0]), 0)
    convert_end("DEQUANTIZE", 2, int(graph.outputs[0]), len(graph.operators))
    graph.inputs, graph.outputs = ([outer_of[int(i)] for i in ends] for ends in (graph.inputs, graph.outputs))
    for signature in model.signatureDefs or ():
        for end in (*signature.inputs, *signature.outputs):
            end.tensorIndex = outer_of.get(end.tensorIndex, end.tensorIndex)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def measure(
    content: bytes, inputs: FloatArray, outputs: FloatArray, scores: Scores = lambda outputs: outputs
) -> tuple[int, int, str]:
    """Run a full-integer file, as it is and with float ends, on every kernel set, one input at a time as devices do.

    inputs: (m, ...) float32. outputs: (m, n), those of Keras. scores: makes one score per class of them. Returns the
    most mismatches, the smallest lead in output integers, and the runtime's package.
    """
    runtime = RUNTIMES["litert" if RUNTIMES["litert"].installed else "tensorflow"]
    mismatches, lead, scale, expected = 0, 255, None, scores(outputs)
    for model, kernels in itertools.product((content, with_float_ends(content)), runtime.kernels):
        with Session(model, "tflite", runtime.name, kernels=kernels) as session:
            found = scores(np.stack([session.run(row) for row in inputs]))
            scale = scale or session.output.scale  # the one with float ends has none
            assert scale is not None
            mismatches = max(mismatches, len(mismatched(found, expected)))
            lead = min(lead, int(lead_quanta(found, expected, scale).min()))
    return mismatches, lead, runtime.distribution
