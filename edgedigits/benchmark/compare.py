"""Compare two benchmarks row by row: is a change significant, and is it too large?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.errors import InputError

SIGNIFICANT = 0.05
RESAMPLES, SEED, CONFIDENCE = 10_000, 0, 0.95
# int64 can count up to C(66, 33) subsets; for more values the normal approximation is close near p = 0.05.
MOST_EXACT = 66
# The facts that identify a machine, and those whose difference is only noted.
IDENTITY = ("model", "cpu", "architecture", "cores", "cpu_features")
ENVIRONMENT = ("governor", "on_battery", "container", "os", "kernel", "python")


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

    @property
    def failed(self) -> bool:
        """Whether the row regressed or broke."""
        return self.verdict in ("regressed", "broken")


@dataclass(frozen=True)
class Comparison:
    """The rows that both benchmarks have, and notes on what else differs."""

    max_regress: float
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no row regressed or broke."""
        return not any(row.failed for row in self.rows)

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
    notes = [f"only in OLD: {_name(row)}" for key, row in before.items() if key not in after]
    notes += [f"only in NEW: {_name(row)}" for key, row in after.items() if key not in before]
    for a, b in [(row, after[key]) for key, row in before.items() if key in after]:
        if a.status == b.status == "ok":
            rows.append(_compare_latency(a, b, max_regress))
            if a.bytes != b.bytes or (a.sha256 != b.sha256 and None not in (a.sha256, b.sha256)):
                notes.append(f"{_name(a)}: the file changed, from {a.bytes:,} to {b.bytes:,} bytes")
            continue
        if a.status == "ok" and b.status != "missing" and not new.cut_short:
            rows.append(ComparedRow(a.artifact, a.runtime, a.threads, "broken"))
        failed = [(row, name) for row, name in ((a, "OLD"), (b, "NEW")) if row.status != "ok"]
        failures = [": ".join(filter(None, (f"{row.status} in {name}", row.message))) for row, name in failed]
        notes.append(f"{_name(a)}: {', '.join(failures)}")
    if not rows:
        why = "; ".join(notes) or "they have no rows"
        raise InputError(f"nothing to compare: {why}; benchmark the same artifacts and runtimes in both")
    return Comparison(max_regress, tuple(rows), (*notes, *_notes(old, new, different)))


def _name(row: LatencyRow) -> str:
    return f"{row.artifact} in {row.runtime}" + (f" on {row.threads} threads" if row.threads > 1 else "")


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


def bootstrap_ratio(old: Sequence[int], new: Sequence[int]) -> tuple[float, float]:
    """The 95 % percentile interval of median(new) / median(old) from 10,000 resamples of both runs' windows.

    Source: B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), ch. 13. With few windows it is
    somewhat too narrow, so verdicts depend on the rank test.
    """
    rng = np.random.default_rng(SEED)
    a, b = np.asarray(old, np.float64), np.asarray(new, np.float64)
    ratios = np.median(rng.choice(b, (RESAMPLES, len(b))), axis=1)
    ratios /= np.median(rng.choice(a, (RESAMPLES, len(a))), axis=1)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def smallest_p(n: int, m: int) -> float:
    """The smallest two-sided p that n and m distinct values can give: 2 / C(n + m, n), 0.0079 for 5 and 5."""
    return min(1.0, 2.0 / math.comb(n + m, n))


def mann_whitney(first: Sequence[int], second: Sequence[int]) -> float:
    """The two-sided p of the rank test that two samples have one distribution; exact for up to 66 values, with ties.

    Sources: H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is stochastically larger
    than the other" (1947); the exact distribution of the sum of midranks by the shift algorithm of B. Streitberg and
    J. Röhmel (1986); the normal approximation corrected for ties and continuity, E. L. Lehmann, "Nonparametrics"
    (1975), sec. 1.2.
    """
    n, total = len(first), len(first) + len(second)
    values, index, counts = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    if len(values) == 1:
        return 1.0
    ranks = (2 * np.cumsum(counts) - counts + 1)[index]  # midranks, doubled to be integers
    rank_sum = int(ranks[:n].sum())
    if total <= MOST_EXACT:
        subsets = np.zeros((n + 1, int(ranks.sum()) + 1), np.int64)  # how many there are, by [size, sum of ranks]
        subsets[0, 0] = 1
        for rank in ranks.tolist():
            subsets[1:, rank:] += subsets[:-1, : subsets.shape[1] - rank].copy()
        tail = min(subsets[n, : rank_sum + 1].sum(), subsets[n, rank_sum:].sum())
        return min(1.0, 2.0 * float(tail) / math.comb(total, n))
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    deviation = math.sqrt(n * (total - n) / 12 * (total + 1 - ties / (total * (total - 1))))
    distance = max(0.0, abs(rank_sum / 2 - n * (total + 1) / 2) - 0.5)
    return math.erfc(distance / deviation / math.sqrt(2))
