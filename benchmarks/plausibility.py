"""Fit the limits of `edgedigits.pictures.plausibility` on training digits drawn as pictures.

Each limit in turn is the lowest on its grid that at most ``SHARE`` of the digits' pictures exceed, of those within the
limits before it. Scrawls do not influence the fit; the table shows how many of them each limit leaves. The seeds and
the digits are other than those of ``pictures.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

from side_by_side import Row, in_child, markdown, progress, run

DATA = Path(__file__).parents[1] / "data"
SHARE = 0.005  # of the digits' pictures that one limit may reject
SEED = 100_000  # added to each picture's number
EACH = 1000  # pictures per family or kind
GRIDS = {
    "junctions": [float(limit) for limit in range(12, 40)],
    "mean_crossings": [limit / 100 for limit in range(160, 240)],
    "stroke_length": [limit / 2 for limit in range(100, 140)],
}


def child(request: Row) -> Row:
    """The features of one family's or kind's pictures that no other check rejects, and how many were drawn."""
    import io
    from dataclasses import replace

    import numpy as np
    from drawing import draw
    from scrawls import scrawl

    from edgedigits import Classifier
    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.errors import InputError
    from edgedigits.pictures.plausibility import implausibilities
    from edgedigits.pictures.predictions import MIN_PROBABILITY
    from edgedigits.pictures.preprocessing import preprocess

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
                seen = preprocess(io.BytesIO(content))
            except InputError:
                continue
            assert seen.shape
            others = implausibilities(replace(seen.shape, junctions=0, mean_crossings=0.0, stroke_length=0.0))
            if not others and classifier.probabilities(seen.row).max() >= MIN_PROBABILITY:
                found.append([float(getattr(seen.shape, feature)) for feature in GRIDS])
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
        cells.append(_cells(f"{name.replace('_', ' ')} at most {limit:g}", sure, drawn))
        constant = f"MAX_{name.upper()}"
        used = float(getattr(plausibility, constant))
        targets.append(
            f"{'met' if used == limit else 'MISSED'}: {constant} in edgedigits/pictures/plausibility.py is {used:g}"
        )
    return {"limits": fitted, "table": markdown(["sure", *sure], cells), "targets": targets}


def _cells(title: str, sure: dict[str, list[list[float]]], drawn: dict[str, int]) -> list[str]:
    return [title, *(f"{len(found) / drawn[name]:.1%}" for name, found in sure.items())]


if __name__ == "__main__":
    run("plausibility", "The limits of plausible shapes, fitted on training digits", measure, child)
