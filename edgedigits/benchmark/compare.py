"""Compare two benchmarks row by row: is a change significant, and is it too large?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.benchmark.significance import CONFIDENCE, RESAMPLES, SEED, bootstrap_ratio, mann_whitney, smallest_p
from edgedigits.errors import InputError

SIGNIFICANT = 0.05
# The facts that identify a machine, and those whose difference is only noted.
IDENTITY = ("model", "cpu", "architecture", "cores", "cpu_features")
ENVIRONMENT = ("governor", "on_battery", "container", "os", "kernel", "python")
FAILED = ("error", "crashed", "timeout", "memory")


@dataclass(frozen=True)
class ComparedRow:
    """One artifact in one runtime, in both benchmarks.

    Attributes:
        verdict: ``"regressed"``, ``"slower, allowed"``, ``"quicker"``, ``"no change shown"``, ``"too few windows"``
            (above the limit, but there are too few windows for p < 0.05) or ``"broken"`` (ran in OLD, fails in NEW).
        old_ns, new_ns: the median of the windows' medians; ``ratio`` has a 95 % bootstrap interval.
        p: of the two-sided Mann-Whitney U test; ``smallest_p`` is the smallest that this number of windows can give.
        invoke_ratio: new / old of the model alone.
    """

    artifact: str
    runtime: str
    threads: int
    verdict: str
    old_ns: float | None = None
    new_ns: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    p: float | None = None
    smallest_p: float | None = None
    invoke_ratio: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The rows that both benchmarks have, and notes on what else differs."""

    max_regress: float
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no row regressed or broke."""
        return not any(row.verdict in ("regressed", "broken") for row in self.rows)

    @property
    def decided(self) -> bool:
        """Whether every row above the limit has enough windows for the test."""
        return not any(row.verdict == "too few windows" for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON types."""
        bootstrap = {"resamples": RESAMPLES, "seed": SEED, "confidence": CONFIDENCE}
        facts = {"passed": self.passed, "decided": self.decided, "significant": SIGNIFICANT, "bootstrap": bootstrap}
        return facts | asdict(self)


def compare(
    old: BenchmarkReport, new: BenchmarkReport, *, max_regress: float = 0.05, across_machines: bool = False
) -> Comparison:
    """Compare two benchmarks; a row regresses if its slowdown exceeds ``max_regress`` and is significant.

    Raises InputError if a run is invalid, if the machines differ (unless ``across_machines``), or if no row is in both.
    """
    for name, report in (("OLD", old), ("NEW", new)):
        if report.invalid is not None:
            raise InputError(f"{name} is invalid: {report.invalid}; fix that and run `edgedigits benchmark` again")
    different = _differences(old.machine, new.machine, IDENTITY)
    if different and not across_machines:
        raise InputError(
            f"OLD and NEW ran on different machines: {'; '.join(different)}; use --across-machines to compare anyway"
        )
    before, after = ({(r.artifact, r.runtime, r.threads): r for r in report.rows} for report in (old, new))
    rows: list[ComparedRow] = []
    notes: list[str] = []
    for key in dict.fromkeys([*before, *after]):
        row, note = _compare_rows(before.get(key), after.get(key), max_regress, new.cut_short)
        rows += [row] if row else []
        notes += [note] if note else []
    if not rows:
        why = "; ".join(notes) or "they have no rows"
        raise InputError(f"nothing to compare: {why}; benchmark the same artifacts and runtimes in both")
    return Comparison(max_regress, tuple(rows), (*notes, *_notes(old, new, different)))


def _compare_rows(
    old: LatencyRow | None, new: LatencyRow | None, max_regress: float, cut_short: bool
) -> tuple[ComparedRow | None, str]:
    """The compared row, if it can be compared, and a note if there is anything to say about it."""
    present = old or new
    assert present is not None
    threads = "" if present.threads == 1 else f" on {present.threads} threads"
    where = f"{present.artifact} in {present.runtime}{threads}"
    if old is None or new is None:
        return None, f"only in {'OLD' if new is None else 'NEW'}: {where}"
    if old.status == new.status == "ok":
        return _compare_latency(old, new, max_regress), _file_change(old, new, where)
    failures = [
        f"{row.status} in {name}{': ' * bool(row.message)}{row.message}"
        for name, row in (("OLD", old), ("NEW", new))
        if row.status != "ok"
    ]
    broken = old.status == "ok" and new.status in FAILED and not cut_short
    row = ComparedRow(old.artifact, old.runtime, old.threads, "broken") if broken else None
    return row, f"{where}: {', '.join(failures)}"


def _compare_latency(old: LatencyRow, new: LatencyRow, max_regress: float) -> ComparedRow:
    a, b = old.window_p50_ns, new.window_p50_ns
    old_ns, new_ns = float(np.median(a)), float(np.median(b))
    ratio = new_ns / old_ns
    low, high = bootstrap_ratio(a, b)
    p, least = mann_whitney(a, b), smallest_p(len(a), len(b))
    too_slow = ratio > 1.0 + max_regress
    if p < SIGNIFICANT:
        verdict = "regressed" if too_slow else "slower, allowed" if ratio > 1.0 else "quicker"
    else:
        verdict = "too few windows" if too_slow and least >= SIGNIFICANT else "no change shown"
    invoke = new.invoke_p50_ns / old.invoke_p50_ns if new.invoke_p50_ns and old.invoke_p50_ns else None
    return ComparedRow(
        new.artifact, new.runtime, new.threads, verdict, old_ns, new_ns, ratio, low, high, p, least, invoke
    )


def _file_change(old: LatencyRow, new: LatencyRow, where: str) -> str:
    """A note if the artifact's file changed, else an empty string."""
    if old.bytes != new.bytes:
        return f"{where}: the file changed from {old.bytes:,} to {new.bytes:,} bytes"
    same = old.sha256 == new.sha256 or None in (old.sha256, new.sha256)
    return "" if same else f"{where}: the file changed, its size did not"


def _differences(old: dict[str, Any], new: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{n} {_plain(old[n])} in OLD, {_plain(new[n])} in NEW" for n in names if old[n] != new[n]]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "/".join(value) or "none"
    return "unknown" if value is None else str(value)


def _notes(old: BenchmarkReport, new: BenchmarkReport, different: list[str]) -> list[str]:
    """What may explain a ratio other than the code: machine, environment, packages, method."""
    notes = [f"warning: different machines: {difference}" for difference in different]
    packages = dict.fromkeys([*old.machine["packages"], *new.machine["packages"]])
    before, after = (packages | report.machine["packages"] for report in (old, new))
    changes = [
        *_differences(old.machine, new.machine, ENVIRONMENT),
        *_differences(before, after, list(packages)),
        *_differences(old.method, new.method, ("windows", "min_seconds")),
    ]
    notes += [f"changed: {change}" for change in changes]
    for name, report in (("OLD", old), ("NEW", new)):
        if report.cut_short:
            notes.append(f"warning: {name} was cut short; only its finished windows are compared")
        notes += [f"warning: {name}: {warning.what}" for warning in report.threats]
    return notes
