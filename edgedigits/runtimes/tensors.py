"""What an artifact takes and gives: name, shape, dtype, and the affine map between float32 and int8."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt  # a millisecond at each start, for the type checker alone

FloatArray: TypeAlias = "npt.NDArray[np.float32]"
AnyArray: TypeAlias = "npt.NDArray[Any]"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of an artifact.

    Attributes:
        name: the tensor's name inside the artifact.
        shape: without the batch axis, such as ``(400,)``.
        dtype: ``"float32"`` or ``"int8"``.
        scale, zero_point: of an int8 tensor, ``real = scale * (q - zero_point)``; None for float32.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "int8"):
            raise ValueError(f"tensor {self.name!r} has dtype {self.dtype}; float32 and int8 are supported")
        if (self.dtype == "int8") != (self.scale is not None and self.zero_point is not None):
            raise ValueError(
                f"tensor {self.name!r} of dtype {self.dtype} has scale {self.scale} and zero point {self.zero_point}"
            )

    @property
    def elements(self) -> int:
        """How many numbers one image has."""
        return math.prod(self.shape)

    def quantize(self, real: FloatArray) -> AnyArray:
        """Finite real values to what the artifact takes, any shape, float32 -> float32 (unchanged) or int8.

        Rounds to nearest, ties to even, and saturates to [-128, 127]. Source: the affine scheme of Jacob et al.,
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018), sec. 2.1.
        """
        if self.scale is None or self.zero_point is None:
            return real
        # Saturating first, so that no finite value overflows when it is divided by a small scale.
        q = np.maximum(real, self.scale * (-128 - self.zero_point))
        np.minimum(q, self.scale * (127 - self.zero_point), out=q)
        q *= np.float32(1.0 / self.scale)
        np.rint(q, out=q)
        q += np.float32(self.zero_point)
        return q.astype(np.int8)

    def dequantize(self, stored: AnyArray) -> FloatArray:
        """What the artifact gives to real values, any shape, float32 (unchanged) or int8 -> float32."""
        if self.scale is None or self.zero_point is None:
            return stored
        return (stored - np.float32(self.zero_point)) * np.float32(self.scale)

    def quantizer(self) -> Callable[[FloatArray, AnyArray], None]:
        """:meth:`quantize` for one (*shape,) array into another, into kept buffers: a third of the time.

        Not for two threads at once. Constants are full arrays, since NumPy takes half as long again with a scalar.
        """
        if self.scale is None or self.zero_point is None:
            raise ValueError(f"tensor {self.name!r} is not quantized")
        work = np.empty(self.shape, np.float32)
        ends = ((q - self.zero_point) * self.scale for q in (-128, 127))
        low, high, inverse, zero = (np.full_like(work, c) for c in (*ends, 1.0 / self.scale, self.zero_point))
        multiply, rint, add, maximum, minimum = np.multiply, np.rint, np.add, np.maximum, np.minimum

        def into(real: FloatArray, stored: AnyArray) -> None:
            maximum(real, low, work)  # saturated first, so that nothing can overflow
            minimum(work, high, work)
            multiply(work, inverse, work)
            rint(work, work)
            add(work, zero, work)
            stored[...] = work  # whole numbers in range by now, so the cast is exact

        return into

    def reals(self) -> FloatArray:
        """The real value of every int8, (256,) float32, at the place where ``reals()[q]`` finds it for q < 0 too."""
        return self.dequantize(np.arange(256, dtype=np.uint8).view(np.int8))

    def to_json(self) -> dict[str, Any]:
        """Plain types for the manifest."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> TensorSpec:
        """The inverse of :meth:`to_json`; KeyError, TypeError or ValueError if a fact is missing or wrong."""
        scale, zero_point = facts["scale"], facts["zero_point"]
        return cls(
            name=str(facts["name"]),
            shape=tuple(int(n) for n in facts["shape"]),
            dtype=str(facts["dtype"]),
            scale=None if scale is None else float(scale),
            zero_point=None if zero_point is None else int(zero_point),
        )

    def matches(self, other: TensorSpec) -> bool:
        """Whether both describe the same contract; runtimes may name tensors differently, so names are not compared."""
        same_scale = self.scale == other.scale or (
            self.scale is not None and other.scale is not None and np.float32(self.scale) == np.float32(other.scale)
        )
        same_rest = (self.shape, self.dtype, self.zero_point) == (other.shape, other.dtype, other.zero_point)
        return same_rest and bool(same_scale)

    def __str__(self) -> str:
        quantized = "" if self.scale is None else f", scale {self.scale:.6g}, zero point {self.zero_point}"
        return f"{self.name}: {self.dtype} {['n', *self.shape]}{quantized}".replace("'n'", "n")
