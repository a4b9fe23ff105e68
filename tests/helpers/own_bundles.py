"""Bundles of other people's kinds of models, written without TensorFlow in a fraction of a second."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s

from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, Bundle
from edgedigits.bundle.contract import Contract
from edgedigits.bundle.manifest import Artifact, InputRows, Manifest
from edgedigits.runtimes.oracle.reader import read_graph
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.files import sha256
from edgedigits.system.text import to_json

Op = s.BuiltinOperator


def tflite(shape: tuple[int, ...], weights: FloatArray, bias: FloatArray, end: int | None, int8: bool = False) -> bytes:
    """A dense layer of weights (units, inputs) on flattened inputs, and SOFTMAX or LOGISTIC or nothing after it.

    int8 takes inputs and sums within 8, and outputs of SOFTMAX or LOGISTIC in 256 steps.
    """
    model, graph = s.ModelT(), s.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [s.BufferT()], []
    graph.tensors, graph.operators = [], []
    step = np.float32(16 / 255)
    size = np.float32(np.abs(weights).max() / 127)

    def tensor(name: str, dims: list[int], scale: Any, zero: int = 0, values: AnyArray | None = None) -> int:
        t = s.TensorT()
        t.name, t.shape, t.buffer, t.type = name, dims, 0, s.TensorType.INT8 if int8 else s.TensorType.FLOAT32
        if values is not None:
            model.buffers.append(s.BufferT())
            model.buffers[-1].data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            t.buffer = len(model.buffers) - 1
            t.type = s.TensorType.INT32 if values.dtype == np.int32 else t.type
        if int8:
            t.quantization = s.QuantizationParametersT()
            t.quantization.scale, t.quantization.zeroPoint = np.array([scale], "f4"), np.array([zero], "i8")
        graph.tensors.append(t)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], output: int, kind: int = 0, options: Any = None) -> int:
        model.operatorCodes.append(s.OperatorCodeT())
        model.operatorCodes[-1].builtinCode = model.operatorCodes[-1].deprecatedBuiltinCode = code
        model.operatorCodes[-1].version = 1
        op = s.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = len(model.operatorCodes) - 1, inputs, [output]
        op.builtinOptionsType, op.builtinOptions = kind, options
        graph.operators.append(op)
        return output

    x = tensor("x", [1, *shape], step)
    graph.inputs = [x]
    if len(shape) > 1:
        reshape = s.ReshapeOptionsT()
        reshape.newShape = [-1, weights.shape[1]]
        flat = tensor("flat", [1, weights.shape[1]], step)
        x = operator(Op.RESHAPE, [x], flat, s.BuiltinOptions.ReshapeOptions, reshape)
    stored = np.rint(weights / size).astype(np.int8) if int8 else weights
    shift = np.rint(bias / (step * size)).astype(np.int32) if int8 else bias
    w = tensor("w", list(weights.shape), size, 0, stored)
    b = tensor("b", [len(bias)], step * size, 0, shift)
    y = tensor("sums", [1, len(bias)], step)
    dense = s.FullyConnectedOptionsT()
    y = operator(Op.FULLY_CONNECTED, [x, w, b], y, s.BuiltinOptions.FullyConnectedOptions, dense)
    if end is not None:
        softmax = s.SoftmaxOptionsT()
        softmax.beta = 1.0
        options = (s.BuiltinOptions.SoftmaxOptions, softmax) if end == Op.SOFTMAX else ()
        y = operator(end, [y], tensor("y", [1, len(bias)], 1 / 256, -128), *options)
    graph.outputs = [y]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write_bundle(
    folder: Path, artifacts: Mapping[str, bytes], x: FloatArray, contract: Contract, labels: tuple[str, ...]
) -> Path:
    """A bundle of .tflite files whose first one is the reference; the labels y are its own predictions."""
    folder.mkdir()
    described, outputs = [], list[FloatArray]()
    for file, content in artifacts.items():
        with Session(content, "tflite", "litert") as session:
            described.append(
                Artifact(file, "tflite", ("litert",), sha256(content), len(content), session.input, session.output, {})
            )
            outputs.append(session.run(x))
        (folder / file).write_bytes(content)
    y = contract.scores(outputs[0]).argmax(axis=1).astype(np.uint16)
    files = {}
    for file, arrays in ((INPUTS, {"X": x, "y": y}), (GOLDEN, {"logits": outputs[0]})):
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        (folder / file).write_bytes(stream.getvalue())
        files[file] = stream.getvalue()
    manifest = Manifest(
        name=folder.name,
        artifacts=tuple(described),
        files={file: sha256(content) for file, content in files.items()},
        images=len(x),
        labels=labels,
        contract=contract,
        training={},
        versions={},
        data={"X": sha256(x.tobytes()), "y": sha256(y.astype(np.int64).tobytes())},
        rows=InputRows.of(x, files[INPUTS].index(x.tobytes())),
    )
    (folder / MANIFEST).write_text(to_json(manifest.to_dict()), encoding="utf-8")
    return folder


def row_major(folder: Path) -> Path:
    """The notebook's network for digits that are laid out by rows, values 0 to 1: its first weights are rearranged."""
    bundle = Bundle()
    content = bundle.read("float32.tflite")
    tensor = read_graph(content)[2][0].inputs[1]
    assert tensor is not None
    weights = tensor.values
    by_rows = np.ascontiguousarray(weights.reshape(-1, 20, 20).transpose(0, 2, 1).reshape(weights.shape))
    assert content.count(weights.tobytes()) == 1
    x = bundle.inputs()[0][::5]
    pictures = np.rint(np.clip(x.reshape(-1, 20, 20).transpose(0, 2, 1), 0, 1) * 255).astype(np.uint8)
    x = pictures.reshape(-1, 400).astype(np.float32) / np.float32(255)
    contract = Contract((400,), 0.0, float(x.mean()), 1.0, pictures="plain", order="rows", scale=255.0)
    model = content.replace(weights.tobytes(), by_rows.tobytes())
    return write_bundle(folder, {"float32.tflite": model}, x, contract, tuple("0123456789"))


