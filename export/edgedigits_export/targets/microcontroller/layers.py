"""The layers of a dense int8 model as integers, and the integer form of its input quantization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgedigits.errors import ExportError
from edgedigits.runtimes.oracle.arithmetic import activation_range, quantize_multiplier
from edgedigits.runtimes.oracle.reader import read_chain
from edgedigits.runtimes.tensors import AnyArray, TensorSpec

OPERATORS = ("FULLY_CONNECTED", "RESHAPE")
BLOCKS = (6, 5, 4)  # units computed at once, the preferred number first; more do not fit into the registers
MOST_OFFSET = 2**16 - 1  # of an input's weights within their block, uint16_t in C


@dataclass(frozen=True)
class DenseLayer:
    """A FULLY_CONNECTED layer; weights (units, inputs), the other arrays (units,), all int64.

    An output is ``clip(sum((x - zero_in) * w) + bias) * multiplier * 2**(shift - 31) + zero_out, low, high)``, rounded
    as the kernel set ``reference`` does.
    """

    weights: AnyArray
    bias: AnyArray
    multiplier: AnyArray
    shift: AnyArray
    zero_in: int
    zero_out: int
    low: int
    high: int

    def padded(self, block: int) -> DenseLayer:
        """The layer with weights and biases of 0 added, so that the number of units is a multiple of ``block``."""
        more = -len(self.bias) % block
        weights, bias = np.pad(self.weights, ((0, more), (0, 0))), np.pad(self.bias, (0, more))
        return replace(self, weights=weights, bias=bias)

    def interleaved(self, block: int) -> AnyArray:
        """The weights in the order in which C reads them: by block of units, by input, by unit of the block."""
        inputs = self.weights.shape[1]
        return self.padded(block).weights.reshape(-1, block, inputs).transpose(0, 2, 1).ravel()

    def flash_bytes(self, block: int) -> int:
        """The bytes of its arrays in C: int8 weights and shifts, int32 biases and multipliers."""
        return self.interleaved(block).size + 4 * len(self.padded(block).bias) + 5 * len(self.bias)


def read_layers(model: bytes) -> list[DenseLayer]:
    """The layers of a .tflite that the numpy runtime accepts; ExportError if one is not int8 FULLY_CONNECTED."""
    x, operators = read_chain(model, OPERATORS)
    layers = []
    for op in operators:
        y = op.output
        if op.name == "FULLY_CONNECTED":
            _, w, b = (*op.inputs, None)[:3]
            assert w is not None  # else the numpy runtime refuses it
            if np.any(w.zero_point):
                raise ExportError(f"the weights {w.name!r} have a zero point; expected symmetric weights")
            units = len(w.values)
            scales = np.broadcast_to(x.scale.astype(np.float64) * w.scale / y.scale, units)
            low, high = np.ravel(activation_range(op.options.get("fused_activation_function", 0), y, "reference"))
            layers.append(
                DenseLayer(
                    w.values.astype(np.int64),
                    np.zeros(units, np.int64) if b is None else b.values.astype(np.int64),
                    *quantize_multiplier(scales),
                    *(int(value) for value in (x.zero_point[0], y.zero_point[0], low, high)),
                )
            )
        x = y
    if not layers:
        raise ExportError("the model has no FULLY_CONNECTED layer; export a model with a dense layer")
    return layers


def best_block(layers: Sequence[DenseLayer]) -> int:
    """The number of units to compute at once that pads the weights least; ExportError if the layers are too wide."""
    block = min(BLOCKS, key=lambda n: sum(layer.interleaved(n).size for layer in layers))
    widest = max(layer.weights.shape[1] for layer in layers)
    most = min(MOST_OFFSET // block, 2**15 - block)
    if max(widest, *(len(layer.bias) for layer in layers)) > most:
        raise ExportError(f"a layer has more than {most:,} inputs or units, which is the most that the C code supports")
    return block


def pixel_table(spec: TensorSpec, scale: float) -> AnyArray:
    """The int8 input of each pixel value 0 to 255, divided by ``scale`` first; (256,) int8."""
    return spec.quantize(np.arange(256, dtype=np.float32) / np.float32(scale))


def pixel_formula(spec: TensorSpec, scale: float) -> tuple[int, int, int] | None:
    """(a, b, shift) with ``pixel_table[p] == min((a * p + b >> shift) + zero_point, 127)`` in int32; None without any.

    It is shorter than a table of 256 bytes; it is used only where it gives all of the table's values.
    """
    table, pixels = pixel_table(spec, scale), np.arange(256)
    assert spec.scale is not None
    assert spec.zero_point is not None
    for shift in range(8, 23):
        half = 1 << shift >> 1
        a = round((1 << shift) / (scale * spec.scale))
        for b in (half, half - 1, half + 1):
            found = np.minimum((a * pixels + b >> shift) + spec.zero_point, 127)
            if np.array_equal(found, table) and a * 255 + b < 2**31:
                return a, b, shift
    return None
