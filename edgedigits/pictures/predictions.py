"""The result for each picture: the class and whether it is sure, as an object, JSON rows, CSV and lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedigits.bundle.contract import Contract
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.limits import printable

SURE, UNSURE, UNREAD = "sure", "unsure", "unread"
MIN_PROBABILITY = 0.8  # of a sure prediction
Row = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """What a classifier read in a picture.

    Attributes:
        label: the name of the predicted class.
        index: its index in the classifier's labels.
        probability: its probability, 0 to 1.
        top: the most probable classes with their probabilities, the predicted one first.
        reasons: why the prediction is unsure; empty if it is sure.
    """

    label: str
    index: int
    probability: float
    top: tuple[tuple[str, float], ...]
    reasons: tuple[str, ...]

    @property
    def sure(self) -> bool:
        """Whether there is no reason to doubt it."""
        return not self.reasons


def to_reading(
    probabilities: Sequence[float],
    implausibilities: tuple[str, ...],
    labels: Sequence[str],
    contract: Contract,
    top: int = 3,
) -> Reading:
    """The result for a picture from the probabilities of the classes."""
    ranks = rank_classes(probabilities)
    ranked = tuple((labels[index], probabilities[index]) for index in ranks[:top])
    reasons = reasons_to_doubt(probabilities, implausibilities, what(contract))
    return Reading(labels[ranks[0]], ranks[0], probabilities[ranks[0]], ranked, reasons)


def what(contract: Contract) -> str:
    """What the model tells apart, in a word."""
    return "digit" if contract.pictures == "digits" else "class"


def prediction_row(source: str, probabilities: Sequence[float], read: Reading, contract: Contract) -> Row:
    """The result for a picture that was read, without the artifact and the runtime."""
    return {
        "source": source,
        "status": SURE if read.sure else UNSURE,
        **_predicted(contract, read.index, read.label),
        "probabilities": list(probabilities),
        "doubts": list(read.reasons),
    }


def unread_row(source: str, message: str, contract: Contract) -> Row:
    """The result for a picture that could not be read."""
    unknown: Row = {"probabilities": None, "doubts": [], "artifact": None, "runtime": None}
    return {"source": source, "status": UNREAD, **_predicted(contract, None, None), **unknown, "error": message}


def _predicted(contract: Contract, index: int | None, label: str | None) -> Row:
    """The predicted class under the keys of its kind: a digit is its own index."""
    return {"digit" if what(contract) == "digit" else "index": index, "label": label}


def reasons_to_doubt(
    probabilities: Sequence[float], implausibilities: tuple[str, ...] = (), of: str = "digit"
) -> tuple[str, ...]:
    """Why a prediction is unsure: an implausible shape, or no high probability."""
    if max(probabilities) >= MIN_PROBABILITY:
        return implausibilities
    return (*implausibilities, f"no {of} reaches a probability of {MIN_PROBABILITY:.0%}")


def rank_classes(probabilities: Sequence[float]) -> list[int]:
    """The classes, most probable first; the smaller index first on a tie."""
    return sorted(range(len(probabilities)), key=lambda index: -probabilities[index])


def format_row(row: Row, labels: Sequence[str]) -> str:
    """One line: the two most probable classes, or `unsure`, the first three and the reasons."""
    shares = row["probabilities"]
    likeliest = [f"{printable(labels[index])} {shares[index]:.1%}" for index in rank_classes(shares)[:3]]
    model, source = f"{row['artifact']} in {row['runtime']}", printable(row["source"])
    if row["status"] == SURE:
        return f"{source}: {likeliest[0]} (then {likeliest[1]}; {model})"
    return f"{source}: unsure: {' or '.join(likeliest)}; {'; '.join(row['doubts'])} ({model})"


def to_csv(rows: Iterable[Row], labels: Sequence[str], contract: Contract) -> str:
    """A table with a header line; empty cells where a picture was not read.

    The columns are digit and p0 to p9 for digits; label, and p_LABEL for each class, for other models.
    """
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    key, prefix = ("digit", "p") if what(contract) == "digit" else ("label", "p_")
    head = ("source", "status", key, "probability", *(f"{prefix}{label}" for label in labels))
    writer.writerow((*head, "doubts", "error", "artifact", "runtime"))
    for row in rows:
        each = row["probabilities"] or ()
        shares = [f"{share:.6f}" for share in (max(each), *each)] if each else [""] * (1 + len(labels))
        facts = ("; ".join(row["doubts"]), row.get("error", ""), row["artifact"], row["runtime"])
        writer.writerow((row["source"], row["status"], row[key], *shares, *facts))
    return text.getvalue()


def to_brightness(row: FloatArray, contract: Contract) -> FloatArray:
    """The model's input as an upright picture, (h, w) or (h, w, 3), 0 to 1."""
    shown: FloatArray = np.clip(contract.to_picture(row) * np.float32(contract.pixel_scale / 255.0), 0.0, 1.0)
    return shown


def to_ascii(picture: FloatArray) -> str:
    """A picture (h, w) or (h, w, 3), 0 to 1, as h lines of text, two characters per pixel."""
    shades = " .:-=+*#%@"
    gray = picture if picture.ndim == 2 else picture.mean(axis=2)
    levels = (gray * 9).round().clip(0, 9).astype(int)
    return "\n".join("".join(shades[level] * 2 for level in line).rstrip() for line in levels)
