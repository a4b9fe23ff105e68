"""The self-test of the generated library: inputs from a random number generator and a hash of all that they give.

A thousand such inputs find more wrong bits and wrong roundings than as many images, and take no flash.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from edgedigits.runtimes.tensors import AnyArray

COUNT = 1000
DENSITIES = (8, 26, 98, 256)  # of 256 inputs, how many are not at the zero point: from nearly empty to full


def random_inputs(inputs: int, zero_point: int) -> AnyArray:
    """(1000, inputs) int8, drawn by xorshift32 as the C code does."""
    state, values = 1, np.empty((COUNT, inputs), np.int8)
    for n, row in enumerate(values):
        for i in range(inputs):
            state ^= state << 13 & 0xFFFFFFFF
            state ^= state >> 17
            state ^= state << 5 & 0xFFFFFFFF
            row[i] = (state >> 8 & 255) - 128 if state & 255 < DENSITIES[n % 4] else zero_point
    return values


def hash_of(logits: AnyArray) -> int:
    """FNV-1a, 32 bits, of logits (n, classes) int8, each row followed by its class."""
    rows = np.concatenate([logits.view(np.uint8), logits.argmax(axis=1).astype(np.uint8)[:, None]], axis=1)
    return reduce(lambda total, byte: (total ^ byte) * 16777619 & 0xFFFFFFFF, rows.ravel().tolist(), 2166136261)
