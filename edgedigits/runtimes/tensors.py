"""The inputs and outputs of an artifact: name, shape, dtype, and the affine map between float32 and int8."""

# Without `from __future__ import annotations`: the schema reads them, and parsing them again costs at every start.

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np

from edgedigits.system.limits import RefusedError, short
from edgedigits.system.schema import Text, within

if TYPE_CHECKING:
    import numpy.typing as npt  # takes a millisecond to import

FloatArray: TypeAlias = "npt.NDArray[np.float32]"
AnyArray: TypeAlias = "npt.NDArray[Any]"
MOST_ELEMENTS = 2**24  # of a tensor: 64 MB in float32


def check_shape(sides: list[Any]) -> None:
    """RefusedError for a shape from JSON that is none, or of a tensor that would not fit into memory."""
    whole = len(sides) <= 8 and all(type(n) is int and 1 <= n <= MOST_ELEMENTS for n in sides)
    if not whole or math.prod(sides) > MOST_ELEMENTS:
        shown = ", ".join(short(n) for n in sides[:8])
        raise RefusedError(f"is [{shown}], expected at most 8 sides and {MOST_ELEMENTS:,} elements")


def copying_invoke(
    run: Callable[[AnyArray], AnyArray], *specs: "TensorSpec"
) -> tuple[tuple[AnyArray, AnyArray], Callable[[], object]]:
    """The ``buffers`` and ``invoke`` of an adapter that has no access to its runtime's memory, from its ``run``."""
    x, y = (np.zeros((1, *spec.shape), spec.dtype) for spec in specs)

    def invoke() -> None:
        y[...] = run(x)

    return (x[0], y[0]), invoke


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of an artifact.

    Attributes:
        shape: without the batch axis, such as ``(400,)``.
        dtype: ``"float32"`` or ``"int8"``.
        scale, zero_point: of an int8 tensor, ``real = scale * (q - zero_point)``; None for float32.
    """

    name: Text
    shape: Annotated[tuple[int, ...], check_shape]
    dtype: Text
    scale: Annotated[float | None, within(1e-30, 1e30)] = None
    zero_point: Annotated[int | None, within(-128, 127)] = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "int8"):
            raise ValueError(f"tensor {self.name!r} has dtype {self.dtype}; float32 and int8 are supported")
        if (self.dtype == "int8") != (self.scale is not None and self.zero_point is not None):
            raise ValueError(
                f"tensor {self.name!r} of dtype {self.dtype} has scale {self.scale} and zero point {self.zero_point}"
            )

    @property
    def elements(self) -> int:
        """The number of elements of one image."""
        return math.prod(self.shape)

    def quantize(self, real: FloatArray) -> AnyArray:
        """Finite float32 values of any shape to the artifact's dtype: unchanged, or int8.

        Rounds to nearest, ties to even, and saturates to [-128, 127]. Source: the affine scheme of Jacob et al.,
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018), sec. 2.1.
        """
        if self.scale is None or self.zero_point is None:
            return real
        # Saturate first, so that no finite value overflows when it is divided by a small scale.
        q = np.maximum(real, self.scale * (-128 - self.zero_point))
        np.minimum(q, self.scale * (127 - self.zero_point), out=q)
        q *= np.float32(1.0 / self.scale)
        np.rint(q, out=q)
        q += np.float32(self.zero_point)
        return q.astype(np.int8)

    def dequantize(self, stored: AnyArray) -> FloatArray:
        """Values in the artifact's dtype, of any shape, to float32."""
        if self.scale is None or self.zero_point is None:
            return stored
        return (stored - np.float32(self.zero_point)) * np.float32(self.scale)

    def quantizer(self) -> Callable[[FloatArray, AnyArray], None]:
        """A function that quantizes one (*shape,) array into another, three times as fast as :meth:`quantize`.

        It keeps its buffers, so threads must not share it. Its constants are full arrays, which NumPy handles in two
        thirds of the time of scalars.
        """
        if self.scale is None or self.zero_point is None:
            raise ValueError(f"tensor {self.name!r} is not quantized")
        work = np.empty(self.shape, np.float32)
        limits = ((q - self.zero_point) * self.scale for q in (-128, 127))
        low, high, inverse, zero = (np.full_like(work, c) for c in (*limits, 1.0 / self.scale, self.zero_point))
        multiply, rint, add, maximum, minimum = np.multiply, np.rint, np.add, np.maximum, np.minimum

        def quantize_into(real: FloatArray, stored: AnyArray) -> None:
            maximum(real, low, out=work)  # by name, unlike those of the others, as NumPy 2.5 demands
            minimum(work, high, out=work)
            multiply(work, inverse, work)
            rint(work, work)
            add(work, zero, work)
            stored[...] = work  # whole numbers within int8, so the cast is exact

        return quantize_into

    def dequantization_table(self) -> FloatArray:
        """The real value of every int8, (256,) float32; ``table[q]`` is that of q, also for q < 0."""
        return self.dequantize(np.arange(256, dtype=np.uint8).view(np.int8))

    def matches(self, other: "TensorSpec") -> bool:
        """Whether shape, dtype and (in float32) quantization are equal; names are not compared, as runtimes differ."""

        def contract(spec: TensorSpec) -> tuple[object, ...]:
            return spec.shape, spec.dtype, spec.zero_point, None if spec.scale is None else np.float32(spec.scale)

        return contract(self) == contract(other)

    def __str__(self) -> str:
        quantized = "" if self.scale is None else f", scale {self.scale:.6g}, zero point {self.zero_point}"
        return f"{self.name}: {self.dtype} [{', '.join(map(str, ('n', *self.shape)))}]{quantized}"
