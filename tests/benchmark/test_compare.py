"""Comparing two benchmarks: a real result, changed where a difference must be reported."""

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

from edgedigits.benchmark.compare import bootstrap_ratio, compare, mann_whitney, smallest_p
from edgedigits.benchmark.machine import MachineWarning
from edgedigits.benchmark.result import BenchmarkReport
from edgedigits.errors import InputError
from edgedigits.report.loading import load_benchmark

Run = Callable[..., subprocess.CompletedProcess[str]]
FIVE = (1000, 1010, 1020, 1030, 1040)


@pytest.fixture
def old(bench_file: Path) -> BenchmarkReport:
    """A real run with five known windows per row."""
    return alter(replace(load_benchmark(bench_file), threats=()), window_p50_ns=FIVE)


def alter(report: BenchmarkReport, number: int | None = None, **changes: Any) -> BenchmarkReport:
    """The report with changes to one row, or to all."""
    rows = [replace(row, **changes) if number in (None, i) else row for i, row in enumerate(report.rows)]
    return replace(report, rows=tuple(rows))


def times(factor: float) -> tuple[int, ...]:
    return tuple(round(ns * factor) for ns in FIVE)


def enumerated_p(first: Sequence[int], second: Sequence[int]) -> float:
    """The exact p from all ways to divide the values, with midranks for ties."""
    values = [*first, *second]
    ranks = [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]
    observed = sum(ranks[: len(first)])
    sums = [sum(subset) for subset in itertools.combinations(ranks, len(first))]
    below, above = sum(s <= observed for s in sums), sum(s >= observed for s in sums)
    return min(1.0, 2 * min(below, above) / len(sums))


