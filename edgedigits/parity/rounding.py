"""An int8 artifact's answers, recomputed by the numpy runtime on each kernel set: they tell whose rounding is seen.

A set takes seconds on a small board and is computed only when it is asked for, once: a device whose answers are those
of the first set pays for no other. It is computed in a child, as each row of parity is: the file is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from edgedigits.bundle.bundle import Artifact
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import FloatArray

LIKELY = ("exact", "ruy")  # what LiteRT's and tflite-runtime's default kernels do, so that these are computed first
_NONE = np.empty((0, 0), np.float32)  # equal to no answers


class Recomputed(Mapping[str, FloatArray]):
    """Logits (m, classes) float32 by kernel set; safe to share among threads.

    Empty where there is nothing to recompute: the artifact is float, or not a model that the numpy runtime can run.

    Args:
        compute: the numpy runtime's logits on a kernel set, None where it has none; may take long.
    """

    def __init__(self, artifact: Artifact, compute: Callable[[str], FloatArray | None]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._answers: dict[str, FloatArray] = {}
        self._can = artifact.format == "tflite" and artifact.quantized

    def __getitem__(self, kernels: str) -> FloatArray:
        with self._lock:
            if kernels not in self._answers:
                found = self._compute(kernels) if self._can and kernels in RUNTIMES["numpy"].kernels else None
                self._answers[kernels] = _NONE if found is None else found
            return self._answers[kernels]

    def __iter__(self) -> Iterator[str]:
        if not self._can or self["exact"] is _NONE:
            return iter(())
        return iter((*LIKELY, *(kernels for kernels in RUNTIMES["numpy"].kernels if kernels not in LIKELY)))

    def __len__(self) -> int:
        return len(list(iter(self)))
