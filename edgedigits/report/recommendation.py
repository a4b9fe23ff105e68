"""Recommend an artifact and a runtime for the measured machine, with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow, StartRow
from edgedigits.parity.result import ParityReport, ParityRow
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME
from edgedigits.system.text import count, duration, significant

# Why the recommended row is preferred to the rows it ties with, in order of priority.
PREFERENCES = (
    "Among ties, the row that changes fewer predictions is preferred.",
    "Among ties, float is preferred to int8: it needs no calibration.",
    "Among ties, the smaller file is preferred.",
    "Among ties that are equal in everything else, the lower median is preferred.",
)
_FAILURES = {"crashed": "crashed", "timeout": "timed out", "memory": "exceeded its memory limit"}


@dataclass(frozen=True)
class Recommendation:
    """What to ship, in one sentence, and the reasons in a sentence each.

    ``row`` is None if nothing can be recommended; ``tone`` is ``"good"``, ``"doubt"`` or ``"bad"``. ``proven`` says
    whether the row passed parity.
    """

    headline: str
    reasons: tuple[str, ...]
    row: LatencyRow | None = None
    tone: str = "bad"
    proven: bool = False


def median_ns(row: LatencyRow) -> float:
    """The median of the windows' medians, which a single disturbed window hardly changes."""
    return float(median(row.window_p50_ns))


def row_name(row: LatencyRow) -> str:
    """Artifact and runtime, for a sentence."""
    return f"{row.artifact} in {row.runtime}"


def sentence(text: str) -> str:
    """Add a capital and a full stop. A first word with a dot is a file name and keeps its case."""
    return f"{text}." if "." in text.partition(" ")[0] else f"{text[:1].upper()}{text[1:]}."


def failures(bench: BenchmarkReport) -> list[str]:
    """The rows and cold starts that did not run, with their status and message."""
    named: list[tuple[str, LatencyRow | StartRow]] = [(row_name(row), row) for row in bench.rows]
    named += [(f"cold start of {row.runtime}", row) for row in bench.starts]
    return [": ".join(filter(None, (name, row.status, row.message))) for name, row in named if row.status != "ok"]


def is_tie(a: LatencyRow, b: LatencyRow) -> bool:
    """Whether each median lies within the range of the other row's windows."""
    return all(min(y.window_p50_ns) <= median_ns(x) <= max(y.window_p50_ns) for x, y in ((a, b), (b, a)))


def is_int8(row: LatencyRow, parity: ParityReport | None) -> bool:
    """Whether the artifact is quantized: from the parity rows if they include it, otherwise from its name."""
    known = [p for p in parity.rows if p.artifact == row.artifact and p.status == "ok"] if parity else []
    return any(p.min_lead_quanta is not None for p in known) if known else "int8" in row.artifact.lower()


def parity_problem(row: LatencyRow, parity: ParityReport | None) -> str:
    """Why the row has not passed parity, as the end of a sentence; empty if all its kernel sets passed."""
    if parity is None:
        return "its parity was not checked"
    if parity.unseen:
        return "parity was run on held-out inputs, which does not prove it on the bundle's own images"
    found = _parity_rows(row, parity)
    if not found:
        return "the parity run does not include it"
    if any(p.sha256 != row.sha256 for p in found if p.sha256 and row.sha256):
        return f"parity was checked with another {row.artifact}"
    for p in found:
        if p.status != "ok":
            return f"it {_FAILURES.get(p.status, 'failed')} in the parity run"
    worst = max(found, key=lambda p: (p.mismatches or 0) - p.allowed)
    if not worst.passed:
        return f"parity failed: {worst.mismatches:,} of {worst.images:,} predictions differ"
    versions = {p.version for p in found}
    if versions != {row.version}:
        checked = ", ".join(sorted(v or "of unknown version" for v in versions))
        return f"parity was checked with {row.runtime} {checked}, the benchmark ran {row.version}"
    return ""


def _parity_rows(row: LatencyRow, parity: ParityReport) -> list[ParityRow]:
    return [p for p in parity.rows if (p.artifact, p.runtime) == (row.artifact, row.runtime) and p.status != "missing"]


class _Candidate:
    """A row that may be recommended, and the facts that decide about it."""

    def __init__(self, row: LatencyRow, parity: ParityReport | None) -> None:
        found = _parity_rows(row, parity) if parity and not parity.unseen else []
        self.row, self.name, self.median, self.int8 = row, row_name(row), median_ns(row), is_int8(row, parity)
        self.time = duration(self.median)
        self.flips = max((p.mismatches or 0 for p in found), default=0)  # with the kernel set that changes the most
        self.problem = parity_problem(row, parity)
        # Smaller is better, in the order of PREFERENCES.
        self.preference = (self.flips, self.int8, row.bytes, self.median)


