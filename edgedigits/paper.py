"""The page behind the ink: its brightness everywhere, and the noise on it. Brightness is float32, 0 to 1, (h, w)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgedigits.tensors import AnyArray, FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

FLAT = 0.02  # along the border: a page that varies less has one brightness
CLEAR = 0.84  # of the variance: what two brightnesses explain on a clean page


def background(gray: FloatArray) -> FloatArray:
    """The brightness (h, w) that the page would have without ink.

    A page that is flat along its border is taken to be flat, and so is one of two clear brightnesses, which a digit cut
    out close leaves; otherwise a second-degree surface is fitted to a 24x24
    copy, by least squares that are repeated with the Geman-McClure weights of the residuals, so that ink and shadows of
    edges count for little. Source: P. W. Holland and R. E. Welsch, "Robust regression using iteratively reweighted
    least-squares" (1977).
    """
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    middle = median(border)
    if np.abs(border - middle).max() < FLAT:
        return np.full_like(gray, middle)
    two = two_levels(gray)
    if two is not None:
        return np.full_like(gray, _behind(gray, *two))
    from PIL import Image

    side = 24
    small = np.asarray(Image.fromarray(gray).resize((side, side), Image.Resampling.BOX), dtype=np.float64)
    at = np.linspace(-1 + 1 / side, 1 - 1 / side, side)
    terms = _surface(at, at).reshape(-1, 6)
    values = small.ravel()
    edge = np.ones((side, side), dtype=bool)
    edge[2:-2, 2:-2] = False
    weights = np.where(edge.ravel(), 1.0, 0.05)  # the first guess trusts the border
    for _ in range(5):
        weighted = terms * weights[:, None]
        solved = np.linalg.solve(weighted.T @ terms + 1e-6 * np.eye(6), weighted.T @ values)
        residual = np.abs(values - terms @ solved)
        scale = max(2.0 * median(residual), 0.004)
        weights = 1.0 / (1.0 + (residual / scale) ** 2) ** 2
    height, width = gray.shape
    rows, columns = ((np.arange(n) + 0.5) * 2 / n - 1 for n in (height, width))
    return (_surface(rows, columns) @ solved).astype(np.float32)


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


def _surface(rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The six terms up to degree 2 at each (row, column), (rows, columns, 6)."""
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def noise_of(gray: FloatArray) -> float:
    """The standard deviation of the pixels' noise, from neighbors' differences; strokes' edges are too few to count.

    Half of such differences lie within 0.6745 of theirs, which is the square root of 2 times the pixels'.
    """
    return median(np.abs(np.diff(gray, axis=1))) / 0.954
