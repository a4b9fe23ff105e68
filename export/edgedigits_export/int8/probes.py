"""Search inputs on which the kernel sets of the numpy runtime give different logits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from edgedigits.bundle.probes import KERNELS, Probes
from edgedigits.errors import ModelError
from edgedigits.runtimes.oracle.arithmetic import activation_range, rescaler
from edgedigits.runtimes.oracle.reader import Operator, read_chain
from edgedigits.runtimes.session import open_adapter
from edgedigits.runtimes.table import Adapter
from edgedigits.runtimes.tensors import AnyArray, FloatArray

PER_PAIR = 12  # probes that separate two kernel sets, for each of the six pairs
BLENDS = 4_000
VARIED = 200  # inputs, for each pair that the blends do not separate
MOST_SUMS = 2**20  # of a unit that are tried


def find_probes(content: bytes, x: FloatArray, seed: int) -> Probes | None:
    """Probes for a full-integer .tflite, close to the inputs x (m, ...) float32; None if there are none.

    Dimmed blends of two inputs separate most pairs of kernel sets. Some pairs round only one sum of a hundred thousand
    differently. Which integers these are can be computed for each unit of the first dense layer, and of all changes of
    one value of an input, some lead to one of them.
    """
    try:
        adapters = {kernels: open_adapter(content, "tflite", "numpy", 1, kernels) for kernels in KERNELS}
    except ModelError:
        return None
    source, sink = adapters["exact"].inputs, adapters["exact"].outputs
    if source.scale is None or sink.scale is None:
        return None
    rng = np.random.default_rng(seed)
    rows = source.quantize(x[rng.permutation(len(x))[:VARIED]])
    one, other = rng.integers(len(x), size=(2, BLENDS))
    share, light = rng.random((2, BLENDS, *[1] * (x.ndim - 1)), np.float32)
    blends = source.quantize(light * (share * x[one] + (1 - share) * x[other]))
    blended = {kernels: adapter.run(blends) for kernels, adapter in adapters.items()}
    _, chain = read_chain(content, ("FULLY_CONNECTED", "RESHAPE"))
    dense = next(op for op in chain if op.name == "FULLY_CONNECTED")
    found: list[AnyArray] = []
    for pair in itertools.combinations(KERNELS, 2):
        first, second = (blended[kernels] for kernels in pair)
        candidates = itertools.chain(
            blends[(first != second).any(axis=1)], _separating(dense, rows, pair, [adapters[k] for k in pair], rng)
        )
        found += itertools.islice(candidates, PER_PAIR)
    if not found:
        return None
    inputs = np.unique(np.stack(found), axis=0)
    return Probes(
        inputs,
        np.array([source.scale, sink.scale], np.float32),
        np.array([source.zero_point, sink.zero_point], np.int32),
        {kernels: adapter.run(inputs) for kernels, adapter in adapters.items()},
    )


def _separating(
    dense: Operator, rows: AnyArray, pair: Sequence[str], adapters: Sequence[Adapter], rng: np.random.Generator
) -> Iterator[AnyArray]:
    """Changed rows (*shape,) int8 for which two kernel sets give different logits; ``dense`` is the first layer."""
    x, w, bias, *_ = (*dense.inputs, None)
    assert x is not None
    assert w is not None
    weights = w.values.astype(np.int64) - w.zero_point[:, None]
    tables = [_differing_sums(dense, unit, pair) for unit in range(len(weights))]
    values = np.arange(-128, 128)
    for row in rows if any(differs.any() for _, differs in tables) else ():
        flat = row.reshape(-1).astype(np.int64)
        sums = weights @ (flat - x.zero_point) + (0 if bias is None else bias.values)
        changed = []
        for unit, (start, differs) in enumerate(tables):
            reached = sums[unit] + weights[unit][:, None] * (values - flat[:, None]) - start
            inside = (reached >= 0) & (reached < len(differs))
            hits = np.argwhere(inside & differs[np.where(inside, reached, 0)])
            if len(hits):
                place, value = hits[rng.integers(len(hits))]
                changed.append(row.copy())
                changed[-1].reshape(-1)[place] = values[value]
        if changed:
            first, second = (adapter.run(np.stack(changed)) for adapter in adapters)
            yield from np.stack(changed)[(first != second).any(axis=1)]


def _differing_sums(dense: Operator, unit: int, pair: Sequence[str]) -> tuple[int, AnyArray]:
    """The smallest sum of a unit that is in the output's range, and whether each from there on is rounded differently.

    ``pair`` names two kernel sets.
    """
    x, w = dense.inputs[:2]
    assert x is not None
    assert w is not None
    scale, y = w.scale[unit : unit + 1] if len(w.scale) > 1 else w.scale, dense.output
    low, high = activation_range(dense.options.get("fused_activation_function", 0), y, "exact")
    step = float(y.scale[0]) / (float(x.scale[0]) * float(scale[0]))  # sums per output step
    start = int((low - int(y.zero_point[0]) - 1) * step)
    sums = np.arange(start, min(int((high - int(y.zero_point[0]) + 1) * step), start + MOST_SUMS), dtype=np.float64)
    first, second = (
        np.clip(rescaler(x.scale, scale, y.scale, kernels)(sums) + y.zero_point, low, high) for kernels in pair
    )
    return start, first != second
