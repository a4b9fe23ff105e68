"""Two runs held against each other: on real results, altered where a change must be shown."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.benchmark.compare import bootstrap_ratio, compare, comparison_text, mann_whitney, smallest_p
from edgedigits.benchmark.machine import Threat
from edgedigits.benchmark.result import BenchmarkReport
from edgedigits.errors import InputError
from edgedigits.report.loading import load_benchmark

Run = Callable[..., subprocess.CompletedProcess[str]]
FIVE = (1000, 1010, 1020, 1030, 1040)


@pytest.fixture
def real(bench_file: Path) -> BenchmarkReport:
    return load_benchmark(bench_file)


@pytest.fixture
def old(real: BenchmarkReport) -> BenchmarkReport:
    """The real run with five windows a row, known ones."""
    return alter(replace(real, threats=()), window_p50_ns=FIVE)


def alter(report: BenchmarkReport, number: int | None = None, **changes: Any) -> BenchmarkReport:
    rows = [replace(row, **changes) if number in (None, i) else row for i, row in enumerate(report.rows)]
    return replace(report, rows=tuple(rows))


def times(factor: float) -> tuple[int, ...]:
    return tuple(round(ns * factor) for ns in FIVE)


def by_hand(one: Sequence[int], other: Sequence[int]) -> float:
    """The exact p by every way to deal the values out, midranks for ties."""
    values = [*one, *other]
    ranks = [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]
    seen = sum(ranks[: len(one)])
    sums = [sum(deal) for deal in itertools.combinations(ranks, len(one))]
    below, above = sum(s <= seen for s in sums), sum(s >= seen for s in sums)
    return min(1.0, 2 * min(below, above) / len(sums))


class TestRankTest:
    def test_five_against_five(self) -> None:
        assert mann_whitney(range(5), range(5, 10)) == pytest.approx(2 / 252)
        assert mann_whitney(range(5, 10), range(5)) == pytest.approx(2 / 252)
        assert smallest_p(5, 5) == pytest.approx(0.0079, abs=5e-5)

    def test_published_critical_value(self) -> None:
        # Mann and Whitney's table for n = m = 5: P(U <= 4) = 0.048 one-sided
        assert mann_whitney([1, 2, 3, 7, 8], [4, 5, 6, 9, 10]) / 2 == pytest.approx(0.111, abs=5e-4)  # U = 6
        assert mann_whitney([1, 2, 3, 4, 9], [5, 6, 7, 8, 10]) / 2 == pytest.approx(0.048, abs=5e-4)  # U = 4

    @pytest.mark.parametrize("seed", range(20))
    def test_every_way_to_deal_the_values_out(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        one, other = (draw.integers(0, 6, size).tolist() for size in draw.integers(1, 7, 2))
        assert mann_whitney(one, other) == pytest.approx(by_hand(one, other))

    def test_all_alike(self) -> None:
        assert mann_whitney([7, 7, 7], [7, 7]) == 1.0

    def test_the_approximation_continues_the_exact_one(self) -> None:
        exact, approximate = mann_whitney(range(33), range(5, 38)), mann_whitney(range(34), range(5, 39))
        assert exact == pytest.approx(0.050, abs=5e-4)
        assert approximate == pytest.approx(exact, rel=0.1)  # one value more on each side, near 0.05, where it counts


class TestInterval:
    def test_it_holds_the_ratio_and_is_the_same_each_time(self) -> None:
        low, high = bootstrap_ratio(FIVE, times(1.5))
        assert low < 1.5 < high
        assert (low, high) == bootstrap_ratio(FIVE, times(1.5))

    def test_it_stays_between_the_extremes(self) -> None:
        low, high = bootstrap_ratio([100, 110], [200, 240])
        assert 200 / 110 <= low <= high <= 240 / 100

    def test_windows_that_agree_leave_no_doubt(self) -> None:
        assert bootstrap_ratio([100] * 5, [150] * 5) == (1.5, 1.5)


class TestVerdict:
    @pytest.mark.parametrize(
        ("factor", "verdict", "passed"),
        [
            (1.0, "no change shown", True),
            (1.045, "slower, allowed", True),
            (1.06, "regressed", False),
            (0.8, "quicker", True),
        ],
    )
    def test_significant_and_past_the_limit(
        self, old: BenchmarkReport, factor: float, verdict: str, passed: bool
    ) -> None:
        found = compare(old, alter(old, 1, window_p50_ns=times(factor)))
        assert found.rows[1].verdict == verdict
        assert found.rows[0].verdict == "no change shown"
        assert found.passed is passed
        assert found.decided

    def test_past_the_limit_by_chance(self, old: BenchmarkReport) -> None:
        found = compare(old, alter(old, 0, window_p50_ns=(900, 1000, 1200, 1300, 1310)))
        assert found.rows[0].ratio is not None
        assert found.rows[0].ratio > 1.05
        assert found.rows[0].verdict == "no change shown"
        assert found.passed

    def test_the_limit_is_the_callers(self, old: BenchmarkReport) -> None:
        new = alter(old, window_p50_ns=times(1.2))
        assert not compare(old, new, max_regress=0.19).passed
        assert compare(old, new, max_regress=0.21).passed

    def test_too_few_windows_decide_nothing(self, old: BenchmarkReport) -> None:
        found = compare(alter(old, window_p50_ns=(10, 11, 12)), alter(old, window_p50_ns=(20, 21, 22)))
        assert {row.verdict for row in found.rows} == {"too few windows"}
        assert found.passed
        assert not found.decided
        assert "UNDECIDED" in comparison_text(found)

    @pytest.mark.parametrize(("status", "passed"), [("crashed", False), ("timeout", False), ("missing", True)])
    def test_a_row_that_ran_and_fails_now(self, old: BenchmarkReport, status: str, passed: bool) -> None:
        found = compare(old, alter(old, 0, status=status, message="out of memory"))
        assert found.passed is passed
        assert f"float32.tflite in litert: {status} in NEW: out of memory" in found.notes

    def test_a_row_that_was_not_reached(self, old: BenchmarkReport) -> None:
        found = compare(old, replace(alter(old, 0, status="error", message="interrupted"), cut_short=True))
        assert found.passed
        assert any("NEW was cut short" in note for note in found.notes)

    def test_rows_of_one_file_only(self, old: BenchmarkReport) -> None:
        found = compare(replace(old, rows=old.rows[:2]), replace(old, rows=old.rows[1:]))
        assert [row.artifact for row in found.rows] == [old.rows[1].artifact]
        assert {"only in OLD: float32.tflite in litert", "only in NEW: float32.onnx in onnxruntime"} <= set(found.notes)

    def test_other_threads_are_other_rows(self, old: BenchmarkReport) -> None:
        with pytest.raises(InputError, match=r"nothing to compare: only in OLD: .* on 2 threads"):
            compare(old, alter(old, threads=2))

    def test_the_model_alone(self, old: BenchmarkReport) -> None:
        new = alter(alter(old, invoke_p50_ns=300), 0, invoke_p50_ns=None)
        found = compare(alter(old, invoke_p50_ns=200), new)
        assert [row.invoke_ratio for row in found.rows][:2] == [None, 1.5]


class TestMachine:
    @pytest.mark.parametrize(
        ("fact", "value", "said"),
        [
            ("cpu", "Cortex-A76", "cpu .* in OLD, Cortex-A76 in NEW"),
            ("model", "Raspberry Pi 5", "model unknown in OLD, Raspberry Pi 5 in NEW"),
            ("cores", 64, "cores .* in OLD, 64 in NEW"),
            ("architecture", "armv7l", "architecture"),
            ("cpu_features", ("neon",), "cpu_features .*neon in NEW"),
        ],
    )
    def test_another_machine(self, old: BenchmarkReport, fact: str, value: Any, said: str) -> None:
        old = replace(old, machine={**old.machine, "model": None})
        new = replace(old, machine={**old.machine, fact: value})
        with pytest.raises(InputError, match=rf"different machines: {said}.*; --across-machines compares"):
            compare(old, new)
        found = compare(old, new, across_machines=True)
        assert any(note.startswith("warning: different machines") for note in found.notes)

    def test_what_changed_on_it_is_told(self, old: BenchmarkReport) -> None:
        packages = {**old.machine["packages"], "numpy": "9.9"}
        machine = {**old.machine, "governor": "powersave", "kernel": "7.0", "packages": packages}
        new = replace(old, machine=machine, threats=(Threat("the load is 3", "end it"),))
        notes = "\n".join(compare(old, new).notes)
        assert "warning: another frequency governor" in notes
        assert "in OLD, powersave in NEW" in notes
        assert "in OLD, 7.0 in NEW" in notes
        assert "in OLD, 9.9 in NEW" in notes
        assert "warning: NEW: the load is 3" in notes

    def test_another_file_of_the_same_name(self, old: BenchmarkReport) -> None:
        size = old.rows[0].bytes
        notes = compare(old, alter(old, 0, bytes=5)).notes
        assert f"float32.tflite in litert: another file, {size:,} bytes before, 5 now" in notes
        notes = compare(old, alter(old, 0, sha256="0" * 64)).notes
        assert "float32.tflite in litert: another file of the same size" in notes
        assert not any("another file" in note for note in compare(old, old).notes)

    def test_an_invalid_run_is_refused(self, old: BenchmarkReport) -> None:
        with pytest.raises(InputError, match=r"OLD is invalid: it throttled; mend that and run `edgedigits benchmark`"):
            compare(replace(old, invalid="it throttled"), old)


class TestCommand:
    @pytest.fixture
    def files(self, old: BenchmarkReport, tmp_path: Path) -> dict[str, Path]:
        reports = {
            "old": old,
            "slow": alter(old, window_p50_ns=times(1.3)),
            "few": alter(old, window_p50_ns=(9000, 9001)),
            "elsewhere": replace(old, machine={**old.machine, "cores": 99}),
        }
        for name, report in reports.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(report.to_json()), encoding="utf-8")
        return {name: tmp_path / f"{name}.json" for name in reports}

    @pytest.mark.parametrize(
        ("new", "options", "status", "said"),
        [
            ("old", (), 0, "no regression: none of 3 rows is shown to be slower by more than 5 %"),
            ("slow", (), 1, "REGRESSION: 3 of 3 rows slower by more than 5 %, or broken"),
            ("slow", ("--max-regress", "50%"), 0, "by more than 50 %"),
            ("slow", ("--max-regress", "0.299"), 1, "by more than 29.9 %"),
            ("few", (), 2, "UNDECIDED: 3 of 3 rows"),
            ("elsewhere", ("--across-machines",), 0, "warning: different machines"),
        ],
    )
    def test_exit_status(
        self, edgedigits: Run, files: dict[str, Path], new: str, options: tuple[str, ...], status: int, said: str
    ) -> None:
        done = edgedigits("compare", files["old"], files[new], *options)
        assert done.returncode == status, done
        assert said in done.stdout
        assert done.stderr == ""

    def test_another_machine_is_one_line(self, edgedigits: Run, files: dict[str, Path]) -> None:
        done = edgedigits("compare", files["old"], files["elsewhere"])
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1

    @pytest.mark.parametrize("limit", ["5", "-1%", "nan", "nan%", "inf", "five", "", "%", "5 percent", "1001%"])
    def test_a_limit_that_is_none(self, edgedigits: Run, files: dict[str, Path], limit: str) -> None:
        done = edgedigits("compare", files["old"], files["old"], f"--max-regress={limit}")
        assert done.returncode == 2
        assert "is no limit; expected such as 5% or 0.05" in done.stderr

    def test_json(self, edgedigits: Run, files: dict[str, Path]) -> None:
        found = json.loads(edgedigits("compare", files["old"], files["slow"], "--json", "-").stdout)
        assert found["passed"] is False
        assert found["bootstrap"] == {"resamples": 10_000, "seed": 0, "confidence": 0.95}
        assert found["rows"][0]["ratio"] == pytest.approx(1.3, abs=0.001)
        assert found["rows"][0]["p"] == pytest.approx(2 / 252)
