"""Where an int8 model loses precision: each layer's own error, recomputed from its very inputs and weights.

A layer that is well quantized errs only by rounding its output once: evenly within half a quantum, so its
root-mean-square error is 1/sqrt(12), about 0.289 quanta. More means saturation: the range is too narrow for some
inputs, which a tuned export does on purpose where no answer hangs on it. A low signal-to-noise ratio beside a healthy
rounding means the opposite, a range so wide that the quanta are coarse. TFLite's QuantizationDebugger asks the same.
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
# What tells every layer's values, in order of preference, and on which kernels: those that round once where they can.
TRACERS = {"litert": "reference", "tflite-runtime": "reference", "numpy": "exact"}
ELEMENTS = 2**21  # of the largest tensor, in one batch: some 100 MB in float64


@dataclass(frozen=True)
class LayerError:
    """One operator of an int8 model, over all inputs.

    Attributes:
        layer: its output tensor's name, without what comes before the layer's own.
        operator: its name in TFLite.
        scale: of its output, real units a quantum.
        rmse_over_scale: root-mean-square error in output quanta, over the values that the activation lets through.
        in_range_rmse_over_scale: the same over those that int8 holds at this scale: its rounding alone.
        snr_db: power of the exact output over power of the error, decibels; None where there is no error at all.
        saturated: share of the values that lie outside what int8 holds at this scale.
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
    """The layers of one int8 artifact.

    Attributes:
        runtime: where the layers' values are from.
        layers: in the order in which they run; operators that only move values are left out.
        not_measured: ``"OPERATOR (layer)"`` of each that there is no float64 form of here.
    """

    runtime: str
    layers: tuple[LayerError, ...]
    not_measured: tuple[str, ...] = ()


def inspect_layers(bundle: Bundle, artifact: Artifact, timeout: float, memory_bytes: int | None = None) -> LayerReport:
    """The error of each layer of an int8 artifact over the bundle's inputs, measured in a process of its own.

    Raises RuntimeUnavailableError when no runtime for it is installed, and ModelError when none can tell the layers'
    values within ``timeout`` seconds and ``memory_bytes`` (see :func:`edgedigits.system.isolation.run_all`).
    """
    fitting = [name for name in TRACERS if name in artifact.opened_by]
    failures = []
    for runtime in (name for name in fitting if RUNTIMES[name].installed):
        request = {**bundle.request, "artifact": artifact.file, "runtime": runtime}
        outcome = run("edgedigits.parity.layers:child_layers", request, timeout, memory_bytes)
        if outcome.status == "ok":
            layers = tuple(LayerError(**layer) for layer in outcome.answer["layers"])
            return LayerReport(runtime, layers, tuple(outcome.answer["not_measured"]))
        failures.append(f"{runtime}: {outcome.message}")
    if failures:
        raise ModelError(f"{artifact.file}: {'; '.join(failures)}")
    raise RuntimeUnavailableError(
        f"{artifact.file}: none of {', '.join(fitting) or 'the TFLite runtimes'}, which tell its layers' values, is "
        f"installed; {RUNTIMES['litert'].install}"
    )