def random_model(
    folder: Path, contract: Contract, labels: tuple[str, ...], end: int | None = None, int8: bool = False
) -> Path:
    """A dense layer of random weights behind inputs of any shape."""
    random = np.random.default_rng(0)
    units, inputs = (1 if end == Op.LOGISTIC else len(labels)), int(np.prod(contract.shape))
    weights = (random.normal(size=(units, inputs)) / np.sqrt(inputs)).astype(np.float32)
    bias = (random.normal(size=units) / 10).astype(np.float32)
    low, high = contract.minimum or 0.0, contract.maximum or 1.0
    x = random.uniform(low, high, size=(200, *contract.shape)).astype(np.float32)
    artifacts = {"float32.tflite": tflite(contract.shape, weights, bias, end)}
    if int8:
        artifacts["int8.tflite"] = tflite(contract.shape, weights, bias, end, int8=True)
    return write_bundle(folder, artifacts, x, contract, labels)


def write_all(folder: Path) -> dict[str, Path]:
    """A row-major one, one for images that ends in a softmax, one that ends in a sigmoid, one of 300 classes."""
    images = Contract((28, 28, 1), 0.0, 0.5, 1.0, pictures="plain", scale=255.0, output="softmax")
    five = Contract((5,), -3.0, 0.0, 3.0, output="sigmoid")
    return {
        "rows": row_major(folder / "rows"),
        "softmax": random_model(folder / "softmax", images, ("cat", "dog", "New York"), Op.SOFTMAX),
        "sigmoid": random_model(folder / "sigmoid", five, ("ham", "spam"), Op.LOGISTIC, int8=True),
        "many": random_model(folder / "many", Contract((7,), -3.0, 0.0, 3.0), tuple(f"class {n}" for n in range(300))),
    }
