"""Inputs on which the numpy runtime's kernel sets differ, with the logits of each; they identify a row's rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedigits.bundle.arrays import Wanted, from_npz
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.limits import RefusedError

PROBES = "probes.npz"  # optional: older bundles, and those of models that the numpy runtime cannot run, have none
KERNELS = RUNTIMES["numpy"].kernels


@dataclass(frozen=True)
class Probes:
    """Inputs (n, *shape) int8 and, per kernel set, their logits (n, classes) int8, as stored in the model.

    ``scales`` float32 (2,) and ``zero_points`` int32 (2,) are those of the int8 input and of the int8 output.
    """

    inputs: AnyArray
    scales: FloatArray
    zero_points: AnyArray
    logits: dict[str, AnyArray]

    @classmethod
    def read(cls, content: bytes, shape: tuple[int, ...], classes: int) -> Probes:
        """From the bytes of probes.npz; RefusedError if they do not fit each other, or inputs of that shape."""
        affine: dict[str, Wanted] = {"scales": (["float32"], (2,)), "zero_points": (["int32"], (2,))}
        stored: dict[str, Wanted] = dict.fromkeys(KERNELS, (["int8"], (None, classes)))
        inputs, scales, zero_points, *logits = from_npz(content, inputs=(["int8"], (None, *shape)), **affine, **stored)
        if not len(inputs) or {len(each) for each in logits} != {len(inputs)} or not (scales > 0).all():
            raise RefusedError("it has no inputs, not as many logits, or scales that are not positive")
        return cls(inputs, scales, zero_points, dict(zip(KERNELS, logits, strict=True)))

    def arrays(self) -> dict[str, AnyArray]:
        """The arrays of probes.npz."""
        return {"inputs": self.inputs, "scales": self.scales, "zero_points": self.zero_points, **self.logits}

    @property
    def x(self) -> FloatArray:
        """The inputs as float32, in the middle of each int8 step: every runtime quantizes them to ``inputs``."""
        x: FloatArray = (self.inputs - np.float32(self.zero_points[0])) * self.scales[0]
        return x

    def name_rounding(self, found: FloatArray) -> str:
        """The kernel set that gives the logits (n, classes) float32 of :attr:`x`, or why there is no single one."""
        quanta = np.rint(found.astype(np.float64) / self.scales[1]) + self.zero_points[1]
        differences = {kernels: np.abs(quanta - expected) for kernels, expected in self.logits.items()}
        matching = [kernels for kernels, difference in differences.items() if not difference.any()]
        if len(matching) == 1:
            return matching[0]
        if matching:
            return f"cannot be told: {' or '.join(matching)}"
        kernels, gap = min(differences.items(), key=lambda pair: np.count_nonzero(pair[1]))
        return (
            f"unknown: {np.count_nonzero(gap)} of {gap.size} probe logits differ from {kernels}, the nearest, by up to "
            f"{gap.max():.0f} quanta"
        )
