"""Augmentation: each step does what it says, nothing at zero strength, and the same again from the same seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedigits.bundle.dataset import load_28x28
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits_export.training import augmentation as steps
from edgedigits_export.training.augmentation import NONE, ROBUST, Strengths, augment, copies


@pytest.fixture(scope="module")
def images(data: Path) -> AnyArray:
    """600 of the digits, of every class: more than one chunk, and the second is not full. (600, 28, 28) uint8."""
    return load_28x28(data / "source.npz")[0][::8][:600]


@pytest.fixture(scope="module")
def ink(images: AnyArray) -> FloatArray:
    return (images / 255.0).astype(np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def every(value: float, count: int = 600) -> FloatArray:
    return np.full((count, 1, 1), value, np.float32)


def rectangle(rows: slice, columns: slice) -> FloatArray:
    """400 times the same image of full ink, (400, 28, 28)."""
    ink = np.zeros((400, 28, 28), np.float32)
    ink[:, rows, columns] = 1
    return ink


def affine(ink: FloatArray, strengths: Strengths) -> FloatArray:
    return steps.sample(ink, steps.affine_places(len(ink), rng(), strengths))


def mass_center(ink: FloatArray) -> FloatArray:
    """(m, 2): row and column of each image's center of mass, from its middle."""
    at = np.arange(28) - 13.5
    mass = ink.sum(axis=(1, 2))
    return np.stack([(ink.sum(axis=2) @ at) / mass, (ink.sum(axis=1) @ at) / mass], axis=1)


def tilt(ink: FloatArray) -> FloatArray:
    """(m,) degrees: the direction of the longest axis, counted clockwise as seen (rows run down)."""
    at = np.arange(28) - 13.5
    tables = (np.outer(at * 0 + 1, at**2), np.outer(at**2, at * 0 + 1), np.outer(at, at))
    xx, yy, xy = (np.einsum("mij,ij->m", ink, table) for table in tables)
    angles: FloatArray = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
    return angles


def test_nothing_happens_at_zero_strength(images: AnyArray, x: FloatArray) -> None:
    (rows,) = copies(images, 1, 7, NONE)
    np.testing.assert_allclose(rows, x[::8][:600], rtol=0, atol=1e-6)


def test_augmented_images_differ_and_stay_ink(ink: FloatArray) -> None:
    found = augment(ink, rng(), ROBUST)
    assert (found.shape, str(found.dtype)) == (ink.shape, "float32")
    assert 0.0 <= found.min() <= found.max() <= 1.0 + 1e-6
    assert (np.abs(found - ink).max(axis=(1, 2)) > 0.02).mean() > 0.5


def test_shift_and_rotation_are_as_large_as_asked(ink: FloatArray) -> None:
    moved = mass_center(affine(ink, replace(NONE, shift=3.0))) - mass_center(ink)
    assert np.abs(moved).max() < 3.1
    assert abs(moved.mean()) < 0.15
    assert 1.45 < np.abs(moved).mean() < 1.55  # of a uniform draw from -3 to 3
    turned = affine(rectangle(slice(13, 15), slice(4, 24)), replace(NONE, degrees=15.0))
    assert np.abs(mass_center(turned)).max() < 0.05
    assert 14.0 < np.abs(tilt(turned)).max() < 15.2
    assert abs(tilt(turned).mean()) < 1.5


def test_scale_and_shear_change_the_box() -> None:
    square = rectangle(slice(8, 20), slice(8, 20))
    side = np.sqrt(affine(square, replace(NONE, scale=0.25)).sum(axis=(1, 2)))
    assert 9.0 < side.min() < 10.5
    assert 13.5 < side.max() < 15.1
    sheared = affine(square, replace(NONE, shear=0.3))
    np.testing.assert_allclose(sheared.sum(axis=(1, 2)), 144, rtol=0.01)
    assert np.abs(tilt(sheared)).max() > 20
    places = steps.affine_places(400, rng(), NONE)
    assert steps.sample(square, places + 100).sum() == steps.sample(square, places - 100).sum() == 0  # background


def test_elastic_displacements_are_smooth_and_have_the_length_asked() -> None:
    field = steps.elastic(50, rng(), replace(NONE, elastic=1.5))
    lengths = np.sqrt((field**2).sum(axis=0).mean(axis=(1, 2)))
    np.testing.assert_allclose(lengths, 1.5, rtol=1e-5)
    assert np.abs(np.diff(field, axis=2)).mean() < 0.35 * np.abs(field).mean()


def test_pen_blur_and_noise(ink: FloatArray) -> None:
    mass = [float(steps.stroke(ink, every(change)).sum()) for change in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert mass == sorted(mass)
    dot = np.zeros((1, 28, 28), np.float32)
    dot[0, 5, 0] = 1
    assert steps.stroke(dot, every(1.0, 1)).sum() == 4  # a cross, cut by the edge
    assert steps.stroke(dot, every(-1.0, 1)).sum() == 0
    blurred = steps.blur(ink, every(1.0))
    np.testing.assert_allclose(blurred.sum(axis=(1, 2)), ink.sum(axis=(1, 2)), rtol=0.01)
    assert (blurred.max(axis=(1, 2)) < ink.max(axis=(1, 2))).all()
    gray = np.full((50, 28, 28), 0.5, np.float32)
    assert steps.noise(gray, rng(), every(0.1, 50)).std() == pytest.approx(0.1, rel=0.02)


def test_the_seed_decides_and_the_workers_do_not(images: AnyArray, ink: FloatArray) -> None:
    first = list(copies(images, 2, 7, ROBUST, workers=1))
    again = list(copies(images, 2, 7, ROBUST, workers=3))
    np.testing.assert_array_equal(first, again)
    assert first[0].shape == (600, 400)
    assert np.abs(first[0] - first[1]).max() > 0.5  # every copy is different
    (other,) = copies(images, 1, 8, ROBUST)
    assert np.abs(other - first[0]).max() > 0.5
    changed = (np.abs(augment(ink, rng(), replace(ROBUST, plain=0.4)) - ink).max(axis=(1, 2)) > 1e-6).mean()
    assert 0.5 < changed < 0.7  # the others are left as they are
