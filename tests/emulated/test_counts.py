"""The device's path has not become dearer: instructions, counted again and held against benchmarks/results."""

from __future__ import annotations

import json

import pytest
from emulated import MOST
from pi_visits import COUNTED, Visit
from pis import PIS, PROJECT

STORED = json.loads((PROJECT / "benchmarks" / "results" / "emulated.json").read_text(encoding="utf-8"))["pis"]
AGAIN = "python benchmarks/emulated.py"
COUNTED_AGAIN = [(pi, f"{artifact} in {runtime}") for pi in COUNTED for runtime, artifact in COUNTED[pi]]
RATIOS = [("logits", "bare"), ("picture", "picture_imports"), ("index", "index_imports")]


@pytest.mark.parametrize(("pi", "counted"), COUNTED_AGAIN)
def test_what_was_counted_is_what_it_costs(pi: str, counted: str, visited: Visit) -> None:
    stored = STORED[pi]
    off = {
        what: f"{count:,} instructions, {stored['cases'][counted][what]:,} are stored"
        for what, count in visited.counts[counted].items()
        if abs(count / stored["cases"][counted][what] - 1) > 0.02
    }
    assert off == {}, f"if that is meant, or comes of other versions ({_moved(pi, visited)}), store it: {AGAIN}"


@pytest.mark.parametrize(("pi", "counted"), COUNTED_AGAIN)
def test_it_costs_little_more_than_what_cannot_be_done_without(pi: str, counted: str, visited: Visit) -> None:
    counts = {**STORED[pi]["cases"][counted], **visited.counts[counted]}  # stored is what the imports cost, not ours
    dear = {what: counts[what] / counts[over] for what, over in RATIOS}
    assert [what for what, ratio in dear.items() if ratio > MOST] == [], dear


@pytest.mark.parametrize("name", PIS)
def test_so_it_is_wherever_it_was_counted(name: str) -> None:
    cases = STORED[name]["cases"]
    assert len(cases) >= 2
    dear = {f"{case}: {what}": row[what] / row[over] for case, row in cases.items() for what, over in RATIOS}
    assert {what: ratio for what, ratio in dear.items() if ratio > MOST} == {}


def _moved(pi: str, visited: Visit) -> str:
    """What has another version than when it was counted, for a message."""
    assert visited.counter is not None
    now, then = visited.counter.versions, STORED[pi]["versions"]
    moved = (
        f"{what} {then.get(what)}, now {now.get(what)}" for what in {**then, **now} if then.get(what) != now.get(what)
    )
    return "; ".join(moved) or "all are the same"
