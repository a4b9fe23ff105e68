"""The figures: what each shows, and that it is written as a PNG file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgedigits.bundle.bundle import Bundle
from edgedigits.bundle.dataset import to_image
from edgedigits_export import figures


def test_samples_are_64_upright_digits_under_their_labels(x: Any, y: Any) -> None:
    figure = figures.samples(x, y, seed=3)
    chosen = np.random.default_rng(3).choice(len(x), size=64, replace=False)
    assert [axes.get_title() for axes in figure.axes] == [str(label) for label in y[chosen]]
    np.testing.assert_array_equal(np.asarray(figure.axes[5].images[0].get_array()), to_image(x[chosen[5]]))


def test_loss_is_drawn_against_the_epoch() -> None:
    (axes,) = figures.loss([3.0, 2.0, 1.5]).axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 3.0], [2, 2.0], [3, 1.5]])
    assert axes.get_xlabel() == "epoch"


def test_the_prediction_names_the_digit() -> None:
    bundle = Bundle()
    figure = figures.prediction(bundle.input_row(1015), bundle.golden()[1015], "X[1015]")
    assert [axes.get_title() for axes in figure.axes] == ["X[1015]", "prediction 2"]


def test_mistakes_are_all_there_with_both_labels(x: Any, y: Any) -> None:
    bundle = Bundle()
    predicted = bundle.golden().argmax(axis=1)
    titles = [axes.get_title() for axes in figures.mistakes(x, y, bundle.golden()).axes]
    expected = [f"{y[i]} \N{RIGHTWARDS ARROW} {predicted[i]}" for i in np.flatnonzero(predicted != y)]
    assert titles[: len(expected)] == expected
    assert set(titles[len(expected) :]) <= {""}
    perfect = np.eye(10, dtype=np.float32)[y]
    assert "0 errors of 5000" in str(figures.mistakes(x, y, perfect).get_suptitle())


def test_a_figure_is_written_as_png(tmp_path: Path) -> None:
    target = tmp_path / "new" / "loss.png"
    figures.save(figures.png(figures.loss([2.0, 1.0])), target)
    with Image.open(target) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 5
    assert [p.name for p in target.parent.iterdir()] == ["loss.png"]


def test_a_window_without_a_screen_is_an_error(edgedigits: Callable[..., Any]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = edgedigits("plot", "samples", "--show", env={**environment, "MPLBACKEND": "agg"})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "leave out --show to write a PNG file" in done.stderr