class TestSignificance:
    def test_published_values(self) -> None:
        assert mann_whitney(range(5), range(5, 10)) == pytest.approx(2 / 252)
        assert smallest_p(5, 5) == pytest.approx(0.0079, abs=5e-5)
        # Mann and Whitney's table for n = m = 5: P(U <= 4) = 0.048 one-sided
        assert mann_whitney([1, 2, 3, 4, 9], [5, 6, 7, 8, 10]) / 2 == pytest.approx(0.048, abs=5e-4)
        assert mann_whitney([7, 7, 7], [7, 7]) == 1.0

    @pytest.mark.parametrize("seed", range(10))
    def test_exact_p_with_ties(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        first, second = (draw.integers(0, 6, size).tolist() for size in draw.integers(1, 7, 2))
        assert mann_whitney(first, second) == pytest.approx(enumerated_p(first, second))

    def test_approximation_continues_the_exact_test(self) -> None:
        exact, approximate = mann_whitney(range(33), range(5, 38)), mann_whitney(range(34), range(5, 39))
        assert exact == pytest.approx(0.050, abs=5e-4)
        assert approximate == pytest.approx(exact, rel=0.1)  # one more value on each side

    def test_bootstrap_interval(self) -> None:
        low, high = bootstrap_ratio(FIVE, times(1.5))
        assert low < 1.5 < high
        assert (low, high) == bootstrap_ratio(FIVE, times(1.5))
        low, high = bootstrap_ratio([100, 110], [200, 240])
        assert 200 / 110 <= low <= high <= 240 / 100
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
    def test_factor(self, old: BenchmarkReport, factor: float, verdict: str, passed: bool) -> None:
        found = compare(old, alter(old, 1, window_p50_ns=times(factor)))
        assert [row.verdict for row in found.rows[:2]] == ["no change shown", verdict]
        assert (found.passed, found.decided) == (passed, True)

    def test_insignificant_change_above_the_limit(self, old: BenchmarkReport) -> None:
        row = compare(old, alter(old, 0, window_p50_ns=(900, 1000, 1200, 1300, 1310))).rows[0]
        assert row.ratio == pytest.approx(1200 / 1020)
        assert row.verdict == "no change shown"

    def test_too_few_windows(self, old: BenchmarkReport) -> None:
        found = compare(alter(old, window_p50_ns=(10, 11, 12)), alter(old, window_p50_ns=(20, 21, 22)))
        assert {row.verdict for row in found.rows} == {"too few windows"}
        assert (found.passed, found.decided) == (True, False)

    @pytest.mark.parametrize(("status", "passed"), [("crashed", False), ("missing", True)])
    def test_row_that_fails_now(self, old: BenchmarkReport, status: str, passed: bool) -> None:
        found = compare(old, alter(old, 0, status=status, message="out of memory"))
        assert found.passed is passed
        assert f"float32.tflite in litert: {status} in NEW: out of memory" in found.notes

    def test_interrupted_run(self, old: BenchmarkReport) -> None:
        found = compare(old, replace(alter(old, 0, status="error", message="interrupted"), cut_short=True))
        assert found.passed
        assert any("NEW was cut short" in note for note in found.notes)

    def test_rows_in_one_file_only(self, old: BenchmarkReport) -> None:
        found = compare(replace(old, rows=old.rows[:2]), replace(old, rows=old.rows[1:]))
        assert [row.artifact for row in found.rows] == [old.rows[1].artifact]
        assert {"only in OLD: float32.tflite in litert", "only in NEW: float32.onnx in onnxruntime"} <= set(found.notes)
        with pytest.raises(InputError, match=r"nothing to compare: only in OLD: .* on 2 threads"):
            compare(old, alter(old, threads=2))

    def test_ratio_of_the_model_alone(self, old: BenchmarkReport) -> None:
        new = alter(alter(old, invoke_p50_ns=300), 0, invoke_p50_ns=None)
        found = compare(alter(old, invoke_p50_ns=200), new)
        assert [row.invoke_ratio for row in found.rows][:2] == [None, 1.5]


class TestMachine:
    @pytest.mark.parametrize(
        ("fact", "value", "message"),
        [
            ("model", "Raspberry Pi 5", "model unknown in OLD, Raspberry Pi 5 in NEW"),
            ("cores", 64, "cores .* in OLD, 64 in NEW"),
            ("cpu_features", ("neon",), "cpu_features .*neon in NEW"),
        ],
    )
    def test_other_machine(self, old: BenchmarkReport, fact: str, value: Any, message: str) -> None:
        old = replace(old, machine={**old.machine, "model": None})
        new = replace(old, machine={**old.machine, fact: value})
        with pytest.raises(InputError, match=rf"different machines: {message}.*; use --across-machines"):
            compare(old, new)
        found = compare(old, new, across_machines=True)
        assert any(note.startswith("warning: different machines") for note in found.notes)

    def test_changed_environment_is_noted(self, old: BenchmarkReport) -> None:
        packages = {**old.machine["packages"], "numpy": "9.9"}
        machine = {**old.machine, "governor": "powersave", "kernel": "7.0", "packages": packages}
        new = replace(old, machine=machine, threats=(MachineWarning("the load is 3", "end it"),))
        notes = "\n".join(compare(old, new).notes)
        assert "in OLD, powersave in NEW" in notes
        assert "in OLD, 7.0 in NEW" in notes
        assert "in OLD, 9.9 in NEW" in notes
        assert "warning: NEW: the load is 3" in notes

    def test_changed_file_is_noted(self, old: BenchmarkReport) -> None:
        notes = compare(old, alter(old, 0, bytes=5)).notes
        assert f"float32.tflite in litert: the file changed, from {old.rows[0].bytes:,} to 5 bytes" in notes
        notes = compare(old, alter(old, 0, sha256="0" * 64)).notes
        size = f"{old.rows[0].bytes:,}"
        assert f"float32.tflite in litert: the file changed, from {size} to {size} bytes" in notes
        assert not any("the file changed" in note for note in compare(old, old).notes)

    def test_invalid_run_is_refused(self, old: BenchmarkReport) -> None:
        with pytest.raises(InputError, match=r"OLD is invalid: it throttled; fix that and run `edgedigits benchmark`"):
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
        ("new", "options", "status", "text"),
        [
            ("old", (), 0, "no regression: none of 4 rows is significantly slower by more than 5 %"),
            ("slow", (), 1, "REGRESSION: 4 of 4 rows slower by more than 5 %, or broken"),
            ("slow", ("--max-regress", "50%"), 0, "by more than 50 %"),
            ("slow", ("--max-regress", "0.299"), 1, "by more than 29.9 %"),
            ("few", (), 2, "UNDECIDED: 4 of 4 rows"),
            ("elsewhere", ("--across-machines",), 0, "warning: different machines"),
        ],
    )
    def test_exit_status(
        self, edgedigits: Run, files: dict[str, Path], new: str, options: tuple[str, ...], status: int, text: str
    ) -> None:
        done = edgedigits("compare", files["old"], files[new], *options)
        assert done.returncode == status, done
        assert text in done.stdout
        assert done.stderr == ""

    @pytest.mark.parametrize("limit", ["5", "-1%", "nan%", "five"])
    def test_bad_limit(self, edgedigits: Run, files: dict[str, Path], limit: str) -> None:
        done = edgedigits("compare", files["old"], files["old"], f"--max-regress={limit}")
        assert done.returncode == 2
        assert "is not a limit; expected a value such as 5% or 0.05" in done.stderr

    def test_json(self, edgedigits: Run, files: dict[str, Path]) -> None:
        found = json.loads(edgedigits("compare", files["old"], files["slow"], "--json", "-").stdout)
        assert found["passed"] is False
        assert found["bootstrap"] == {"resamples": 10_000, "seed": 0, "confidence": 0.95}
        assert found["rows"][0]["ratio"] == pytest.approx(1.3, abs=0.001)
        assert found["rows"][0]["p"] == pytest.approx(2 / 252)
