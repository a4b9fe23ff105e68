"""Augmentation: images as other pens, hands, cameras or scanners could have made them.

All steps take and return images (m, 28, 28) float32, 0 background and 1 ink; at strength zero they change nothing. The
resize that made X.npy comes after them. Sources: P. Simard, D. Steinkraus and J. Platt, "Best practices for
convolutional neural networks applied to visual document analysis" (2003), for affine and elastic distortion; J. Serra,
"Image analysis and mathematical morphology" (1982), for thick and thin pens.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from edgedigits.pictures.normalization import to_rows
from edgedigits.runtimes.tensors import AnyArray, FloatArray

MNIST_SIDE = 28  # pixels
CHUNK = 500  # images at a time: they fit the cache, and the cores share the chunks


@dataclass(frozen=True)
class Strengths:
    """The strength of each step. Lengths are in pixels of the 28x28 image.

    shift, degrees, shear, scale: maximum in either direction, uniform; height and width are scaled separately.
    elastic: mean length of the displacements; smoothness: standard deviation of the Gaussian that smooths them. thick,
    thin: maximum change of the pen, 1 is a pixel on each side. blur, noise: maximum standard deviation. often: share
    of images that pen, blur and noise each change. plain: share of images that nothing changes.
    """

    shift: float = 0.8
    degrees: float = 15.0
    shear: float = 0.2
    scale: float = 0.15
    elastic: float = 1.4
    smoothness: float = 4.0
    thick: float = 1.0
    thin: float = 0.7
    blur: float = 1.0
    noise: float = 0.1
    often: float = 0.25
    plain: float = 0.1


NONE = Strengths(shift=0, degrees=0, shear=0, scale=0, elastic=0, thick=0, thin=0, blur=0, noise=0)
ROBUST = Strengths()


def copies(images: AnyArray, count: int, seed: int, strengths: Strengths, workers: int = 2) -> Iterator[FloatArray]:
    """``count`` augmented copies of all digits: MNIST images (m, 28, 28) uint8 -> rows (m, 400) float32.

    Every chunk has its own random stream, so the result does not depend on the number of workers.
    """
    ink = (images / 255.0).astype(np.float32)
    starts = range(0, len(ink), CHUNK)
    streams = np.random.SeedSequence(seed).spawn(count * len(starts))

    def chunk(job: tuple[int, np.random.SeedSequence]) -> FloatArray:
        start, stream = job
        return to_rows(augment(ink[start : start + CHUNK], np.random.default_rng(stream), strengths) * 255.0)

    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(streams), len(starts)):
            jobs = zip(starts, streams[first : first + len(starts)], strict=True)
            yield np.concatenate(list(pool.map(chunk, jobs)))


def augment(ink: FloatArray, rng: np.random.Generator, strengths: Strengths) -> FloatArray:
    """All steps, in the order in which they happen to a digit: pen, hand, camera. (m, 28, 28)."""
    plain, untouched = rng.random((len(ink), 1, 1)) < strengths.plain, ink
    ink = stroke(ink, _some(rng, len(ink), -strengths.thin, strengths.thick, strengths.often))
    places = affine_places(len(ink), rng, strengths) + elastic(len(ink), rng, strengths)
    ink = sample(ink, places)
    ink = blur(ink, _some(rng, len(ink), 0.0, strengths.blur, strengths.often))
    ink = noise(ink, rng, _some(rng, len(ink), 0.0, strengths.noise, strengths.often))
    return np.where(plain, untouched, ink)


def _some(rng: np.random.Generator, count: int, low: float, high: float, often: float) -> FloatArray:
    """(count, 1, 1) float32: uniform in low..high for a share ``often`` of them, else zero."""
    drawn = rng.uniform(low, high, count) * (rng.random(count) < often)
    return np.asarray(drawn[:, None, None], np.float32)


def affine_places(count: int, rng: np.random.Generator, strengths: Strengths) -> FloatArray:
    """The source row and column of each pixel under rotation, shear, scale and shift: (2, count, 28, 28).

    The fixed point is the middle of the image, where MNIST has the digit's center of mass.
    """
    turn, shear = rng.uniform(-1, 1, (2, count)) * [[np.radians(strengths.degrees)], [strengths.shear]]
    tall, wide = 1 + strengths.scale * rng.uniform(-1, 1, (2, count))
    shift = strengths.shift * rng.uniform(-1, 1, (2, count, 1, 1))
    cosine, sine = np.cos(turn), np.sin(turn)
    # Row and column of the source, each a weighted sum of row and column in the new image.
    matrix = np.array([[cosine / tall, -sine / wide], [(sine + shear * cosine) / tall, (cosine - shear * sine) / wide]])
    matrix = matrix[..., None, None].astype(np.float32)
    middle = (MNIST_SIDE - 1) / 2
    offset = np.arange(MNIST_SIDE, dtype=np.float32) - np.float32(middle)
    rows = matrix[0, 0] * offset[:, None] + matrix[0, 1] * offset
    columns = matrix[1, 0] * offset[:, None] + matrix[1, 1] * offset
    places: FloatArray = np.stack([rows, columns]) + (shift + middle).astype(np.float32)
    return places


def elastic(count: int, rng: np.random.Generator, strengths: Strengths) -> FloatArray:
    """Smooth random displacements (Simard et al. 2003), (2, count, 28, 28), row and column."""
    field = rng.random((2, count, MNIST_SIDE, MNIST_SIDE), np.float32) * 2 - 1
    smooth = gaussian(strengths.smoothness)
    field = smooth @ field @ smooth.T
    lengths = np.sqrt((field**2).sum(axis=0).mean(axis=(1, 2)))
    scaled: FloatArray = field * (np.float32(strengths.elastic) / lengths)[:, None, None]
    return scaled


def sample(ink: FloatArray, places: FloatArray) -> FloatArray:
    """Bilinear interpolation: ink (m, 28, 28), places (2, m, 28, 28) -> (m, 28, 28); outside is 0."""
    count, side = len(ink), MNIST_SIDE
    places = np.clip(places, -1, side).astype(np.float32)
    corner = np.floor(places).astype(np.int32)
    down, right = places - corner
    padded = np.pad(ink, ((0, 0), (1, 2), (1, 2)))
    width = side + 3
    flat = padded.ravel()
    first = (
        (corner[0] + 1) * width + (corner[1] + 1) + (np.arange(count, dtype=np.int32) * width * width)[:, None, None]
    )
    upper = flat[first] * (1 - right) + flat[first + 1] * right
    lower = flat[first + width] * (1 - right) + flat[first + width + 1] * right
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def stroke(ink: FloatArray, change: FloatArray) -> FloatArray:
    """A thicker (change in 0..1) or thinner (-1..0) pen: interpolate towards the dilated or eroded image.

    ink (m, 28, 28), change (m, 1, 1). The structuring element is a cross of five pixels.
    """
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    beside = [ink, padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]
    most, least = np.maximum.reduce(beside), np.minimum.reduce(beside)
    changed: FloatArray = ink + np.maximum(change, 0) * (most - ink) + np.minimum(change, 0) * (ink - least)
    return changed


def blur(ink: FloatArray, deviation: FloatArray) -> FloatArray:
    """Gaussian blur: ink (m, 28, 28), standard deviation (m, 1, 1) in pixels."""
    touched = np.flatnonzero(deviation[:, 0, 0] > 0.2)  # a narrower Gaussian changes nothing
    blurred = ink.copy()
    smooth = gaussian(deviation[touched])
    blurred[touched] = smooth @ ink[touched] @ smooth.transpose(0, 2, 1)
    return blurred


def noise(ink: FloatArray, rng: np.random.Generator, deviation: FloatArray) -> FloatArray:
    """Gaussian noise, clipped to 0..1: ink (m, 28, 28), standard deviation (m, 1, 1)."""
    return np.clip(ink + deviation * rng.standard_normal(ink.shape, np.float32), 0.0, 1.0)


def gaussian(deviation: float | FloatArray) -> FloatArray:
    """The (..., 28, 28) matrix that smooths one axis with a Gaussian; each row sums to 1."""
    at = np.arange(MNIST_SIDE, dtype=np.float32)
    weights = np.exp(-0.5 * ((at[:, None] - at) / deviation) ** 2)
    normal: FloatArray = np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float32)
    return normal
