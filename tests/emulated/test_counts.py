"""The device's path has not become more expensive: instructions, compared with benchmarks/results."""

from __future__ import annotations

import json

import pytest
from emulated import MOST
from pi_visits import COUNTED, Visit
from pis import PIS, PROJECT

STORED = json.loads((PROJECT / "benchmarks" / "results" / "emulated.json").read_text(encoding="utf-8"))["pis"]
every_counted = pytest.mark.parametrize(
    ("pi", "case"), [(pi, f"{artifact} in {runtime}") for pi in COUNTED for runtime, artifact in COUNTED[pi]]
)
RATIOS = [("logits", "bare"), ("picture", "picture_imports"), ("index", "index_imports")]


@every_counted
def test_counts_are_the_stored_ones(pi: str, case: str, visited: Visit) -> None:
    stored = STORED[pi]["cases"][case]
    changed = {
        what: f"{count:,} instructions, {stored[what]:,} are stored"
        for what, count in visited.counts[case].items()
        if abs(count / stored[what] - 1) > 0.02
    }
    assert changed == {}, (
        f"if this is intended, or other versions are the cause (then {STORED[pi]['versions']}), store the new counts: "
        "python benchmarks/emulated.py"
    )


@every_counted
def test_overhead(pi: str, case: str, visited: Visit) -> None:
    """Over the bare runtime and over the imports, whose count is the stored one."""
    counts = {**STORED[pi]["cases"][case], **visited.counts[case]}
    assert max(counts[what] / counts[over] for what, over in RATIOS) <= MOST, counts


@pytest.mark.parametrize("name", PIS)
def test_stored_overhead(name: str) -> None:
    cases = STORED[name]["cases"]
    assert len(cases) >= 2
    ratios = {f"{case}: {what}": row[what] / row[over] for case, row in cases.items() for what, over in RATIOS}
    assert {what: ratio for what, ratio in ratios.items() if ratio > MOST} == {}
