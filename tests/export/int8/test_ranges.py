"""The range of the logits: what it keeps, and what it gives up for it."""

from __future__ import annotations

import numpy as np
import pytest

from edgedigits.runtimes.tensors import FloatArray

pytest.importorskip("tensorflow")

from edgedigits_export.int8.blends import blend
from edgedigits_export.int8.ranges import logits_range

DRAWN = 20_000


def drawn(rng: np.random.Generator) -> FloatArray:
    """Logits of four classes: the top between 1 and 9, the second a little below."""
    top = rng.uniform(1, 9, (DRAWN, 1))
    others = np.full((DRAWN, 2), -30.0)
    return np.asarray(np.concatenate([top, top - rng.exponential(1, (DRAWN, 1)), others], 1), np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_the_range_keeps_every_calibration_input(seed: int) -> None:
    rng = np.random.default_rng(seed)
    calibration = rng.normal(0, 20, (50, 4)).astype(np.float32)
    low, high = logits_range(drawn(rng), calibration)
    ordered = np.sort(calibration, 1)
    assert low < ordered[:, -1].min()
    assert high > ordered[:, -2].max()


def test_the_range_grows_to_where_unseen_inputs_would_tie() -> None:
    rng = np.random.default_rng(1)
    logits, calibration = drawn(rng), drawn(rng)[:100]
    low, high = logits_range(logits, calibration)
    assert -1 < low < 1.5
    assert 7 < high < 10
    some = logits[: DRAWN // 100]
    assert logits_range(np.concatenate([logits, some - 12]), calibration)[0] < -10
    assert logits_range(np.concatenate([logits, some + 12]), calibration)[1] > 18


def test_a_single_far_input_does_not_cost_all_others_their_resolution() -> None:
    rng = np.random.default_rng(2)
    logits, calibration = drawn(rng), drawn(rng)[:100]
    assert logits_range(np.concatenate([logits, logits[:1] - 500]), calibration)[0] > -1


def test_half_of_the_blends_of_images_are_warps() -> None:
    rng = np.random.default_rng(3)
    images = np.zeros((10, 20, 20), np.float32)
    images[:, 5:15, 5:15] = 1  # the middle of a warp stays 1, that of a mixture gets another contrast
    found = blend(images.reshape(10, 400), 60, rng)
    assert found.shape == (60, 400)
    assert found.dtype == np.float32
    brightest = found.max(1)
    assert (brightest[30:] == 1).all()
    assert (brightest[:30] < 1).any()
    rows = rng.uniform(-1, 1, (10, 7)).astype(np.float32)
    found = blend(rows, 61, rng)
    assert found.shape == (61, 7)
    assert rows.min() <= found.min() <= found.max() <= rows.max()
