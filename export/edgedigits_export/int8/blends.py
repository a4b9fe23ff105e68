"""New inputs near the calibration set, whose logits Keras gives: to fit to, and to judge what was fitted.

Mixing of inputs: Zhang et al. 2017, mixup (arXiv:1710.09412).
"""

from __future__ import annotations

import math

import numpy as np

from edgedigits.runtimes.tensors import FloatArray

BEYOND = 0.3  # of the way from another input, at most
WARPS = 6  # of each input, to mix, if inputs are square images


def blend(inputs: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """New inputs near the given ones: mixed in pairs, with other contrast and values; zeros stay zero.

    If inputs are square images, half of the new ones are only warped: unseen images vary like that.

    Returns (count, ...) float32 within the range of the inputs.
    """
    warped = _warps(inputs, count // 2, rng)
    pool = np.concatenate([inputs, _warps(inputs, WARPS * len(inputs), rng)])
    mixed = _mix(pool, count - len(warped), rng)
    return np.asarray(np.clip(np.concatenate([mixed, warped]), inputs.min(), inputs.max()), np.float32)


def _mix(pool: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    columns = (count,) + (1,) * (pool.ndim - 1)
    share = rng.uniform(0, 0.5, count) * (rng.random(count) < 0.7)
    share, contrast, noise = (
        a.astype(np.float32).reshape(columns)
        for a in (share, rng.uniform(0.85, 1.05, count), rng.uniform(0, 0.2, count))
    )
    first, second = rng.integers(0, len(pool), (2, count))
    mixed = pool[first] * (1 - share) + pool[second] * share
    return np.asarray(mixed * contrast * (1 + noise * rng.standard_normal(mixed.shape, np.float32)))


def extrapolate(inputs: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """New inputs a little beyond the given ones, as seen from others of them, where unseen inputs also lie.

    Returns (count, ...) float32 within the range of the inputs.
    """
    first, second = rng.integers(0, len(inputs), (2, count))
    by = rng.uniform(0, BEYOND, (count,) + (1,) * (inputs.ndim - 1)).astype(np.float32)
    beyond = inputs[first] + by * (inputs[first] - inputs[second])
    return np.asarray(np.clip(beyond, inputs.min(), inputs.max()), np.float32)


def _warps(inputs: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """Warps of the inputs, as many of each, if their size is that of square images; else none."""
    side = math.isqrt(inputs[0].size)
    square = inputs.shape[1:] in ((side * side,), (side, side), (side, side, 1)) and side >= 8
    rounds = -(-count // len(inputs)) if square else 0
    chosen = (rng.permutation(len(inputs))[: count - i * len(inputs)] for i in range(rounds))
    warped = (warp(inputs[some].reshape(-1, side, side), rng).reshape(-1, *inputs.shape[1:]) for some in chosen)
    return np.concatenate([inputs[:0], *warped])


def warp(images: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Rotate, scale and shift each of (m, height, width) images a little, bilinearly; outside is zero."""
    count, height, width = images.shape
    turn, tall, wide = rng.uniform(-0.2, 0.2, count), rng.uniform(0.9, 1.15, count), rng.uniform(0.9, 1.15, count)
    down, right = rng.uniform(-1, 1, (2, count, 1, 1))
    rows = (np.arange(height) - (height - 1) / 2)[None, :, None]
    columns = (np.arange(width) - (width - 1) / 2)[None, None, :]
    cosine, sine = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    y = (cosine * rows - sine * columns) * tall[:, None, None] + down + (height - 1) / 2
    x = (sine * rows + cosine * columns) * wide[:, None, None] + right + (width - 1) / 2
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    lower, farther = (y - top).astype(np.float32), (x - left).astype(np.float32)
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))
    flat, wide_row, page = padded.ravel(), width + 3, (height + 3) * (width + 3)
    corner = (
        np.clip(top + 1, 0, height + 1) * wide_row
        + np.clip(left + 1, 0, width + 1)
        + np.arange(count)[:, None, None] * page
    )
    upper_edge = flat[corner] * (1 - farther) + flat[corner + 1] * farther
    lower_edge = flat[corner + wide_row] * (1 - farther) + flat[corner + wide_row + 1] * farther
    return np.asarray(upper_edge * (1 - lower) + lower_edge * lower, np.float32)
