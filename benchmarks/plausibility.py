"""The limits of `predict`'s doubts about a shape, fitted: training digits drawn as pictures, and what is no digit.

Each limit in turn is the lowest on its grid that so few of the digits' pictures exceed that are sure by all before it.
Scrawls choose nothing here: the table only tells how many of them each limit leaves. All is drawn from other seeds
than those that ``pictures.py`` counts, and from other digits.
"""

from __future__ import annotations

import os
from pathlib import Path

from side_by_side import Row, in_child, markdown, progress, run

DATA = Path(__file__).parents[1] / "data"
SHARE = 0.005  # of the digits' pictures may be lost to one limit
SEED = 100_000  # is added to each picture's number
EACH = 1000  # pictures of a family or kind
GRIDS = {
    "forks": [float(limit) for limit in range(12, 40)],
    "abreast": [limit / 100 for limit in range(160, 240)],
    "length": [limit / 2 for limit in range(100, 140)],
}


def child(request: Row) -> Row:
    """One family or kind: of each picture that no other limit doubts, its counts; and how many were drawn."""
    import io
    from dataclasses import replace

    import numpy as np
    from drawing import draw
    from scrawls import scrawl

    from edgedigits import Classifier
    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.errors import InputError
    from edgedigits.pictures.plausibility import shape_doubts
    from edgedigits.pictures.predictions import LEAST
    from edgedigits.pictures.preprocessing import look

    digits = load_28x28(DATA / "source.npz")[0]
    name, found = request["name"], []
    chosen = np.random.default_rng([SEED, *name.encode()]).permutation(len(digits))[: request["each"]].tolist()
    with Classifier() as classifier:
        for number in range(request["each"]):
            if request["scrawl"]:
                content = scrawl(name, digits, SEED + number)
            else:
                content = draw(name, digits[chosen[number]], SEED + chosen[number])
            try:
                seen = look(io.BytesIO(content))
            except InputError:
                continue
            assert seen.shape
            others = shape_doubts(replace(seen.shape, forks=0, abreast=0.0, length=0.0))
            if not others and classifier.probabilities(seen.row).max() >= LEAST:
                found.append([float(getattr(seen.shape, limit)) for limit in GRIDS])
    return {"drawn": request["each"], "sure": found}


def measure(quick: bool) -> Row:
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from drawing import FAMILIES
    from scrawls import KINDS

    from edgedigits.pictures import plausibility

    rows: dict[str, Row] = {}
    for name in (*FAMILIES, *KINDS):
        progress(name)
        request = {"name": name, "scrawl": name in KINDS, "each": 60 if quick else EACH}
        rows[name] = in_child(__file__, request)
    progress("")
    sure = {name: row["sure"] for name, row in rows.items()}
    drawn = {name: row["drawn"] for name, row in rows.items()}
    cells, targets, fitted = [_cells("no limit", sure, drawn)], [], {}
    for place, (name, grid) in enumerate(GRIDS.items()):
        before = sum(len(sure[family]) for family in FAMILIES)
        most = SHARE * sum(drawn[family] for family in FAMILIES)
        limit = next(
            limit
            for limit in grid
            if before - sum(each[place] <= limit for family in FAMILIES for each in sure[family]) <= most
        )
        sure = {family: [each for each in found if each[place] <= limit] for family, found in sure.items()}
        fitted[name] = limit
        cells.append(_cells(f"{name} at most {limit:g}", sure, drawn))
        used = float(getattr(plausibility, name.upper()))
        targets.append(
            f"{'met' if used == limit else 'MISSED'}: {name.upper()} in edgedigits/plausibility.py is {used:g}"
        )
    return {"limits": fitted, "table": markdown(["sure", *sure], cells), "targets": targets}


def _cells(title: str, sure: dict[str, list[list[float]]], drawn: dict[str, int]) -> list[str]:
    return [title, *(f"{len(found) / drawn[name]:.1%}" for name, found in sure.items())]


if __name__ == "__main__":
    run("doubts", "The limits of predict's doubts, fitted on training digits", measure, child)
