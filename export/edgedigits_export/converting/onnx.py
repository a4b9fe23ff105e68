"""Keras to ONNX, by tf2onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgedigits.runtimes.tensors import TensorSpec

if TYPE_CHECKING:
    import keras

# Pinned, and recorded in the manifest: the newest onnx writes an opset and an IR version that an older onnxruntime
# does not read. These are read by every onnxruntime since 1.10 (2021).
OPSET, IR_VERSION = 15, 8
INPUT, OUTPUT = "image", "logits"


def convert(model: keras.Model) -> bytes:
    """The model as .onnx: input ``image`` (batch, n) float32 and output ``logits`` (batch, classes), any batch."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    # from_keras fails on a Keras 3 Sequential (KeyError: 'keras_tensor_...'); a function that names its output works.
    @tf.function(input_signature=[tf.TensorSpec((None, model.input_shape[1]), tf.float32, name=INPUT)])  # type: ignore[untyped-decorator]
    def answer(image: Any) -> dict[str, Any]:
        return {OUTPUT: model(image, training=False)}

    converted, _ = tf2onnx.convert.from_function(answer, input_signature=answer.input_signature, opset=OPSET)
    converted.ir_version = IR_VERSION
    converted.graph.doc_string = ""  # it names a counter of TensorFlow's: the same model is to be the same file
    _name_batch(converted)
    onnx.checker.check_model(converted, full_check=True)
    content: bytes = converted.SerializeToString()
    return content


def _name_batch(converted: Any) -> None:
    """The first axis of input and output is the batch, by name; tf2onnx calls it ``unk__`` and a number."""
    for tensor in (*converted.graph.input, *converted.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"


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
