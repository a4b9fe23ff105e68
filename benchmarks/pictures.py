"""Reading pictures: the 5000 unseen digits drawn in families, read back as `predict` does, in each packaged recipe.

The families and their seeds are in ``drawing.py``; what is no digit is in ``scrawls.py``. A family is drawn and read in
a process of its own on one thread; its speed is in CPU seconds of that process, from the file's bytes to the model's
input, so that other work on the machine does not count.
"""

from __future__ import annotations

import os
from pathlib import Path

from side_by_side import ChildError, Row, at_least, in_child, markdown, progress, run

DATA = Path(__file__).parents[1] / "data"
RECIPES = ("robust", "notebook")
DIRECT, SCRAWLS = "the arrays themselves", 500
CLOSE = ("clean, 28 to 400 px", "inverted", "JPEG, quality 30", "large page, off-center")
FAR = ("photo", "thick pen", "thin pen")
AT_200 = "inverted"  # a plain PNG of 200 pixels


def child(request: Row) -> Row:
    """One family, or one kind of scrawl, in every recipe: counts of right, sure, and sure and right answers."""
    import io
    import time

    import numpy as np
    from drawing import draw
    from scrawls import scrawl

    from edgedigits import Classifier
    from edgedigits.answers import doubts
    from edgedigits.bundle import DEFAULT_BUNDLE
    from edgedigits.dataset import load_28x28
    from edgedigits.errors import BundleError, InputError
    from edgedigits.images import look, to_rows

    images, labels = load_28x28(DATA / "unseen.npz")
    images, labels = images[:: request["step"]], labels[:: request["step"]]
    family, kind = request.get("family"), request.get("kind")
    found: Row = {"pictures": len(images), "seconds": 0.0, "unread": 0}
    shapes: list[tuple[str, ...]] = [()] * len(images)
    if family is None and kind is None:
        rows = to_rows(images)
    else:
        if kind:
            labels = np.full(request["scrawls"], -1)
            files = [scrawl(kind, images, number) for number in range(len(labels))]
        else:
            files = [draw(str(family), digit, number) for number, digit in enumerate(images)]
        rows, shapes = np.zeros((len(files), 400), dtype=np.float32), [("unread",)] * len(files)
        look(io.BytesIO(files[0]), "warm-up")
        began = time.process_time()
        for number, content in enumerate(files):
            try:
                seen = look(io.BytesIO(content), str(number))
            except InputError:
                found["unread"] += 1
            else:
                rows[number], shapes[number] = seen.row, seen.doubts
        found |= {"pictures": len(files), "seconds": time.process_time() - began}
    for recipe in RECIPES:
        packaged = DEFAULT_BUNDLE.parent / recipe
        try:
            classifier = Classifier(packaged)
        except BundleError:
            continue
        with classifier:
            shares = classifier.probabilities(rows)
        right = shares.argmax(axis=1) == labels
        sure = np.array([not doubts(each.tolist(), shape) for each, shape in zip(shares, shapes, strict=True)])
        found[recipe] = {"right": int(right.sum()), "sure": int(sure.sum()), "sure_right": int((right & sure).sum())}
    return found


def measure(quick: bool) -> Row:
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from drawing import FAMILIES
    from scrawls import KINDS

    request: Row = {"step": 25 if quick else 1, "scrawls": 40 if quick else SCRAWLS}
    rows: dict[str, Row] = {}
    for name in (DIRECT, *FAMILIES):
        progress(name)
        rows[name] = in_child(__file__, {**request, "family": None if name == DIRECT else name})
    scrawls: dict[str, Row] = {}
    for name in KINDS:
        progress(name)
        scrawls[name] = in_child(__file__, {**request, "kind": name})
    progress("")
    recipes = [recipe for recipe in RECIPES if recipe in rows[DIRECT]]
    if not recipes:
        raise ChildError("no packaged bundle was found")
    table = _table(rows, recipes) + "\n\n" + _scrawl_table(scrawls, recipes)
    return {"rows": rows, "scrawls": scrawls, "table": table, "targets": _targets(rows, recipes)}


def _accuracy(row: Row, recipe: str) -> float:
    return float(row[recipe]["right"] / row["pictures"])


def _table(rows: dict[str, Row], recipes: list[str]) -> str:
    head = ["5000 unseen digits as", *(f"{recipe}, right" for recipe in recipes)]
    head += [f"{recipes[0]}, points from the arrays", f"{recipes[0]}, sure", "right where sure", "pictures a second"]
    cells = []
    for name, row in rows.items():
        first = row[recipes[0]]
        cell = [name, *(f"{_accuracy(row, recipe):.2%}" for recipe in recipes)]
        cell.append(f"{100 * (_accuracy(row, recipes[0]) - _accuracy(rows[DIRECT], recipes[0])):+.2f}")
        cell += [f"{first['sure'] / row['pictures']:.1%}", f"{first['sure_right'] / max(first['sure'], 1):.2%}"]
        cell.append(f"{row['pictures'] / row['seconds']:.0f}" if row["seconds"] else "")
        cells.append(cell)
    return markdown(head, cells)


def _scrawl_table(scrawls: dict[str, Row], recipes: list[str]) -> str:
    head = ["no digit", "drawn", *(f"{recipe}, answered as sure" for recipe in recipes)]
    cells = [
        [name, row["pictures"], *(f"{row[recipe]['sure'] / row['pictures']:.1%}" for recipe in recipes)]
        for name, row in scrawls.items()
    ]
    return markdown(head, cells)


def _targets(rows: dict[str, Row], recipes: list[str]) -> list[str]:
    targets = []
    for recipe in recipes:
        for names, points in ((CLOSE, 1.0), (FAR, 4.0)):
            for name in names:
                lost = 100 * (_accuracy(rows[name], recipe) - _accuracy(rows[DIRECT], recipe))
                targets.append(at_least(f"{recipe}, {name}: points from the arrays", round(lost, 2), -points))
    if len(recipes) > 1:
        first, second = recipes
        least = min(_accuracy(row, first) - _accuracy(row, second) for row in rows.values())
        targets.append(at_least(f"points that {first} is ahead of {second} in its worst family", 100 * least, 0))
    targets.append(at_least("pictures a second at 200 px", rows[AT_200]["pictures"] / rows[AT_200]["seconds"], 300))
    return targets


if __name__ == "__main__":
    run("pictures", "Reading: the unseen digits drawn as pictures", measure, child)
