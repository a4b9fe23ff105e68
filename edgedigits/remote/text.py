"""What came of all hosts, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.parity.result import ParityReport
from edgedigits.remote.visit import HostResult
from edgedigits.report.recommendation import median_ns
from edgedigits.runtimes.wheels import version_text
from edgedigits.system.terminal import FAILED, TROUBLE
from edgedigits.system.text import number, significant, table

_HEAD = ("host", "machine", "Python", "runtime", "parity", "fastest", "p50 ns", "ratio")


def hosts_text(results: Sequence[HostResult]) -> str:
    """A line for each host, and below the table what went wrong."""
    best = [_fastest(result.benchmark) for result in results]
    medians = [median_ns(row) for row, r in zip(best, results, strict=True) if row and not _invalid(r)]
    slowest = max(medians, default=0.0)
    rows = [_cells(result, row, slowest) for result, row in zip(results, best, strict=True)]
    lines = [table(_HEAD, rows, left=6)]
    if len(medians) > 1:
        lines.append("ratio: how many times as fast as the slowest host, each with its fastest row")
    lines += [f"{result.host}: {result.verdict}" for result in results if result.verdict]
    lines += [line for result in results for line in _problems(result)]
    return "\n".join(lines)


def outcome_text(result: HostResult) -> str:
    """One host's outcome in a few words."""
    if result.status == TROUBLE:
        return result.message
    parts = [result.did, _parity(result.parity)]
    row = _fastest(result.benchmark)
    if row is not None:
        parts.append(f"{row.artifact} in {row.runtime} {median_ns(row):,.0f} ns")
    parts.append(result.verdict)
    if result.status == FAILED:
        parts.append(f"FAILED: {result.message}")
    return ", ".join(part for part in parts if part and part != "-")


def _cells(result: HostResult, row: LatencyRow | None, slowest: float) -> tuple[str, ...]:
    facts = result.facts
    machine = facts.machine if facts else "-"
    if result.benchmark is not None:
        known = result.benchmark.machine
        machine = known["model"] or known["cpu"] or machine
    fastest, median, ratio = "-", "-", "-"
    if row is not None:
        median, fastest = number(median_ns(row), ",.0f"), f"{row.artifact} in {row.runtime}"
        ratio = "INVALID" if _invalid(result) else significant(slowest / median_ns(row))
    python = version_text(facts.python) if facts else "-"
    parity = "-" if result.status == TROUBLE and result.parity is None else _parity(result.parity)
    return result.host, machine[:40], python, result.runtime or "-", parity, fastest, median, ratio


def _problems(result: HostResult) -> list[str]:
    if result.status == TROUBLE:
        return [f"{result.host}: {result.message}"]
    lines = []
    if result.benchmark is not None and result.benchmark.invalid:
        lines.append(f"{result.host}: INVALID: {result.benchmark.invalid}")
    if result.status == FAILED:
        where = ", ".join(str(path) for path in (result.files or {}).values())
        lines.append(f"{result.host}: FAILED: {result.message}; see {where}")
    return lines


def _parity(parity: ParityReport | None) -> str:
    if parity is None:
        return "-"
    ran = [row for row in parity.rows if row.status != "missing"]
    return f"{sum(row.passed for row in ran)} of {len(ran)} rows pass"


def _fastest(benchmark: BenchmarkReport | None) -> LatencyRow | None:
    rows = [row for row in benchmark.rows if row.status == "ok"] if benchmark else []
    return min(rows, key=median_ns, default=None)


def _invalid(result: HostResult) -> bool:
    return result.benchmark is not None and result.benchmark.invalid is not None
