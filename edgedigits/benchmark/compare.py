"""Two benchmarks held against each other, row by row: is a change real, and is it too large?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.errors import InputError
from edgedigits.system.text import table

SIGNIFICANT = 0.05
RESAMPLES, SEED, CONFIDENCE = 10_000, 0, 0.95
# C(66, 33) is the last that int64 can count; beyond, the normal approximation is close near 0.05.
MOST_EXACT = 66
# What makes a machine: its processor, as the runtimes see it. Another system or Python on it is a change to look at.
IDENTITY = ("model", "cpu", "architecture", "cores", "cpu_features")
SURROUNDINGS = ("governor", "on_battery", "container", "os", "kernel", "python")
FAILED = ("error", "crashed", "timeout", "memory")


@dataclass(frozen=True)
class ComparedRow:
    """One artifact in one runtime, before and after.

    Attributes:
        old_ns, new_ns: the median of the windows' medians.
        ratio: new / old; ``ratio_low`` and ``ratio_high`` bound it, 95 % of bootstrap samples of the windows.
        p: of the two-sided Mann-Whitney U test that the windows of both runs are alike; each row by itself.
        smallest_p: the least that so few windows can give.
        invoke_ratio: of the model alone; None where a run has it not.
        verdict: ``"regressed"``, ``"slower, allowed"``, ``"quicker"``, ``"no change shown"``, ``"too few windows"``
            (past the limit, but so few windows prove nothing) or ``"broken"`` (it ran before, and fails now).
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
    """Every row that both have, and what else to know: rows apart, and what changed around them."""

    max_regress: float
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no row regressed or broke."""
        return not any(row.verdict in ("regressed", "broken") for row in self.rows)

    @property
    def decided(self) -> bool:
        """Whether every row past the limit had the windows to show whether that is chance."""
        return not any(row.verdict == "too few windows" for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The comparison in plain types."""
        bootstrap = {"resamples": RESAMPLES, "seed": SEED, "confidence": CONFIDENCE}
        return {
            "passed": self.passed,
            "decided": self.decided,
            "significant": SIGNIFICANT,
            "bootstrap": bootstrap,
            **asdict(self),
        }


def compare(
    old: BenchmarkReport, new: BenchmarkReport, *, max_regress: float = 0.05, across_machines: bool = False
) -> Comparison:
    """Hold ``new`` against ``old``: a row regresses if it is slower by more than ``max_regress``, and not by chance.

    Raises:
        InputError: a run is invalid, the machines differ and ``across_machines`` is not set, or no row can be compared.
    """
    for name, report in (("OLD", old), ("NEW", new)):
        if report.invalid is not None:
            raise InputError(f"{name} is invalid: {report.invalid}; mend that and run `edgedigits benchmark` again")
    different = _differences(old.machine, new.machine, IDENTITY)
    if different and not across_machines:
        raise InputError(
            f"OLD and NEW ran on different machines: {'; '.join(different)}; "
            "--across-machines compares them all the same"
        )
    before, after = ({(r.artifact, r.runtime, r.threads): r for r in report.rows} for report in (old, new))
    rows, notes = [], []
    for key in dict.fromkeys([*before, *after]):
        row, note = _row(before.get(key), after.get(key), max_regress, new.cut_short)
        rows += [row] if row else []
        notes += [note] if note else []
    if not rows:
        why = "; ".join(notes) or "they have no rows"
        raise InputError(f"nothing to compare: {why}; benchmark the same artifacts and runtimes in both")
    return Comparison(max_regress, tuple(rows), (*notes, *_notes(old, new, different)))


