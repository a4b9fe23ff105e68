"""The quantization error of each layer of an int8 model, recomputed in float64 from the layer's own inputs and weights.

A well quantized layer only rounds its output once. The error is then uniform within half a quantum, with a
root-mean-square of 1/sqrt(12), about 0.289 quanta. A larger error means saturation: the range is too narrow for some
inputs, which a tuned export chooses deliberately where it cannot change the predicted class. A low signal-to-noise
ratio at a healthy error means that the range is too wide. TFLite's QuantizationDebugger measures the same.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgedigits.bundle.bundle import Artifact, Bundle
from edgedigits.errors import ModelError, RuntimeUnavailableError
from edgedigits.runtimes.oracle.arithmetic import ACTIVATIONS
from edgedigits.runtimes.oracle.float_ops import MOVES, OPERATIONS, WEIGHTED
from edgedigits.runtimes.oracle.reader import Operator, Tensor, read_graph
from edgedigits.runtimes.session import open_adapter
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.isolation import run

HEALTHY = 1 / math.sqrt(12)
# The runtimes that can return the values of every layer, by preference, and their kernels that round once if they can.
TRACERS = {"litert": "reference", "tflite-runtime": "reference", "numpy": "exact"}
ELEMENTS = 2**21  # of the largest tensor in one batch: about 100 MB in float64


@dataclass(frozen=True)
class LayerError:
    """The error of one operator of an int8 model over all inputs.

    Attributes:
        layer: the name of its output tensor, without the model's and operator's parts.
        scale: the real size of one output quantum.
        rmse_over_scale: root-mean-square error in quanta, over the values that the activation does not clip.
        in_range_rmse_over_scale: the same over those that int8 can represent at this scale: the rounding error.
        snr_db: signal-to-noise ratio in decibels; None if there is no error.
        saturated: the share of values outside the range of int8 at this scale.
    """

    layer: str
    operator: str
    scale: float
    rmse_over_scale: float
    in_range_rmse_over_scale: float
    snr_db: float | None
    saturated: float


@dataclass(frozen=True)
class LayerReport:
    """The layers of one int8 artifact, without operators that only move values, as ``runtime`` computed them.

    ``not_measured`` names the operators that have no float64 implementation here.
    """

    runtime: str
    layers: tuple[LayerError, ...]
    not_measured: tuple[str, ...] = ()


def inspect_layers(bundle: Bundle, artifact: Artifact, timeout: float, memory_bytes: int | None = None) -> LayerReport:
    """Measure the error of each layer of an int8 artifact over the bundle's inputs, in a separate process.

    Raises RuntimeUnavailableError if no runtime for it is installed, and ModelError if none returns the layers' values
    within ``timeout`` seconds and ``memory_bytes``.
    """
    fitting = [name for name in TRACERS if name in artifact.opened_by]
    failures = []
    for runtime in (name for name in fitting if RUNTIMES[name].installed):
        request = {**bundle.request, "artifact": artifact.file, "runtime": runtime}
        outcome = run("edgedigits.parity.layers:measure_layers", request, timeout, memory_bytes)
        if outcome.status == "ok":
            layers = tuple(LayerError(**layer) for layer in outcome.answer["layers"])
            return LayerReport(runtime, layers, tuple(outcome.answer["not_measured"]))
        failures.append(f"{runtime}: {outcome.message}")
    if failures:
        raise ModelError(f"{artifact.file}: {'; '.join(failures)}")
    raise RuntimeUnavailableError(
        f"{artifact.file}: no runtime that returns the values of its layers is installed; expected "
        f"{' or '.join(fitting or TRACERS)}; {RUNTIMES['litert'].install}"
    )


def measure_layers(request: dict[str, Any]) -> dict[str, Any]:
    """The report of one artifact in one runtime, as JSON types; runs in its own process."""
    bundle = Bundle.reopen(request)
    try:
        return asdict(layer_errors(bundle.read(request["artifact"]), bundle.inputs()[0], request["runtime"]))
    except (RuntimeError, ValueError) as cause:  # raised by the interpreters
        raise ModelError(" ".join(str(cause).split())[:300]) from cause


def layer_errors(model: bytes, x: FloatArray, runtime: str = "numpy") -> LayerReport:
    """Measure the error of each layer of an int8 .tflite on inputs (m, ...) float32.

    ``runtime`` runs the model and returns the layers' values; numpy runs dense models only.

    Raises ValueError for a model without int8 layers, and EdgeDigitsError for one that the runtime refuses.
    """
    adapter: Any = open_adapter(model, "tflite", runtime, 1, TRACERS[runtime])
    operators = [op for op in read_graph(model)[2] if op.output.type == "INT8" and len(op.output.scale) == 1]
    if not operators:
        raise ValueError("the model is float32; expected an int8 model")
    layers = [op for op in operators if not _only_moves_values(op)]
    measured = [op for op in layers if _measurable(op)]
    traced = [t for op in measured for t in (*op.inputs, op.output) if t and not t.values.size]
    batch = max(1, min(500, ELEMENTS // max((math.prod(tensor.shape[1:]) for tensor in traced), default=1)))
    x = x.reshape(len(x), *adapter.inputs.shape)
    totals = np.zeros((len(measured), 8))
    for start in range(0, len(x) if measured else 0, batch):
        values = adapter.trace(adapter.inputs.quantize(x[start : start + batch]), {t.number for t in traced})
        totals += [_error_sums(op, values) for op in measured]
    others = tuple(f"{op.name} ({_layer_name(op.output.name)})" for op in layers if not _measurable(op))
    return LayerReport(runtime, tuple(map(_layer_error, measured, totals)), others)


def _layer_name(name: str) -> str:
    """A Keras layer's name from its tensor's: ``model/layer/MatMul;model/layer/BiasAdd`` -> ``layer``."""
    parts = name.partition(";")[0].split("/")
    if parts[0].startswith("StatefulPartitionedCall"):  # TensorFlow's name for the outputs of a saved model
        return "output"
    return "/".join(parts[1:-1] if len(parts) > 2 else parts[:1])


def _activation(op: Operator) -> int:
    """The index of its fused activation in ACTIVATIONS, which may be out of range."""
    fused: int = {"RELU": 1, "RELU6": 3}.get(op.name, op.options.get("fused_activation_function", 0))
    return fused


def _only_moves_values(op: Operator) -> bool:
    """Also true for a CONCATENATION whose inputs and output have the same quantization."""
    kinds = {(*t.scale.tolist(), *t.zero_point.tolist()) for t in (*op.inputs, op.output) if t is not None}
    return op.name in MOVES or (op.name == "CONCATENATION" and len(kinds) == 1)


def _measurable(op: Operator) -> bool:
    known = all(t is None or t.type in ("INT8", "INT32", "FLOAT32") for t in op.inputs)
    return known and op.name in OPERATIONS and 0 <= _activation(op) < len(ACTIVATIONS)


def _dequantize(tensor: Tensor, stored: AnyArray) -> AnyArray:
    """Stored integers to real values, float64; a tensor without a scale keeps its values."""
    if not tensor.scale.size:
        return stored.astype(np.float64)
    shape = [1] * stored.ndim
    if len(tensor.scale) > 1:
        shape[tensor.axis] = -1
    scale, zero_point = tensor.scale.astype(np.float64).reshape(shape), tensor.zero_point.reshape(shape)
    return np.asarray((stored - zero_point) * scale)


def _exact_output(op: Operator, values: dict[int, AnyArray]) -> AnyArray:
    """The operator's output before its activation, in float64, from the stored inputs."""
    inputs = [t for t in (op.inputs[:2] if op.name in WEIGHTED else op.inputs) if t is not None]
    reals = [_dequantize(t, t.values if t.values.size else values[t.number]) for t in inputs]
    exact = OPERATIONS[op.name](reals, op.options)
    bias = op.inputs[2] if op.name in WEIGHTED and len(op.inputs) > 2 else None
    if bias is None:
        return exact
    return np.asarray(exact + bias.values * inputs[0].scale.astype(np.float64) * inputs[1].scale)


