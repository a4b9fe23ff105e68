"""Keras to ONNX with tf2onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgedigits.runtimes.tensors import TensorSpec
from edgedigits_export.quiet import suppress_output

if TYPE_CHECKING:
    import keras

# Pinned: older onnxruntimes cannot read the newest opset and IR version. Those since 1.10 (2021) read these.
OPSET, IR_VERSION = 15, 8
INPUT, OUTPUT = "image", "logits"


def convert(model: keras.Model, verbose: bool = False) -> bytes:
    """The model as .onnx: input ``image`` (batch, n) float32 and output ``logits`` (batch, classes), any batch."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    # tf2onnx's from_keras fails on a Keras 3 Sequential (KeyError: 'keras_tensor_...').
    @tf.function(input_signature=[tf.TensorSpec((None, model.input_shape[1]), tf.float32, name=INPUT)])  # type: ignore[untyped-decorator]
    def classify(image: Any) -> dict[str, Any]:
        return {OUTPUT: model(image, training=False)}

    with suppress_output(verbose):
        converted, _ = tf2onnx.convert.from_function(classify, input_signature=classify.input_signature, opset=OPSET)
    converted.ir_version = IR_VERSION
    converted.graph.doc_string = ""  # it has a counter of TensorFlow's; the same model must give the same file
    for tensor in (*converted.graph.input, *converted.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"  # tf2onnx names it unk__ and a number
    onnx.checker.check_model(converted, full_check=True)
    content: bytes = converted.SerializeToString()
    return content


def describe(content: bytes) -> tuple[TensorSpec, TensorSpec, dict[str, Any]]:
    """Input, output and facts (opset, IR version, operators) of an .onnx file's bytes."""
    import onnx

    model = onnx.load_model_from_string(content)

    def spec(tensor: Any) -> TensorSpec:
        return TensorSpec(tensor.name, tuple(d.dim_value for d in tensor.type.tensor_type.shape.dim[1:]), "float32")

    facts = {
        "opset": model.opset_import[0].version,
        "ir_version": model.ir_version,
        "ops": sorted({node.op_type for node in model.graph.node}),
    }
    return spec(model.graph.input[0]), spec(model.graph.output[0]), facts
