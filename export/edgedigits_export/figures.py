"""The notebook's figures, as PNG files or in a window."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.bundle.contract import softmax
from edgedigits.bundle.dataset import Labels, to_image
from edgedigits.errors import RuntimeUnavailableError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = 8


def samples(x: FloatArray, y: Labels, seed: int = 1234) -> Figure:
    """An 8x8 grid of random digits, upright, each under its label."""
    chosen = np.random.default_rng(seed).choice(len(x), size=min(GRID * GRID, len(x)), replace=False)
    figure = _grid(x[chosen], [str(label) for label in y[chosen]])
    figure.suptitle(f"{len(chosen)} of {len(x)} digits, with their labels")
    return figure


def loss(losses: Sequence[float]) -> Figure:
    """The training loss against the epoch."""
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    epochs = range(1, len(losses) + 1)
    axes.plot(epochs, losses, color="#1f5f8b", marker=".", markersize=5)
    axes.set(xlabel="epoch", ylabel="loss (cross-entropy)", ylim=(0, None), title="Training loss")
    axes.annotate(
        f"{losses[-1]:.4f}", (len(losses), losses[-1]), xytext=(0, 10), textcoords="offset points", ha="right"
    )
    axes.grid(True, alpha=0.25)
    return figure


def prediction(row: FloatArray, logits: FloatArray, title: str) -> Figure:
    """A digit beside the model's ten probabilities for it."""
    figure = _figure(7.2, 3.2)
    picture, bars = figure.subplots(1, 2, width_ratios=[1, 1.6])
    _draw(picture, row)
    probabilities = softmax(logits)
    best = int(probabilities.argmax())
    picture.set_title(title)
    colors = ["#1f5f8b" if c == best else "#b9c7d1" for c in range(len(probabilities))]
    drawn = bars.bar(range(len(probabilities)), probabilities, color=colors)
    bars.bar_label(drawn, [f"{p:.1%}" if p >= 0.005 else "" for p in probabilities], fontsize=8)
    bars.set(
        xticks=range(len(probabilities)),
        ylim=(0, 1.1),
        xlabel="digit",
        ylabel="probability",
        title=f"prediction {best}",
    )
    return figure


def mistakes(x: FloatArray, y: Labels, logits: FloatArray, most: int = GRID * GRID) -> Figure:
    """The misclassified digits, each under ``label -> prediction``; at most ``most`` of them are drawn."""
    predicted = logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != y)
    shown = wrong[:most]
    figure = _grid(x[shown], [f"{y[i]} \N{RIGHTWARDS ARROW} {predicted[i]}" for i in shown])
    more = "" if len(shown) == len(wrong) else f", the first {len(shown)} shown"
    figure.suptitle(f"{len(wrong)} errors of {len(x)} images: label \N{RIGHTWARDS ARROW} prediction{more}")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=120, format="png")
    return stream.getvalue()


def save(content: bytes, path: Path) -> None:
    """Write a PNG file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def show(figure: Figure) -> None:
    """Open the figure in a window and wait until it is closed; RuntimeUnavailableError where there is no screen."""
    import matplotlib.pyplot as plt

    if plt.get_backend().lower() == "agg":  # the fallback without a screen; its show() does nothing
        raise RuntimeUnavailableError("there is no screen to open a window on; leave out --show to write a PNG file")
    manager: Any = plt.figure().canvas.manager
    manager.canvas.figure = figure
    figure.set_canvas(manager.canvas)
    plt.show()


def _figure(width: float, height: float) -> Figure:
    # Without pyplot there is no global state, and no window system is needed to write a file.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _draw(axes: Any, row: FloatArray) -> None:
    axes.imshow(to_image(row), cmap="gray_r", vmin=0.0, vmax=1.0)
    axes.set_axis_off()


def _grid(rows: FloatArray, titles: Sequence[str]) -> Figure:
    columns = min(GRID, max(1, len(rows)))
    lines = max(1, -(-len(rows) // columns))
    figure = _figure(max(4.0, columns), lines * 1.15 + 0.4)
    for axes in np.ravel(figure.subplots(lines, columns, squeeze=False)):
        axes.set_axis_off()
    for axes, row, title in zip(figure.axes, rows, titles, strict=False):
        _draw(axes, row)
        axes.set_title(title, fontsize=9, pad=2)
    return figure
