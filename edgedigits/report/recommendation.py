"""Which artifact and runtime to ship on the machine that was measured, in words."""

from __future__ import annotations

from dataclasses import dataclass

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.parity.result import ParityReport, ParityRow
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME

# Why one of those that tie is preferred, in the order in which it counts.
TIES = (
    "A tie goes to the one that changes fewer answers.",
    "A tie goes to float: it needs no calibration, and no scales at its ends.",
    "A tie goes to the smaller file.",
    "Nothing else parts them, so the lower median decides.",
)


@dataclass(frozen=True)
class Proof:
    """What is known of a row's answers.

    Attributes:
        state: ``"passed"``, ``"failed"``, or ``"unknown"``: not checked, or not with this version of the runtime.
        why: in words, for a failure or what is unknown.
        flips: how many images answer differently than in training, the most of any kernel set; None if unknown.
    """

    state: str
    why: str = ""
    flips: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What to ship: one sentence, and the sentences that give its reasons.

    ``row`` is None where nothing can be recommended; ``tone`` is ``"good"``, ``"doubt"`` or ``"bad"``.
    """

    headline: str
    reasons: tuple[str, ...]
    row: LatencyRow | None = None
    tone: str = "good"


def duration(ns: float) -> str:
    """Nanoseconds in the unit that reads best, three digits: ``9.74 µs``."""
    for unit, size in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6)):
        if ns < 999.5 * size:
            return f"{significant(ns / size)} {unit}"
    return f"{significant(ns / 1e9)} s"


def significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def median_ns(row: LatencyRow) -> float:
    """The median of the windows' medians: one disturbed window does not move it far."""
    windows = sorted(row.window_p50_ns)
    middle = len(windows) // 2
    return float(windows[middle]) if len(windows) % 2 else (windows[middle - 1] + windows[middle]) / 2


def name(row: LatencyRow) -> str:
    """Artifact and runtime, in words."""
    return f"{row.artifact} in {row.runtime}"


def tied(one: LatencyRow, other: LatencyRow) -> bool:
    """Whether each one's median lies within the range of the other's windows, so that the run does not part them."""

    def within(a: LatencyRow, b: LatencyRow) -> bool:
        return min(b.window_p50_ns) <= median_ns(a) <= max(b.window_p50_ns)

    return within(one, other) and within(other, one)


def proof(row: LatencyRow, parity: ParityReport | None) -> Proof:
    """What parity says of a row: every kernel set of that artifact in that runtime must have passed."""
    if parity is None:
        return Proof("unknown", "its answers were not checked")
    if parity.unseen:
        return Proof("unknown", "parity ran on unseen digits, which proves nothing of the trained ones")
    found = [p for p in parity.rows if (p.artifact, p.runtime) == (row.artifact, row.runtime) and p.status != "missing"]
    if not found:
        return Proof("unknown", "parity did not run it")
    if any(p.sha256 != row.sha256 for p in found if p.sha256 and row.sha256):
        return Proof("unknown", f"parity was checked on another {row.artifact}")
    flips = max((p.mismatches or 0 for p in found), default=0)
    failed = [p for p in found if not p.passed]
    if failed:
        return Proof("failed", _failure(failed), flips)
    versions = {p.version for p in found}
    if versions != {row.version}:
        checked = ", ".join(sorted(v or "an unknown version" for v in versions))
        return Proof("unknown", f"parity was checked with {row.runtime} {checked}, and {row.version} was timed", flips)
    return Proof("passed", "", flips)


def _failure(rows: list[ParityRow]) -> str:
    broken = [p for p in rows if p.status != "ok"]
    if broken:
        how = {"crashed": "crashed", "timeout": "ran out of time", "memory": "took too much memory"}
        return f"it {how.get(broken[0].status, 'failed')} in the parity run"
    worst = max(rows, key=lambda p: p.mismatches or 0)
    return f"its parity failed: {worst.mismatches:,} of {worst.images:,} images answer differently"


def is_int8(row: LatencyRow, parity: ParityReport | None) -> bool:
    """Whether the artifact is quantized: parity tells, else its name."""
    known = [p for p in parity.rows if p.artifact == row.artifact and p.status == "ok"] if parity else []
    return any(p.min_lead_quanta is not None for p in known) if known else "int8" in row.artifact.lower()


