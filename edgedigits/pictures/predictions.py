"""The result for each picture: whether it is sure, as JSON rows, CSV and lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgedigits.bundle.dataset import to_image
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.limits import printable

SURE, UNSURE, UNREAD = "sure", "unsure", "unread"
MIN_PROBABILITY = 0.8  # of a sure prediction
NO_CLEAR_DIGIT = f"no digit reaches a probability of {MIN_PROBABILITY:.0%}"
Row = dict[str, Any]


def prediction_row(source: str, probabilities: Sequence[float], implausibilities: tuple[str, ...]) -> Row:
    """The result for a picture that was read, without the artifact and the runtime."""
    reasons = reasons_to_doubt(probabilities, implausibilities)
    return {
        "source": source,
        "status": UNSURE if reasons else SURE,
        "digit": rank_digits(probabilities)[0],
        "probabilities": list(probabilities),
        "doubts": list(reasons),
    }


def unread_row(source: str, message: str) -> Row:
    """The result for a picture that could not be read."""
    unknown: Row = {"digit": None, "probabilities": None, "doubts": [], "artifact": None, "runtime": None}
    return {"source": source, "status": UNREAD, **unknown, "error": message}


def reasons_to_doubt(probabilities: Sequence[float], implausibilities: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Why a prediction is unsure: an implausible shape, or no high probability."""
    return implausibilities if max(probabilities) >= MIN_PROBABILITY else (*implausibilities, NO_CLEAR_DIGIT)


def rank_digits(probabilities: Sequence[float]) -> list[int]:
    """The digits, most probable first; the smaller digit first on a tie."""
    return sorted(range(len(probabilities)), key=lambda digit: -probabilities[digit])


def format_row(row: Row) -> str:
    """One line: the two most probable digits, or `unsure`, the first three and the reasons."""
    likeliest = [f"{digit} {row['probabilities'][digit]:.1%}" for digit in rank_digits(row["probabilities"])[:3]]
    model, source = f"{row['artifact']} in {row['runtime']}", printable(row["source"])
    if row["status"] == SURE:
        return f"{source}: {likeliest[0]} (then {likeliest[1]}; {model})"
    return f"{source}: unsure: {' or '.join(likeliest)}; {'; '.join(row['doubts'])} ({model})"


def to_csv(rows: Iterable[Row]) -> str:
    """A table with a header line; empty cells where a picture was not read."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("source", "status", "digit", "probability", *(f"p{digit}" for digit in range(10)))
    writer.writerow((*head, "doubts", "error", "artifact", "runtime"))
    for row in rows:
        each = row["probabilities"] or ()
        shares = [f"{share:.6f}" for share in (max(each), *each)] if each else [""] * 11
        facts = ("; ".join(row["doubts"]), row.get("error", ""), row["artifact"], row["runtime"])
        writer.writerow((row["source"], row["status"], row["digit"], *shares, *facts))
    return text.getvalue()


def to_ascii(row: FloatArray) -> str:
    """The model's input (400,) as 20 lines of text, two characters per pixel."""
    shades = " .:-=+*#%@"
    levels = (to_image(row) * 9).round().clip(0, 9).astype(int)
    return "\n".join("".join(shades[level] * 2 for level in line).rstrip() for line in levels)
