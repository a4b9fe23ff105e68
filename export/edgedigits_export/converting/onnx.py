"""Keras to ONNX with tf2onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.errors import ExportError
from edgedigits.runtimes.tensors import TensorSpec
from edgedigits_export.quiet import conversion

if TYPE_CHECKING:
    import keras

# Pinned: older onnxruntimes cannot read the newest opset and IR version. Those since 1.10 (2021) read these.
OPSET, IR_VERSION = 15, 8
INPUT, OUTPUT = "image", "logits"


def convert(model: keras.Model, verbose: bool = False) -> bytes:
    """The model as .onnx: input ``image`` (batch, ...) float32 and output ``logits`` (batch, classes), any batch."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    shape, classes = model.inputs[0].shape[1:], model.outputs[0].shape[1]

    # tf2onnx's from_keras fails on a Keras 3 Sequential (KeyError: 'keras_tensor_...').
    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.float32, name=INPUT)])  # type: ignore[untyped-decorator]
    def classify(image: Any) -> dict[str, Any]:
        return {OUTPUT: model(image, training=False)}

    with conversion(verbose):
        converted, _ = tf2onnx.convert.from_function(
            classify,
            input_signature=classify.input_signature,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},  # the GELU of TensorFlow, which tf2onnx does not know
        )
        _store_constants(converted.graph, classify.get_concrete_function())
        converted.ir_version = IR_VERSION
        converted.graph.doc_string = ""  # it has a counter of TensorFlow's; the same model must give the same file
        for tensor in (*converted.graph.input, *converted.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_param = "batch"  # tf2onnx names it unk__ and a number
        converted.graph.output[0].type.tensor_type.shape.dim[1].dim_value = classes
        _require_known(converted)
        onnx.checker.check_model(converted, full_check=True)
    content: bytes = converted.SerializeToString()
    return content


def _store_constants(graph: Any, function: Any) -> None:
    """Store constants that the function captures, which tf2onnx makes inputs, such as the mean of a Normalization."""
    from onnx import numpy_helper

    values = {inner.name: outer for outer, inner in function.graph.captures}
    for tensor in [tensor for tensor in graph.input if tensor.name in values]:
        graph.initializer.append(numpy_helper.from_array(values[tensor.name].numpy(), tensor.name))
        graph.input.remove(tensor)


def _erfc(context: Any, node: Any, name: str, args: Any) -> Any:
    """Replace a node Erfc by 1 - Erf."""
    from tf2onnx.utils import make_name

    node.type, node.domain = "Erf", ""
    one = context.make_const(make_name("one"), np.float32(1))
    result = context.make_node("Sub", [one.output[0], node.output[0]], name=make_name("erfc"))
    readers = [other for other in context.get_nodes() if other is not result]
    context.replace_all_inputs(node.output[0], result.output[0], ops=readers)
    return node


def _require_known(model: Any) -> None:
    """ExportError if tf2onnx left operators of TensorFlow in the model, of which it only logs a note."""
    from onnx import defs

    unknown = {n.op_type for n in model.graph.node if n.domain or not defs.has(n.op_type, OPSET)}
    if unknown:
        raise ExportError(f"ONNX has no operator for {', '.join(sorted(unknown))} of TensorFlow")


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
