"""Separate ink from the background: estimate the page's brightness and noise. Brightness is float32, 0 to 1, (h, w)."""

from __future__ import annotations

import functools

import numpy as np

from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import AnyArray, FloatArray

MIN_CONTRAST = 0.08  # of full scale; below it, paper grain and JPEG noise look like ink
NOISE_SIGMAS = 4.5  # ink differs from the background by at least this many standard deviations of the noise
FIT_SIDE = 24  # pixels: the side of the small copy to which the surface is fitted
NOISE_STEPS = 4080  # brightness steps for the noise histogram: 16 per 8-bit level
FLAT = 0.02  # the largest variation along the border of a page of one brightness
TWO_LEVELS = 0.84  # the least share of the variance that two brightness levels explain on a two-level picture


def subtract_background(gray: FloatArray) -> tuple[FloatArray, float]:
    """The ink (h, w), 0 on the background and at most 1, and the noise's sigma; InputError if all is flat."""
    ink = gray - estimate_background(gray)
    # Ink is few pixels that differ much; paper is many pixels that differ little.
    if float(np.einsum("ij,ij,ij->", ink, ink, ink)) <= 0:
        np.negative(ink, out=ink)
    noise = estimate_noise(gray)
    strongest = float(ink.max())
    if strongest < max(MIN_CONTRAST, NOISE_SIGMAS * noise):
        raise InputError("no digit found: the picture has only one brightness; use darker ink or a plainer background")
    ink /= strongest
    return ink, noise / strongest


def estimate_background(gray: FloatArray) -> FloatArray:
    """The brightness (h, w) of the page without ink.

    It is constant if the border is flat or the picture has two levels, as a tightly cropped digit has. Otherwise it is
    a second-degree surface, fitted to a small copy by least squares with Geman-McClure weights, so that ink
    counts little. Source: P. W. Holland and R. E. Welsch, "Robust regression using iteratively reweighted
    least-squares" (1977).
    """
    border = _border(gray)
    middle = median(border)
    if np.abs(border - middle).max() < FLAT:
        return np.full_like(gray, middle)
    levels = two_levels(gray)
    if levels is not None:
        return np.full_like(gray, _paper_level(gray, *levels))
    from PIL import Image

    small = np.asarray(Image.fromarray(gray).resize((FIT_SIDE, FIT_SIDE), Image.Resampling.BOX), dtype=np.float64)
    terms, weights = _surface_terms()
    values = small.ravel()
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
def _surface_terms() -> tuple[AnyArray, AnyArray]:
    """1, x, y, x^2, xy, y^2 at each pixel of the small copy, (6, pixels), and initial weights that trust the border."""
    at = np.linspace(-1 + 1 / FIT_SIDE, 1 - 1 / FIT_SIDE, FIT_SIDE)
    y, x = (each.ravel() for each in np.meshgrid(at, at, indexing="ij"))
    inner = np.zeros((FIT_SIDE, FIT_SIDE), dtype=bool)
    inner[2:-2, 2:-2] = True
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]), np.where(inner.ravel(), 0.05, 1.0)


def median(values: AnyArray) -> float:
    """The median of at least one value; ``numpy.median`` imports masked arrays, which is slow."""
    flat = values.ravel()
    middle = [(flat.size - 1) // 2, flat.size // 2]
    low, high = np.partition(flat, middle)[middle]
    return float((low + high) / 2)


def two_levels(gray: FloatArray) -> tuple[float, float] | None:
    """The dark and the light level of a picture, or None if they do not explain its variance.

    Source: N. Otsu, "A threshold selection method from gray-level histograms" (1979).
    """
    bins = 64
    counts = np.bincount((gray.ravel() * (bins - 1) + 0.5).astype(np.int64), minlength=bins) / gray.size
    value = np.arange(bins) / (bins - 1)
    share, moment = np.cumsum(counts), np.cumsum(counts * value)
    mean = float(moment[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * share - moment) ** 2 / (share * (1 - share)), posinf=0.0)
    at = int(between.argmax())
    variance = float((counts * (value - mean) ** 2).sum())
    if variance <= 0 or between[at] < TWO_LEVELS * variance:
        return None
    return float(moment[at] / share[at]), float((mean - moment[at]) / (1 - share[at]))


def _paper_level(gray: FloatArray, dark: float, light: float) -> float:
    """Which of two levels is the paper: the one on most of the border and corners, if unclear the lighter."""
    edge = max(1, min(gray.shape) // 10)
    ends = (slice(edge), slice(-edge, None))
    corners = np.concatenate([gray[rows, columns].ravel() for rows in ends for columns in ends])
    border = _border(gray)
    middle = (dark + light) / 2
    lighter = (float((border > middle).mean()) + float((corners > middle).mean())) / 2
    paper = border[border > middle] if lighter > 0.4 else border[border <= middle]
    return median(paper) if len(paper) else (light if lighter > 0.4 else dark)


def _border(gray: FloatArray) -> FloatArray:
    return np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])


def estimate_noise(gray: FloatArray) -> float:
    """The standard deviation of the pixel noise: the median difference of horizontal neighbors / (0.6745 * sqrt(2)).

    A histogram of ``NOISE_STEPS`` bins finds the median, exactly for 8-bit pixels.
    """
    steps = np.abs(gray[:, 1:] - gray[:, :-1]).ravel()
    if 2 * np.count_nonzero(steps < 0.5 / NOISE_STEPS) > steps.size:
        return 0.0
    steps *= NOISE_STEPS
    steps += 0.5
    below = np.bincount(steps.astype(np.intp)).cumsum()
    middle = np.searchsorted(below, [(steps.size - 1) // 2, steps.size // 2], side="right")
    return float(middle.sum()) / 2 / NOISE_STEPS / 0.954
