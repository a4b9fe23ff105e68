"""Drawings as strokes: lists of points, x and y as shares of the page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Stroke = list[list[float]]
# One way to write each digit.
DIGITS: dict[str, list[Stroke]] = {
    "0": [[[0.5, 0.15], [0.3, 0.3], [0.28, 0.6], [0.42, 0.85], [0.62, 0.8], [0.72, 0.5], [0.65, 0.22], [0.5, 0.15]]],
    "1": [[[0.42, 0.25], [0.55, 0.15], [0.52, 0.85]]],
    "2": [[[0.3, 0.3], [0.4, 0.16], [0.6, 0.16], [0.66, 0.33], [0.5, 0.55], [0.3, 0.82], [0.72, 0.8]]],
    "3": [[[0.3, 0.2], [0.5, 0.13], [0.68, 0.25], [0.48, 0.46], [0.68, 0.62], [0.6, 0.82], [0.32, 0.82]]],
    "4": [[[0.4, 0.15], [0.28, 0.55], [0.75, 0.55]], [[0.62, 0.2], [0.6, 0.88]]],
    "5": [[[0.68, 0.15], [0.36, 0.17], [0.33, 0.45], [0.58, 0.42], [0.68, 0.62], [0.55, 0.82], [0.3, 0.8]]],
    "6": [[[0.62, 0.12], [0.4, 0.35], [0.32, 0.65], [0.45, 0.85], [0.65, 0.75], [0.6, 0.55], [0.36, 0.6]]],
    "7": [[[0.28, 0.18], [0.7, 0.18], [0.45, 0.88]]],
    "8": [[[0.6, 0.2], [0.42, 0.15], [0.36, 0.32], [0.62, 0.6], [0.6, 0.82], [0.42, 0.85], [0.38, 0.65], [0.64, 0.3]]],
    "9": [[[0.64, 0.3], [0.48, 0.15], [0.34, 0.32], [0.48, 0.46], [0.66, 0.3], [0.6, 0.88]]],
}


def drawing(rng: np.random.Generator) -> list[Stroke]:
    """A digit of any size and place, slanted and shaky, or as often one to three strokes without meaning."""
    if rng.random() < 0.5:
        shapes = [np.array(stroke) - 0.5 for stroke in DIGITS[str(rng.integers(10))]]
    else:
        shapes = [rng.uniform(-0.4, 0.4, (rng.integers(2, 7), 2)) for _ in range(rng.integers(1, 4))]
    warp = (np.eye(2) + rng.normal(0, 0.15, (2, 2))) * rng.uniform(0.25, 1.1)
    center = rng.uniform(0.3, 0.7, 2)
    return [_smooth(shape @ warp + center + rng.normal(0, 0.01, shape.shape)).clip(0, 1).tolist() for shape in shapes]


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A line through about these points, in 30 steps."""
    at = np.linspace(0, len(points) - 1, 30)
    line = np.stack([np.interp(at, range(len(points)), points[:, axis]) for axis in (0, 1)])
    kernel = np.ones(5) / 5
    return np.stack([np.convolve(np.pad(row, 2, "edge"), kernel, "valid") for row in line], axis=1)