def recommend(bench: BenchmarkReport, parity: ParityReport | None = None) -> Verdict:
    """The quickest row whose parity passed; among those that tie with it the one that gives up least.

    A tie goes to the one that changes fewest answers, then to float (there is nothing to calibrate), then to the
    smaller file, then to the quicker median. Without a parity report the quickest row is named with that reservation.
    """
    if bench.invalid is not None:
        again = "Mend that and run edgedigits benchmark again."
        return Verdict(
            "INVALID: nothing can be recommended from this run.", (sentence(bench.invalid), again), None, "bad"
        )
    measured = sorted((r for r in bench.rows if r.status == "ok"), key=median_ns)
    rows = [r for r in measured if r.runtime not in CHOSEN_ONLY_BY_NAME]
    if not rows:
        return Verdict("Nothing was measured that a device could run.", tuple(_failures(bench)), None, "bad")
    proofs = {id(r): proof(r, parity) for r in rows}
    useful = parity is not None and not parity.unseen
    eligible = [r for r in rows if proofs[id(r)].state == "passed"] if useful else rows
    refused = [r for r in rows if r not in eligible]
    if not eligible:
        reasons = [f"{name(r)} takes {duration(median_ns(r))}, but {proofs[id(r)].why}." for r in rows[:6]]
        return Verdict("Ship none of these yet: no row that was timed has passed parity.", tuple(reasons), None, "bad")
    quickest = eligible[0]
    ties = [r for r in eligible if r is quickest or tied(r, quickest)]

    def gives_up(row: LatencyRow) -> tuple[int, bool, int, float]:
        return proofs[id(row)].flips or 0, is_int8(row, parity), row.bytes, median_ns(row)

    ties.sort(key=gives_up)
    chosen = ties[0]
    if len(ties) > 1:
        told = " and ".join(f"{name(r)} ({duration(median_ns(r))})" for r in ties[1:])
        first = next(i for i, (a, b) in enumerate(zip(gives_up(chosen), gives_up(ties[1]))) if a != b or i == 3)  # noqa: B905
        reasons = [f"It ties with {told}: each one's median lies within the other's windows. {TIES[first]}"]
    else:
        proved = " of those whose parity passed" if useful else ""
        reasons = [f"It is the quickest{proved}, by the median of its windows."]
    reasons += _float_or_int8(chosen, rows, parity, proofs)
    slower = [r for r in refused if median_ns(r) < median_ns(chosen)]
    reasons += [
        f"{name(r)} was quicker, {duration(median_ns(r))}, but is not recommended: {proofs[id(r)].why}." for r in slower
    ]
    reasons += _answers(chosen, proofs[id(chosen)], useful)
    doubt = not useful or bench.cut_short or chosen.noisy or len(chosen.window_p50_ns) < 2
    if bench.cut_short:
        count = len(chosen.window_p50_ns)
        reasons.append(f"The run was cut short; this rests on {count} finished window{'s' * (count != 1)} of it.")
    elif len(chosen.window_p50_ns) < 2:
        reasons.append("With a single window its spread is not known, and no tie can be told; use --windows 5.")
    if chosen.noisy and chosen.spread is not None:
        spread = f"{100 * chosen.spread:.0f} %"
        reasons.append(f"Its windows' medians differ by {spread}, which is noisy: run it again on an idle machine.")
    headline = f"Ship {name(chosen)}: {duration(median_ns(chosen))} an image."
    return Verdict(headline, tuple(reasons), chosen, "doubt" if doubt else "good")


def _float_or_int8(
    chosen: LatencyRow, rows: list[LatencyRow], parity: ParityReport | None, proofs: dict[int, Proof]
) -> list[str]:
    """Whether quantizing pays here: the quickest row of the other kind, in ratio and bytes."""
    mine = is_int8(chosen, parity)
    other = next((r for r in rows if is_int8(r, parity) != mine), None)
    failed = other is not None and proofs[id(other)].state == "failed"
    if other is None or (failed and median_ns(other) < median_ns(chosen)):  # told as quicker, and not recommended
        return []
    ratio = median_ns(other) / median_ns(chosen)
    pace = "as long, within their spread," if tied(chosen, other) else f"{significant(ratio)} times as long"
    winner, loser = ("int8", "float") if mine else ("Float", "int8")
    sizes = f"{other.bytes:,} bytes against {chosen.bytes:,}"
    proved = f", and {proofs[id(other)].why}" if failed else ""
    return [
        f"{winner} wins here: {loser} takes {pace} at best "
        f"({duration(median_ns(other))}, {name(other)}; {sizes}){proved}."
    ]


def _answers(chosen: LatencyRow, found: Proof, useful: bool) -> list[str]:
    if not useful:
        return [sentence(f"{found.why}: give the report a file of edgedigits parity --json before shipping it")]
    if found.flips:
        return [f"{found.flips:,} answers differ from the trained model's, which the parity run allowed."]
    return ["It answers as the trained model on every image, on all its kernel sets."]


def _failures(bench: BenchmarkReport) -> list[str]:
    return [sentence(f"{name(r)}: {r.status}{': ' * bool(r.message)}{r.message}") for r in bench.rows[:6]]


def sentence(text: str) -> str:
    """With a capital and a full stop, unless a file's or runtime's own name begins it."""
    first = text.split()[:1]  # none in a blank text, which a file that was not written here may hold
    return f"{text[:1].upper()}{text[1:]}." if first and "." not in first[0] else f"{text}."
