"""Find the numpy runtime's kernel set that rounds as a runtime does, by comparing their int8 logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgedigits.runtimes.tensors import FloatArray

# The default kernels of LiteRT and of tflite-runtime first, so that a device computes no more sets than it needs.
KERNELS = ("exact", "ruy", "reference", "xnnpack")


def identify_rounding(
    found: Sequence[FloatArray],
    scale: float,
    computed: dict[str, FloatArray | None],
    compute: Callable[[str], FloatArray | None],
) -> list[str | None]:
    """For each runtime's logits, the kernel set that gives them bit for bit, or by how much they differ from ``exact``.

    ``exact`` sums every layer without error and rounds once, so it shows which of two disagreeing runtimes is wrong.
    ``found`` holds logits (m, classes) float32, ``scale`` is the size of one output quantum. The numpy runtime's logits
    are taken from ``computed`` or, for as few kernel sets as possible, from ``compute``; None if it cannot run the
    model, and then every name is None.
    """
    names: list[str | None] = [None] * len(found)
    for kernels in KERNELS:
        open_rows = [i for i, name in enumerate(names) if name is None]
        if not open_rows:
            return names
        logits = computed[kernels] if kernels in computed else compute(kernels)
        if logits is None:
            if kernels == "exact":
                return names
            continue
        if kernels == "exact":
            exact = logits
        for i in open_rows:
            if np.array_equal(found[i], logits):
                names[i] = kernels
    return [name or _difference(found[i], exact, scale) for i, name in enumerate(names)]


def _difference(logits: FloatArray, exact: FloatArray, scale: float) -> str:
    gap = np.rint(np.abs(logits.astype(np.float64) - exact) / scale)
    return f"unknown: {np.count_nonzero(gap)} logits differ from exact, by up to {gap.max():.0f} quanta"