def child_layers(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: the report of one artifact in one runtime, in plain types."""
    bundle = Bundle.again(request)
    try:
        return asdict(layer_errors(bundle.read(request["artifact"]), bundle.inputs()[0], request["runtime"]))
    except (RuntimeError, ValueError) as cause:  # what the interpreters raise
        raise ModelError(" ".join(str(cause).split())[:300]) from cause


def layer_errors(model: bytes, x: FloatArray, runtime: str = "numpy") -> LayerReport:
    """The error of each layer of an int8 .tflite on inputs (m, ...) float32.

    Args:
        runtime: what runs the model and tells its layers' values; numpy runs dense ones only.

    Raises ValueError for a model without int8 layers, and EdgeDigitsError for one that the runtime refuses.
    """
    adapter: Any = open_adapter(model, "tflite", runtime, 1, TRACERS[runtime])
    operators = [op for op in read_graph(model)[2] if op.output.type == "INT8" and len(op.output.scale) == 1]
    if not operators:
        raise ValueError("the model is float32; expected an int8 one")
    layers = [op for op in operators if op.name not in MOVES and not _only_joins(op)]
    sums = {op.output.number: _Sums(op) for op in layers if _measurable(op)}
    seen = [t for op in layers if op.output.number in sums for t in (*op.inputs, op.output) if t and not t.values.size]
    step = max(1, min(500, ELEMENTS // max((math.prod(tensor.shape[1:]) for tensor in seen), default=1)))
    x = x.reshape(len(x), *adapter.inputs.shape)
    for start in range(0, len(x) if sums else 0, step):
        values = adapter.trace(adapter.inputs.quantize(x[start : start + step]), {tensor.number for tensor in seen})
        for measured in sums.values():
            measured.add(values)
    others = tuple(f"{op.name} ({_short(op.output.name)})" for op in layers if op.output.number not in sums)
    return LayerReport(runtime, tuple(measured.result() for measured in sums.values()), others)


def _short(name: str) -> str:
    """A tensor's name without the model's and the operator's: of a Keras model's, what the layer itself is called."""
    parts = name.partition(";")[0].split("/")  # an operator that was fused carries all its parts' names
    if parts[0].startswith("StatefulPartitionedCall"):  # how TensorFlow calls what a saved model returns
        return "output"
    return "/".join(parts[1:-1] if len(parts) > 2 else parts[:1])


def _activation(op: Operator) -> int:
    """Its place among ACTIVATIONS, or beyond them."""
    fused: int = {"RELU": 1, "RELU6": 3}.get(op.name, op.options.get("fused_activation_function", 0))
    return fused


def _only_joins(op: Operator) -> bool:
    """Whether it is a CONCATENATION of tensors that share their quantization, which moves values and no more."""
    kinds = {(*t.scale.tolist(), *t.zero_point.tolist()) for t in (*op.inputs, op.output) if t is not None}
    return op.name == "CONCATENATION" and len(kinds) == 1


def _measurable(op: Operator) -> bool:
    known = all(t is None or t.type in ("INT8", "INT32", "FLOAT32") for t in op.inputs)
    return known and op.name in OPERATIONS and 0 <= _activation(op) < len(ACTIVATIONS)


def _real(tensor: Tensor, stored: AnyArray) -> AnyArray:
    """Stored integers to real values, float64; what has no scale is as it is."""
    if not tensor.scale.size:
        return stored.astype(np.float64)
    along = [1] * stored.ndim
    if len(tensor.scale) > 1:
        along[tensor.axis] = -1
    scale, zero_point = tensor.scale.astype(np.float64).reshape(along), tensor.zero_point.reshape(along)
    return np.asarray((stored - zero_point) * scale)


class _Sums:
    """What an operator's errors add up to, batch by batch."""

    def __init__(self, op: Operator) -> None:
        self._op = op
        self._count = self._saturated = 0
        self._power = self._error = 0.0
        self._passed, self._in_range = np.zeros(2), np.zeros(2)  # how many, and the sum of their squared errors

    def add(self, values: dict[int, AnyArray]) -> None:
        """Take one batch, all tensors as stored, by their numbers in the file."""
        op, stored = self._op, values[self._op.output.number]
        exact = _exact(op, values).reshape(stored.shape)
        low, high = ACTIVATIONS[_activation(op)]
        passed = (exact > low) & (exact < high)
        exact = np.clip(exact, low, high)
        squared: AnyArray = (_real(op.output, stored) - exact) ** 2
        quanta = exact / float(op.output.scale[0]) + int(op.output.zero_point[0])
        saturated = (quanta < -128.5) | (quanta > 127.5)
        self._count += exact.size
        self._saturated += int(saturated.sum())
        self._power += float((exact**2).sum())
        self._error += float(squared.sum())
        for chosen, into in ((passed, self._passed), (passed & ~saturated, self._in_range)):
            into += chosen.sum(), squared[chosen].sum()

    def result(self) -> LayerError:
        """The row."""
        scale = float(self._op.output.scale[0])
        ratio = self._power / self._error if self._error else 0.0
        return LayerError(
            layer=_short(self._op.output.name),
            operator=self._op.name,
            scale=scale,
            rmse_over_scale=_rmse(self._passed) / scale,
            in_range_rmse_over_scale=_rmse(self._in_range) / scale,
            snr_db=10 * math.log10(ratio) if ratio else None,
            saturated=self._saturated / max(self._count, 1),
        )


def _rmse(of: AnyArray) -> float:
    return float(np.sqrt(of[1] / max(of[0], 1)))


def _exact(op: Operator, values: dict[int, AnyArray]) -> AnyArray:
    """The operator's output before its activation, float64, from the very values that it was given."""
    given = [t for t in (op.inputs[:2] if op.name in WEIGHTED else op.inputs) if t is not None]
    reals = [_real(t, t.values if t.values.size else values[t.number]) for t in given]
    exact = OPERATIONS[op.name](reals, op.options)
    bias = op.inputs[2] if op.name in WEIGHTED and len(op.inputs) > 2 else None
    if bias is None:
        return exact
    return np.asarray(exact + bias.values * given[0].scale.astype(np.float64) * given[1].scale)
