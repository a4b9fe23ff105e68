"""From a TensorFlow graph to an int8 file, and what the file answers in the real runtime."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgedigits.errors import ExportError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.quiet import suppress_output

if TYPE_CHECKING:
    import tensorflow as tf

REPRESENTATIVE = 500
REMEDY = "replace that layer, or deploy the float32 file"
KERNEL_SETS = ("AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN_REF")


class QuantizationError(ExportError):
    """The model or the calibration set cannot be quantized; the message says what to do."""


def convert(
    converter: tf.lite.TFLiteConverter, calibration: FloatArray, per_channel: bool, verbose: bool = False
) -> bytes:
    """Full-integer conversion: int8 weights, activations, input and output."""
    import tensorflow as tf

    # TensorFlow exports this class nowhere; catching everything instead would hide real faults.
    from tensorflow.lite.python.convert_phase import ConverterError

    picked = np.linspace(0, len(calibration) - 1, min(len(calibration), REPRESENTATIVE)).astype(int)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([calibration[i : i + 1]] for i in picked)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    if not per_channel:
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    refused: ConverterError | None = None
    with suppress_output(verbose):
        try:
            content = bytes(converter.convert())
        except ConverterError as error:
            refused = error
    if refused is not None:
        ops = sorted(set(re.findall(r"'(tf\.\w+)' op", str(refused))))
        what = f"the converter has no int8 form of {', '.join(ops)}" if ops else "the converter refused the model"
        raise QuantizationError(f"{what}, expected ops of TFLite's int8 set only; {REMEDY}") from refused
    _refuse_float(content, verbose)
    return content


def _refuse_float(content: bytes, verbose: bool) -> None:
    """Raise QuantizationError if a tensor stayed float: the converter lets an op without int8 pass between casts."""
    with suppress_output(verbose):
        engine = open_file(content)
        left = [tensor["name"] for tensor in engine.get_tensor_details() if np.issubdtype(tensor["dtype"], np.floating)]
    if left:
        raise QuantizationError(
            f"{len(left)} tensors stayed float ({left[0]!r} first), expected int8 throughout: the op has no int8 form; "
            f"{REMEDY}"
        )


def packed(content: bytes) -> bytes:
    """The same file without what no runtime reads (metadata, long tensor names); the ends are `input` and `logits`.

    A small model's file is a fifth overhead; this takes a seventh of it off.
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


def measure(
    content: bytes, inputs: FloatArray, wanted: NDArray[np.intp], verbose: bool = False
) -> tuple[int, int, str]:
    """Run the file on every kernel set: worst count of mismatches, least lead in output integers, the runtime.

    inputs: (m, ...) float32. wanted: (m,) Keras argmax.
    """
    mismatches, lead = 0, 255
    rows = np.arange(len(wanted))
    with suppress_output(verbose):
        for kernels in KERNEL_SETS:
            output = invoke(open_file(content, kernels), inputs)
            others = output.copy()
            others[rows, wanted] = -129
            mismatches = max(mismatches, int((output.argmax(1) != wanted).sum()))
            lead = min(lead, int((output[rows, wanted] - others.max(1)).min()))
    return mismatches, lead, _runtime()[0]


def _runtime() -> tuple[str, Any, Any]:
    """The runtime's name, its interpreter class and its kernel sets."""
    try:
        from ai_edge_litert import interpreter as runtime  # what devices have

    except ImportError:
        import tensorflow as tf

        return "tensorflow", tf.lite.Interpreter, tf.lite.experimental.OpResolverType
    return "ai-edge-litert", runtime.Interpreter, runtime.OpResolverType


def open_file(content: bytes, kernel_set: str = KERNEL_SETS[-1]) -> Any:
    """An interpreter of the file, ready to run, on one thread."""
    _, opener, kernels = _runtime()
    engine = opener(model_content=content, experimental_op_resolver_type=getattr(kernels, kernel_set), num_threads=1)
    engine.allocate_tensors()
    return engine


def invoke(engine: Any, inputs: FloatArray) -> NDArray[np.int32]:
    """One input at a time, as devices do; (m, classes) output integers."""
    source, sink = engine.get_input_details()[0], engine.get_output_details()[0]
    scale, zero_point = source["quantization"]
    integers = np.clip(np.round(inputs / scale) + zero_point, -128, 127).astype(np.int8)
    outputs = []
    for i in range(len(integers)):
        engine.set_tensor(source["index"], integers[i : i + 1])
        engine.invoke()
        outputs.append(engine.get_tensor(sink["index"])[0])
    return np.asarray(np.stack(outputs), np.int32)
