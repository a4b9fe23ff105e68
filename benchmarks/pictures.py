"""The accuracy and the speed of reading pictures: 5000 unseen digits drawn in families, with each packaged bundle.

The families and their seeds are in ``drawing.py``, pictures without a digit in ``scrawls.py``. Speed is the CPU time
from the file's bytes to the model's input, in one process on one thread, every family at 200 pixels and in turns.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

from side_by_side import ChildError, Row, at_least, at_most, in_child, markdown, progress, run

DATA = Path(__file__).parents[1] / "data"
RECIPES = ("robust", "notebook")
DIRECT, SCRAWLS = "the arrays themselves", 500
CLOSE = ("clean, 28 to 400 px", "inverted", "JPEG, quality 30", "large page, off-center")
FAR = ("photo", "thick pen", "thin pen")
ROUNDS = 5


def child(request: Row) -> Row:
    """One family or kind of scrawl with every bundle: counts of right, sure, and sure and right predictions."""
    if "rounds" in request:
        return timed(request)
    import io

    import numpy as np
    from drawing import draw
    from scrawls import scrawl

    from edgedigits import Classifier
    from edgedigits.bundle.bundle import DEFAULT_BUNDLE
    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.errors import BundleError, InputError
    from edgedigits.pictures.normalization import to_rows
    from edgedigits.pictures.predictions import reasons_to_doubt
    from edgedigits.pictures.preprocessing import preprocess

    images, labels = load_28x28(DATA / "unseen.npz")
    images, labels = images[:: request["step"]], labels[:: request["step"]]
    family, kind = request.get("family"), request.get("kind")
    found: Row = {"pictures": len(images), "unread": 0}
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
        for number, content in enumerate(files):
            try:
                seen = preprocess(io.BytesIO(content), str(number))
            except InputError:
                found["unread"] += 1
            else:
                rows[number], shapes[number] = seen.row, seen.implausibilities
        found["pictures"] = len(files)
    for recipe in RECIPES:
        packaged = DEFAULT_BUNDLE.parent / recipe
        try:
            classifier = Classifier(packaged)
        except BundleError:
            continue
        with classifier:
            shares = classifier.probabilities(rows)
        right = shares.argmax(axis=1) == labels
        sure = np.array(
            [not reasons_to_doubt(each.tolist(), shape) for each, shape in zip(shares, shapes, strict=True)]
        )
        found[recipe] = {"right": int(right.sum()), "sure": int(sure.sum()), "sure_right": int((right & sure).sum())}
    return found


def timed(request: Row) -> Row:
    """Seconds per picture in each round, for each family at 200 pixels and for the larger pictures."""
    import io
    import time

    from drawing import FAMILIES, LARGER, draw_to_time

    from edgedigits.bundle.dataset import load_28x28
    from edgedigits.pictures.preprocessing import preprocess

    images, _ = load_28x28(DATA / "unseen.npz")
    step = len(images) // request["pictures"]
    files = {
        name: [draw_to_time(name, images[at], at) for at in range(0, len(images), step * (50 if name in LARGER else 1))]
        for name in (*FAMILIES, *LARGER)
    }
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for number in range(-1, request["rounds"]):
        for name, contents in files.items():
            began = time.process_time()
            for content in contents:
                preprocess(io.BytesIO(content), name)
            if number >= 0:  # the first round warms up
                seconds[name].append((time.process_time() - began) / len(contents))
    return seconds


def measure(quick: bool) -> Row:
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from drawing import FAMILIES
    from scrawls import KINDS

    progress("speed")
    speed = in_child(__file__, {"rounds": 3 if quick else ROUNDS, "pictures": 50 if quick else 200})
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
    tables = [_table(rows, recipes), _scrawl_table(scrawls, recipes), _speed_table(speed)]
    targets = _targets(rows, recipes) + _scrawl_targets(scrawls, recipes) + _speed_targets(speed)
    return {"rows": rows, "scrawls": scrawls, "seconds": speed, "table": "\n\n".join(tables), "targets": targets}


def _accuracy(row: Row, recipe: str) -> float:
    return float(row[recipe]["right"] / row["pictures"])


def _table(rows: dict[str, Row], recipes: list[str]) -> str:
    first = recipes[0]
    head = ["5000 unseen digits as", *(f"{recipe}, right" for recipe in recipes), f"{first}, points from the arrays"]
    head += [f"{first}, sure and right", "sure and wrong", "unsure"]
    cells = []
    for name, row in rows.items():
        sure, right, all_of_them = row[first]["sure"], row[first]["sure_right"], row["pictures"]
        cell = [name, *(f"{_accuracy(row, recipe):.2%}" for recipe in recipes)]
        cell.append(f"{100 * (_accuracy(row, first) - _accuracy(rows[DIRECT], first)):+.2f}")
        cell += [f"{count / all_of_them:.2%}" for count in (right, sure - right, all_of_them - sure)]
        cells.append(cell)
    return markdown(head, cells)


def _scrawl_table(scrawls: dict[str, Row], recipes: list[str]) -> str:
    head = ["no digit", "drawn", *(f"{recipe}, answered as sure" for recipe in recipes)]
    cells = [
        [name, row["pictures"], *(f"{row[recipe]['sure'] / row['pictures']:.1%}" for recipe in recipes)]
        for name, row in scrawls.items()
    ]
    return markdown(head, cells)


def _speed_table(speed: dict[str, list[float]]) -> str:
    cells = [
        [name, f"{1e3 * median(each):.2f}", f"{1 / median(each):.0f}", f"{1 / max(each):.0f} to {1 / min(each):.0f}"]
        for name, each in speed.items()
    ]
    return markdown(["read on one thread", "ms a picture", "pictures a second", "in its rounds"], cells)


def _scrawl_targets(scrawls: dict[str, Row], recipes: list[str]) -> list[str]:
    return [
        at_most(f"{recipe}, {name}: percent answered as sure", 100 * row[recipe]["sure"] / row["pictures"], 5)
        for recipe in recipes
        for name, row in scrawls.items()
    ]


def _speed_targets(speed: dict[str, list[float]]) -> list[str]:
    from drawing import FAMILIES

    return [at_least(f"pictures a second at 200 px, {name}", 1 / median(speed[name]), 300) for name in FAMILIES]


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
        targets.append(at_least(f"points by which {first} leads {second} in its worst family", 100 * least, 0))
    return targets


if __name__ == "__main__":
    run("pictures", "Reading pictures of unseen digits", measure, child)