def _row(
    old: LatencyRow | None, new: LatencyRow | None, max_regress: float, cut_short: bool
) -> tuple[ComparedRow | None, str]:
    """The row, if both have it, and what there is to say of it."""
    some = old or new
    assert some is not None
    threads = "" if some.threads == 1 else f" on {some.threads} threads"
    where = f"{some.artifact} in {some.runtime}{threads}"
    if old is None or new is None:
        return None, f"only in {'OLD' if new is None else 'NEW'}: {where}"
    if old.status == new.status == "ok":
        return _measured(old, new, max_regress), _other_file(old, new, where)
    told = [f"{r.status} in {n}{': ' * bool(r.message)}{r.message}" for n, r in (("OLD", old), ("NEW", new))]
    note = f"{where}: {', '.join(t for t, r in zip(told, (old, new), strict=True) if r.status != 'ok')}"
    if old.status == "ok" and new.status in FAILED and not cut_short:
        return ComparedRow(old.artifact, old.runtime, old.threads, "broken"), note
    return None, note


def _measured(old: LatencyRow, new: LatencyRow, max_regress: float) -> ComparedRow:
    a, b = old.window_p50_ns, new.window_p50_ns
    ratio = float(np.median(b) / np.median(a))
    low, high = bootstrap_ratio(a, b)
    p, least = mann_whitney(a, b), smallest_p(len(a), len(b))
    past = ratio > 1.0 + max_regress
    if p < SIGNIFICANT:
        verdict = "regressed" if past else "slower, allowed" if ratio > 1.0 else "quicker"
    else:
        verdict = "too few windows" if past and least >= SIGNIFICANT else "no change shown"
    invoke = new.invoke_p50_ns / old.invoke_p50_ns if new.invoke_p50_ns and old.invoke_p50_ns else None
    return ComparedRow(
        artifact=new.artifact,
        runtime=new.runtime,
        threads=new.threads,
        verdict=verdict,
        old_ns=float(np.median(a)),
        new_ns=float(np.median(b)),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        p=p,
        smallest_p=least,
        invoke_ratio=invoke,
    )


