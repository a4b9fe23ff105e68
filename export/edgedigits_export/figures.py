"""The notebook's figures, as PNG files or in a window."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.bundle.contract import DIGITS_SIDE, Contract
from edgedigits.bundle.dataset import Labels
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.files import atomic_file
from edgedigits.system.limits import RefusedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = 8
PNG = b"\x89PNG\r\n\x1a\n"  # how every such file begins
MOST_BARS = 12
DIGITS = Contract((DIGITS_SIDE**2,), pictures="digits", order="columns")
DIGIT_LABELS = tuple(map(str, range(10)))


def samples(
    x: FloatArray, y: Labels, seed: int = 1234, contract: Contract = DIGITS, labels: Sequence[str] = DIGIT_LABELS
) -> Figure:
    """An 8x8 grid of random inputs as upright pictures, each under its label.

    This and the other figures of pictures raise InputError if inputs of this contract are none.
    """
    chosen = np.random.default_rng(seed).choice(len(x), size=min(GRID * GRID, len(x)), replace=False)
    figure = _grid(_pictures(x[chosen], contract), [labels[label] for label in y[chosen]], contract)
    noun = "digits" if contract.pictures == "digits" else "pictures"
    figure.suptitle(f"{len(chosen)} of {len(x)} {noun}, with their labels")
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


def prediction(
    row: FloatArray,
    probabilities: FloatArray,
    title: str,
    contract: Contract = DIGITS,
    labels: Sequence[str] = DIGIT_LABELS,
) -> Figure:
    """An input beside the model's probabilities for it, (classes,); of many classes the most probable."""
    (picture,) = _pictures(row[np.newaxis], contract)
    figure = _figure(7.2, 3.2)
    left, bars = figure.subplots(1, 2, width_ratios=[1, 1.6])
    _draw(left, picture, contract)
    left.set_title(title)
    best = int(probabilities.argmax())
    shown = np.sort(np.argsort(-probabilities, kind="stable")[:MOST_BARS])
    colors = ["#1f5f8b" if c == best else "#b9c7d1" for c in shown]
    drawn = bars.bar(range(len(shown)), probabilities[shown], color=colors)
    bars.bar_label(drawn, [f"{p:.1%}" if p >= 0.005 else "" for p in probabilities[shown]], fontsize=8)
    names = [labels[c] for c in shown]
    bars.set_xticks(range(len(shown)), names, rotation=0 if max(map(len, names)) <= 3 else 45)
    noun = "digit" if contract.pictures == "digits" else "class"
    some = "" if len(shown) == len(probabilities) else f", the {len(shown)} most probable of {len(probabilities)}"
    bars.set(ylim=(0, 1.1), xlabel=noun + some, ylabel="probability", title=f"prediction {labels[best]}")
    return figure


def mistakes(
    x: FloatArray,
    y: Labels,
    outputs: FloatArray,
    contract: Contract = DIGITS,
    labels: Sequence[str] = DIGIT_LABELS,
    most: int = GRID * GRID,
) -> Figure:
    """The misclassified inputs, each under ``label -> prediction``; at most ``most`` of them are drawn."""
    predicted = contract.scores(outputs).argmax(axis=1)
    wrong = np.flatnonzero(predicted != y)
    shown = wrong[:most]
    titles = [f"{labels[y[i]]} \N{RIGHTWARDS ARROW} {labels[predicted[i]]}" for i in shown]
    figure = _grid(_pictures(x[shown], contract), titles, contract)
    more = "" if len(shown) == len(wrong) else f", the first {len(shown)} shown"
    figure.suptitle(f"{len(wrong)} errors of {len(x)} images: label \N{RIGHTWARDS ARROW} prediction{more}")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=120, format="png")
    return stream.getvalue()


def save(content: bytes, path: Path) -> None:
    """Write a PNG file atomically; InputError if something other than a PNG file is there."""
    if path.exists() and not _is_png(path):
        raise InputError(f"{path} is not a PNG picture; give another name, or remove it first")
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def _is_png(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG


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


def _pictures(x: FloatArray, contract: Contract) -> list[FloatArray]:
    """Each input of x (m, *shape) as an upright picture, gray or RGB."""
    try:
        return [contract.to_picture(row) for row in x]
    except RefusedError as cause:
        raise InputError(f"{cause}; plot draws inputs of shape (n * n,), (h, w) or (h, w, 1 or 3)") from cause


def _draw(axes: Any, picture: FloatArray, contract: Contract) -> None:
    """Digits as dark ink on a white page, other pictures in the range of the model's training data."""
    low, high = contract.minimum, contract.maximum
    if contract.pictures == "digits":
        axes.imshow(picture, cmap="gray_r", vmin=0.0, vmax=1.0)
    else:
        low = float(picture.min()) if low is None else low
        width = (float(picture.max()) if high is None else high) - low
        axes.imshow(np.clip((picture - low) / (width or 1.0), 0.0, 1.0), cmap="gray", vmin=0.0, vmax=1.0)
    axes.set_axis_off()


def _grid(pictures: Sequence[FloatArray], titles: Sequence[str], contract: Contract) -> Figure:
    columns = min(GRID, max(1, len(pictures)))
    lines = max(1, -(-len(pictures) // columns))
    figure = _figure(max(4.0, columns), lines * 1.15 + 0.4)
    for axes in np.ravel(figure.subplots(lines, columns, squeeze=False)):
        axes.set_axis_off()
    for axes, picture, title in zip(figure.axes, pictures, titles, strict=False):
        _draw(axes, picture, contract)
        axes.set_title(title, fontsize=9, pad=2)
    return figure
