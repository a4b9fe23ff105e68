"""The figures: what each shows, and that it is written as a PNG file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedigits.bundle.bundle import Bundle
from edgedigits.bundle.contract import Contract, softmax
from edgedigits.bundle.dataset import to_image
from edgedigits.errors import InputError
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
    figure = figures.prediction(bundle.input_row(1015), softmax(bundle.golden()[1015]), "X[1015]")
    assert [axes.get_title() for axes in figure.axes] == ["X[1015]", "prediction 2"]
    assert figure.axes[1].get_xlabel() == "digit"


def test_other_models_have_pictures_of_their_own_and_classes() -> None:
    x = np.random.default_rng(0).random((9, 4, 5, 3), np.float32) * 255
    y, names = np.arange(9) % 2, ("cat", "dog")
    contract = Contract((4, 5, 3), 0.0, 127.0, 255.0)
    first = figures.samples(x, y, 1, contract, names)
    chosen = np.random.default_rng(1).choice(9, size=9, replace=False)
    assert [axes.get_title() for axes in first.axes[:9]] == [names[label] for label in y[chosen]]
    np.testing.assert_allclose(np.asarray(first.axes[2].images[0].get_array()), x[chosen[2]] / 255, atol=1e-6)
    assert "9 of 9 pictures" in str(first.get_suptitle())
    assert first.axes[0].images[0].get_cmap().name == "gray"
    bars = figures.prediction(x[0], np.array([0.25, 0.75], np.float32), "X[0]", contract, names).axes[1]
    assert (bars.get_xlabel(), bars.get_title()) == ("class", "prediction dog")
    sigmoid = Contract((4, 5, 3), output="sigmoid")
    wrong = figures.mistakes(x, y, np.full((9, 1), 0.9, np.float32), sigmoid, names)
    assert [axes.get_title() for axes in wrong.axes[:5]] == ["cat \N{RIGHTWARDS ARROW} dog"] * 5
    many = figures.prediction(x[0], np.arange(300) / np.float32(44850), "", contract, [str(c) for c in range(300)])
    assert many.axes[1].get_xlabel() == "class, the 12 most probable of 300"


def test_inputs_that_are_no_pictures_are_refused_in_one_line() -> None:
    with pytest.raises(
        InputError, match=r"^an input of shape \(7,\) cannot be shown as a picture; plot draws"
    ) as caught:
        figures.mistakes(np.zeros((3, 7), np.float32), np.zeros(3, int), np.eye(3, dtype=np.float32), Contract((7,)))
    assert "\n" not in str(caught.value)


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
    figures.save(figures.png(figures.loss([3.0, 1.0])), target)
    (tmp_path / "notes").write_text("mine")
    for other in (tmp_path / "notes", tmp_path):
        with pytest.raises(InputError, match="is not a PNG picture; give another name, or remove it first"):
            figures.save(target.read_bytes(), other)
    assert (tmp_path / "notes").read_text() == "mine"
    assert [p.name for p in target.parent.iterdir()] == ["loss.png"]


def test_a_window_without_a_screen_is_an_error(edgedigits: Callable[..., Any]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = edgedigits("plot", "samples", "--show", env={**environment, "MPLBACKEND": "agg"})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "leave out --show to write a PNG file" in done.stderr
