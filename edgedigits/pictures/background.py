"""The page behind the ink: its brightness everywhere, and the noise on it. Brightness is float32, 0 to 1, (h, w)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgedigits.runtimes.tensors import AnyArray, FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

Image64: TypeAlias = "npt.NDArray[np.float64]"
SMALL = 24  # pixels: the side of the copy to which a page's light is fitted
STEPS = 4080  # of brightness, at which noise is counted: 16 to one of 8 bits
FLAT = 0.02  # along the border: a page that varies less has one brightness
CLEAR = 0.84  # of the variance: what two brightnesses explain on a clean page


def background(gray: FloatArray) -> FloatArray:
    """The brightness (h, w) that the page would have without ink.

    A page that is flat along its border is taken to be flat, and so is one of two clear brightnesses, which a digit cut
    out close leaves; otherwise a second-degree surface is fitted to a small copy, by least squares that are repeated
    with the Geman-McClure weights of the residuals, so that ink and shadows of edges count for little. Source: P. W.
    Holland and R. E. Welsch, "Robust regression using iteratively reweighted least-squares" (1977).
    """
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    middle = median(border)
    if np.abs(border - middle).max() < FLAT:
        return np.full_like(gray, middle)
    two = two_levels(gray)
    if two is not None:
        return np.full_like(gray, _behind(gray, *two))
    from PIL import Image

    small = np.asarray(Image.fromarray(gray).resize((SMALL, SMALL), Image.Resampling.BOX), dtype=np.float64)
    terms, first_guess = _fitted()
    values = small.ravel()
    weights = first_guess
    for _ in range(5):
        weighted = terms * weights
        solved = np.linalg.solve(weighted @ terms.T + 1e-6 * np.eye(6), weighted @ values)
        residual = np.abs(values - solved @ terms)
        scale = max(2.0 * median(residual), 0.004)
        weights = 1.0 / (1.0 + (residual / scale) ** 2) ** 2
    y, x = (((np.arange(n) + 0.5) * 2 / n - 1).astype(np.float32) for n in gray.shape)
    level, across, down, across2, both, down2 = solved.astype(np.float32)
    surface: FloatArray = np.multiply.outer(both * y, x)
    surface += (level + down * y + down2 * y * y)[:, None]
    surface += across * x + across2 * x * x
    return surface


@functools.cache
def _fitted() -> tuple[Image64, Image64]:
    """The terms of a surface of degree 2 at each pixel of the small copy, (6, pixels), and the first guess's weights.

    The terms are 1, x, y, x squared, x times y, y squared, each from -1 to 1; the guess trusts the border.
    """
    at = np.linspace(-1 + 1 / SMALL, 1 - 1 / SMALL, SMALL)
    y, x = (each.ravel() for each in np.meshgrid(at, at, indexing="ij"))
    inner = np.zeros((SMALL, SMALL), dtype=bool)
    inner[2:-2, 2:-2] = True
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]), np.where(inner.ravel(), 0.05, 1.0)


def median(values: AnyArray) -> float:
    """The median of all values, at least one; NumPy 2's own imports its masked arrays, which a prediction waits for."""
    flat = values.ravel()
    middle = [(flat.size - 1) // 2, flat.size // 2]
    low, high = np.partition(flat, middle)[middle]
    return float((low + high) / 2)


def two_levels(gray: FloatArray) -> tuple[float, float] | None:
    """The darker and the lighter of a picture's two brightnesses, or None if it has not two.

    The threshold is the one whose two classes lie farthest apart, and they are two levels if that explains ``CLEAR`` of
    the variance. Source: N. Otsu, "A threshold selection method from gray-level histograms" (1979).
    """
    levels = 64
    counts = np.bincount((gray.ravel() * (levels - 1) + 0.5).astype(np.int64), minlength=levels) / gray.size
    value = np.arange(levels) / (levels - 1)
    share, moment = np.cumsum(counts), np.cumsum(counts * value)
    mean = float(moment[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * share - moment) ** 2 / (share * (1 - share)), posinf=0.0)
    at = int(between.argmax())
    variance = float((counts * (value - mean) ** 2).sum())
    if variance <= 0 or between[at] < CLEAR * variance:
        return None
    return float(moment[at] / share[at]), float((mean - moment[at]) / (1 - share[at]))


def _behind(gray: FloatArray, dark: float, light: float) -> float:
    """Which of two brightnesses is the paper: the one that most of the border has; if that is unclear, the lighter."""
    edge = max(1, min(gray.shape) // 10)
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    corners = np.concatenate(
        [
            gray[rows, columns].ravel()
            for rows in (slice(edge), slice(-edge, None))
            for columns in (slice(edge), slice(-edge, None))
        ]
    )
    middle = (dark + light) / 2
    lighter = (float((border > middle).mean()) + float((corners > middle).mean())) / 2
    paper = border[border > middle] if lighter > 0.4 else border[border <= middle]
    return median(paper) if len(paper) else (light if lighter > 0.4 else dark)


def noise_of(gray: FloatArray) -> float:
    """The standard deviation of the pixels' noise, from neighbors' differences; strokes' edges are too few to count.

    Half of such differences lie within 0.6745 of theirs, which is the square root of 2 times the pixels'. They are
    counted in steps of 1 / ``STEPS``, which is exact for pixels of 8 bits.
    """
    steps = np.abs(gray[:, 1:] - gray[:, :-1]).ravel()
    if 2 * np.count_nonzero(steps < 0.5 / STEPS) > steps.size:
        return 0.0
    steps *= STEPS
    steps += 0.5
    below = np.bincount(steps.astype(np.intp)).cumsum()
    middle = np.searchsorted(below, [(steps.size - 1) // 2, steps.size // 2], side="right")
    return float(middle.sum()) / 2 / STEPS / 0.954