def bootstrap_ratio(old: Sequence[int], new: Sequence[int]) -> tuple[float, float]:
    """The 95 % percentile interval of median(new) / median(old), each run's windows drawn anew 10,000 times.

    Source: B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), ch. 13. With few windows it is
    somewhat too narrow; the verdict rests on the rank test.
    """
    draw = np.random.default_rng(SEED)
    a, b = np.asarray(old, np.float64), np.asarray(new, np.float64)
    ratios = np.concatenate(
        [
            np.median(draw.choice(b, (500, len(b))), axis=1) / np.median(draw.choice(a, (500, len(a))), axis=1)
            for _ in range(RESAMPLES // 500)
        ]
    )
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def smallest_p(n: int, m: int) -> float:
    """The least two-sided p that n and m different values can give: 2 / C(n + m, n); 0.0079 for 5 and 5."""
    return min(1.0, 2.0 / math.comb(n + m, n))


def mann_whitney(one: Sequence[int], other: Sequence[int]) -> float:
    """The two-sided p of the rank test that two samples come from one distribution; exact up to 66 values, ties too.

    Sources: H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is stochastically larger
    than the other" (1947); the exact distribution of the sum of midranks, which ties share, by the shift algorithm of
    B. Streitberg and J. Röhmel (1986); beyond, the normal approximation, corrected for ties and continuity, E. L.
    Lehmann, "Nonparametrics" (1975), sec. 1.2.
    """
    n, values = len(one), np.concatenate([one, other])
    kept, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (2 * ends - counts + 1)[place]  # midranks, doubled so that they are whole
    if len(kept) == 1:
        return 1.0
    total, seen = len(values), int(ranks[:n].sum())
    if total <= MOST_EXACT:
        ways = np.zeros((n + 1, int(ranks.sum()) + 1), np.int64)  # [size of a subset, sum of its ranks]
        ways[0, 0] = 1
        for rank in ranks.tolist():
            ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
        below, above = ways[n, : seen + 1].sum(), ways[n, seen:].sum()
        return min(1.0, 2.0 * float(min(below, above)) / math.comb(total, n))
    m = total - n
    tied = float((counts.astype(np.float64) ** 3 - counts).sum())
    deviation = math.sqrt(n * m / 12 * (total + 1 - tied / (total * (total - 1))))
    distance = max(0.0, abs(seen / 2 - n * (total + 1) / 2) - 0.5)
    return math.erfc(distance / deviation / math.sqrt(2))


def _other_file(old: LatencyRow, new: LatencyRow, where: str) -> str:
    if old.bytes != new.bytes:
        return f"{where}: another file, {old.bytes:,} bytes before, {new.bytes:,} now"
    same = old.sha256 == new.sha256 or None in (old.sha256, new.sha256)
    return "" if same else f"{where}: another file of the same size"


def _differences(old: dict[str, Any], new: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{n} {_plain(old[n])} in OLD, {_plain(new[n])} in NEW" for n in names if old[n] != new[n]]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "/".join(value) or "none"
    return "unknown" if value is None else str(value)


def _notes(old: BenchmarkReport, new: BenchmarkReport, different: list[str]) -> list[str]:
    """What a reader must know before believing a ratio."""
    found = [f"warning: different machines: {one}" for one in different]
    if old.machine["cpu"] is None and old.machine["model"] is None:
        found.append("warning: neither file names its processor; that both ran on one machine is not known")
    if old.machine["governor"] != new.machine["governor"]:
        found.append("warning: another frequency governor is another clock; set it alike and benchmark again")
    found += [f"changed: {one}" for one in _differences(old.machine, new.machine, SURROUNDINGS)]
    packages = dict.fromkeys([*old.machine["packages"], *new.machine["packages"]])
    before, after = ({name: r.machine["packages"].get(name) for name in packages} for r in (old, new))
    found += [f"changed: {one}" for one in _differences(before, after, list(packages))]
    found += [f"changed: {one}" for one in _differences(old.method, new.method, ("windows", "min_seconds"))]
    for name, report in (("OLD", old), ("NEW", new)):
        if report.cut_short:
            found.append(f"warning: {name} was cut short; only its finished windows are compared")
        found += [f"warning: {name}: {threat.what}" for threat in report.threats]
    return found


def comparison_text(found: Comparison) -> str:
    """The table, the notes, and the verdict."""
    head = ("artifact", "runtime", "threads", "old ns", "new ns", "new/old", "95 %", "p", "invoke", "verdict")
    lines = [table(head, [_cells(row) for row in found.rows], left=2), *found.notes]
    lines.append(
        f"ratios of medians of windows; 95 %: bootstrap over windows, {RESAMPLES:,} resamples, seed {SEED}; "
        "p: Mann-Whitney, two-sided, each row by itself"
    )
    bad = sum(row.verdict in ("regressed", "broken") for row in found.rows)
    limit, of = f"{found.max_regress * 100:.4g} %", f"of {len(found.rows)} rows"
    if bad:
        lines.append(f"REGRESSION: {bad} {of} slower by more than {limit}, or broken")
    elif not found.decided:
        few = sum(row.verdict == "too few windows" for row in found.rows)
        lines.append(
            f"UNDECIDED: {few} {of} slower by more than {limit}; benchmark both again with --windows 5 or more"
        )
    else:
        lines.append(f"no regression: none {of} is shown to be slower by more than {limit}")
    return "\n".join(lines)


def _cells(row: ComparedRow) -> tuple[str, ...]:
    names = (row.artifact, row.runtime, str(row.threads))
    if row.ratio is None:
        return (*names, *("-",) * 6, row.verdict)
    return (
        *names,
        f"{row.old_ns:,.0f}",
        f"{row.new_ns:,.0f}",
        f"{row.ratio:.3f}",
        f"{row.ratio_low:.3f} to {row.ratio_high:.3f}",
        f"{row.p:.2g}",
        "-" if row.invoke_ratio is None else f"{row.invoke_ratio:.3f}",
        row.verdict.upper() if row.verdict in ("regressed", "broken") else row.verdict,
    )
