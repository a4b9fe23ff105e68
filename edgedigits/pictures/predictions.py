"""What `predict` says of a picture: a row of JSON or CSV, and a line of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

SURE, UNSURE, UNREAD = "sure", "unsure", "unread"
LEAST = 0.8  # the least probability of an answer that counts as sure
UNCLEAR = "no digit is clearly ahead"
Row = dict[str, Any]


def answer(source: str, probabilities: Sequence[float], artifact: str, runtime: str, shape: tuple[str, ...]) -> Row:
    """A picture that was read; ``shape`` holds the reasons of :mod:`edgedigits.pictures.plausibility`."""
    reasons = doubts(probabilities, shape)
    return {
        "source": source,
        "status": UNSURE if reasons else SURE,
        "digit": ranked(probabilities)[0],
        "probabilities": list(probabilities),
        "doubts": list(reasons),
        "artifact": artifact,
        "runtime": runtime,
    }


def doubts(probabilities: Sequence[float], shape: tuple[str, ...] = ()) -> tuple[str, ...]:
    """All reasons to doubt an answer: those of the shape, and probabilities of which none is high."""
    return shape if max(probabilities) >= LEAST else (*shape, UNCLEAR)


def unread(source: str, message: str) -> Row:
    """A picture that gave no answer, and why."""
    return {
        "source": source,
        "status": UNREAD,
        "digit": None,
        "probabilities": None,
        "doubts": [],
        "artifact": None,
        "runtime": None,
        "error": message,
    }


def ranked(probabilities: Sequence[float]) -> list[int]:
    """The digits, the likeliest first; of two alike, the smaller."""
    return sorted(range(len(probabilities)), key=lambda digit: -probabilities[digit])


def line(row: Row) -> str:
    """One answer in words: the first and the second digit, or `unsure`, the first three and why."""
    likeliest = [f"{digit} {row['probabilities'][digit]:.1%}" for digit in ranked(row["probabilities"])[:3]]
    model = f"{row['artifact']} in {row['runtime']}"
    if row["status"] == SURE:
        return f"{row['source']}: {likeliest[0]} (then {likeliest[1]}; {model})"
    return f"{row['source']}: unsure: {' or '.join(likeliest)}; {'; '.join(row['doubts'])} ({model})"


def to_csv(rows: Iterable[Row]) -> str:
    """A table: source, status, digit, its probability, those of all ten, doubts, error, artifact, runtime."""
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