def recommend(bench: BenchmarkReport, parity: ParityReport | None = None) -> Recommendation:
    """Recommend the fastest row that passed parity. :data:`PREFERENCES` decide among the rows that tie with it.

    Without a parity report the fastest row is recommended with that reservation.
    """
    if bench.invalid is not None:
        reasons = [sentence(bench.invalid), "Fix the cause and run edgedigits benchmark again."]
        return Recommendation("INVALID: this run does not support a recommendation.", tuple(reasons))
    if not bench.rows and bench.sustained:
        first, last = bench.sustained[0], bench.sustained[-1]
        times = f"{duration(first.p50_ns)} at first, {duration(last.p50_ns)} after {duration(last.seconds * 1e9)}"
        reason = "One row does not support a recommendation; run edgedigits benchmark without --watch for that."
        return Recommendation(f"Watched {first.artifact} in {first.runtime}: {times}.", (reason,), tone="doubt")
    rows = [r for r in bench.rows if r.status == "ok" and r.runtime not in CHOSEN_ONLY_BY_NAME]
    if not rows:
        reasons = [sentence(failure) for failure in failures(bench)[:6]]
        return Recommendation("No row that a device could run was measured.", tuple(reasons))
    candidates = sorted((_Candidate(row, parity) for row in rows), key=lambda c: c.median)
    compared = parity is not None and not parity.unseen
    eligible = [c for c in candidates if not (c.problem and compared)]
    if not eligible:
        reasons = [f"{c.name} takes {c.time}, but {c.problem}." for c in candidates[:6]]
        return Recommendation("Ship none of these yet: no measured row has passed parity.", tuple(reasons))
    ties = [c for c in eligible if c is eligible[0] or is_tie(c.row, eligible[0].row)]
    best, *tied = sorted(ties, key=lambda c: c.preference)
    if tied:
        names = " and ".join(f"{c.name} ({c.time})" for c in tied)
        differs = [a != b for a, b in zip(best.preference, tied[0].preference, strict=True)]
        why = PREFERENCES[differs.index(True) if True in differs else -1]
        reasons = [f"It ties with {names}: each median lies within the range of the other's windows. {why}"]
    else:
        reasons = [f"It has the lowest median{' of the rows that passed parity' if compared else ''}."]
    refused = [c for c in candidates if c not in eligible and c.median < best.median]
    other = next((c for c in candidates if c.int8 != best.int8), None)
    if other is not None and other not in refused:
        reasons.append(_float_or_int8(best, other, other.problem if compared else ""))
    reasons += _model_alone(eligible)
    reasons += [f"{c.name} is faster ({c.time}) but not recommended: {c.problem}." for c in refused]
    if not compared:
        reasons.append(sentence(f"{best.problem}: add a file from edgedigits parity --json before you ship it"))
    elif best.flips:
        changed = f"{count(best.flips, 'prediction')} {'differs' if best.flips == 1 else 'differ'}"
        reasons.append(f"{changed} from the trained model's, within the allowed number.")
    else:
        reasons.append("It predicts what the trained model predicts on every image, with every kernel set.")
    reasons += _reservations(bench, best.row)
    doubt = not compared or bench.cut_short or best.row.noisy or len(best.row.window_p50_ns) < 2
    headline = f"Ship {best.name}: {best.time} per image from Python."
    if not compared:
        headline = f"Fastest, but unproven: {best.name}, {best.time} per image from Python."
    return Recommendation(headline, tuple(reasons), best.row, "doubt" if doubt else "good", compared)


def _float_or_int8(best: _Candidate, other: _Candidate, problem: str) -> str:
    """Compare the recommended row with the fastest one of the other number type."""
    winner, loser = ("int8", "float") if best.int8 else ("Float", "int8")
    ratio = f"{significant(other.median / best.median)} times as long"
    time = "the same time within the spread" if is_tie(best.row, other.row) else ratio
    detail = f"{other.name}, {other.time}; {other.row.bytes:,} bytes instead of {best.row.bytes:,}"
    why = f"{detail}{'; ' * bool(problem)}{problem}"
    return f"{winner} is the better choice from Python here: {loser} takes {time} ({why})."


def _model_alone(candidates: Sequence[_Candidate]) -> list[str]:
    """The row to ship to a program that calls the runtime itself, compared with the best of the other number type."""
    measured = sorted((c.row.invoke_p50_ns, n) for n, c in enumerate(candidates) if c.row.invoke_p50_ns)
    if not measured:
        return []
    (ns, number), *others = measured
    best = candidates[number]
    other = next((pair for pair in others if candidates[pair[1]].int8 != best.int8), None)
    than = f", {candidates[other[1]].name} {duration(other[0])}" if other else ""
    return [
        f"For a program that calls the runtime with its own buffers, ship {best.name}: the model alone takes "
        f"{duration(ns)}{than}."
    ]


def _reservations(bench: BenchmarkReport, best: LatencyRow) -> list[str]:
    """What makes the measurement of the recommended row uncertain."""
    reasons = []
    if bench.cut_short:
        reasons.append(f"The run was interrupted; this row has {count(len(best.window_p50_ns), 'finished window')}.")
    elif len(best.window_p50_ns) < 2:
        reasons.append("A single window shows no spread, so ties cannot be detected; use --windows 5.")
    if best.noisy and best.spread is not None:
        reasons.append(f"Its window medians differ by {best.spread:.0%}, which is noisy: repeat on an idle machine.")
    return reasons