def _error_sums(op: Operator, values: dict[int, AnyArray]) -> list[float]:
    """The terms of :func:`_layer_error` for one batch of stored tensors by number: counts and sums of squares."""
    stored = values[op.output.number]
    exact = _exact_output(op, values).reshape(stored.shape)
    low, high = ACTIVATIONS[_activation(op)]
    passed = (exact > low) & (exact < high)
    exact = np.clip(exact, low, high)
    squared: AnyArray = (_dequantize(op.output, stored) - exact) ** 2
    quanta = exact / float(op.output.scale[0]) + int(op.output.zero_point[0])
    saturated = (quanta < -128.5) | (quanta > 127.5)
    rounded = passed & ~saturated
    sums = (saturated.sum(), (exact**2).sum(), squared.sum())
    return [exact.size, *sums, passed.sum(), squared[passed].sum(), rounded.sum(), squared[rounded].sum()]


def _layer_error(op: Operator, totals: AnyArray) -> LayerError:
    count, saturated, signal, noise, passed, passed_noise, rounded, rounded_noise = totals.tolist()
    scale = float(op.output.scale[0])
    ratio = signal / noise if noise else 0.0
    return LayerError(
        layer=_layer_name(op.output.name),
        operator=op.name,
        scale=scale,
        rmse_over_scale=math.sqrt(passed_noise / max(passed, 1)) / scale,
        in_range_rmse_over_scale=math.sqrt(rounded_noise / max(rounded, 1)) / scale,
        snr_db=10 * math.log10(ratio) if ratio else None,
        saturated=saturated / max(count, 1),
    )
