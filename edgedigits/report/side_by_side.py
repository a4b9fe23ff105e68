"""The tables that compare devices: a line for each artifact in each runtime, a cell for each device."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeVar

from edgedigits.benchmark.result import LatencyRow, StartRow
from edgedigits.parity.result import ParityReport, ParityRow
from edgedigits.report.charts import start_parts
from edgedigits.report.devices import Device
from edgedigits.report.recommendation import Recommendation, failures, median_ns, recommend
from edgedigits.system.text import count, duration, significant

Row = TypeVar("Row", LatencyRow, StartRow, ParityRow)


@dataclass(frozen=True)
class Cell:
    """A value with a remark below it; ``kind`` is ``"good"``, ``"bad"``, ``"mute"``, ``"chosen"`` or empty."""

    text: str
    note: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a table: its name, a detail below it, and a cell for each device."""

    name: str
    detail: str
    cells: tuple[Cell, ...]


ABSENT = Cell("-", kind="mute")
MACHINE_FACTS = (
    ("model", "model"), ("processor", "cpu"), ("architecture", "architecture"), ("cores", "cores"),
    ("governor", "governor"), ("system", "os"), ("container", "container"), ("Python", "python"),
)  # fmt: skip


def conclusion(device: Device) -> Recommendation:
    """What to ship on a device, as the report about it alone says."""
    if device.benchmark is not None:
        return recommend(device.benchmark, device.parity)
    if device.parity is None:
        return Recommendation("No result.", ())
    ran = [row for row in device.parity.rows if row.status != "missing"]
    passed = sum(row.passed for row in ran)
    tone = "doubt" if device.parity.passed else "bad"
    return Recommendation(f"Not benchmarked; parity passes in {passed} of {count(len(ran), 'row')}.", (), None, tone)


def summary(devices: Sequence[Device]) -> tuple[str, str]:
    """The headline over all devices, and its tone."""
    conclusions = [conclusion(device) for device in devices]
    if len(conclusions) == 1:
        return conclusions[0].headline, conclusions[0].tone
    ready = sum(result.proven for result in conclusions)
    hosts = [device.host for device in devices if device.host is not None]
    nouns = count(len(devices), "device" if len(set(hosts)) == len(hosts) else "run")
    if ready:
        return f"{ready} of {nouns} {'has' if ready == 1 else 'have'} a row to ship.", "good" if ready == len(
            devices
        ) else "doubt"
    return f"None of {nouns} has a row to ship.", "bad"


def latency_lines(devices: Sequence[Device]) -> list[Line]:
    """The median of each row, and how many times as fast as the slowest device it is. An INVALID run has no ratio."""
    chosen = [result.row for result in map(conclusion, devices) if result.proven]
    several = _artifacts_with_variants(row for device in devices for row in _latency_rows(device))

    def cell(row: LatencyRow, device: Device, slowest: float) -> Cell:
        if row.status != "ok":
            return _failure(row.status)
        if device.benchmark is not None and device.benchmark.invalid is not None:
            return Cell(duration(median_ns(row)), "INVALID", "bad")
        notes = [_ratio(median_ns(row), slowest), "noisy" if row.noisy else ""]
        kind = "chosen" if any(row is best for best in chosen) else ""
        return Cell(duration(median_ns(row)), ", ".join(filter(None, notes)), kind)

    lines = []
    for rows in _across(devices, _latency_rows, lambda r: (r.artifact, r.sha256, r.runtime, r.threads)):
        first = next(row for row in rows if row is not None)
        details = [first.runtime, count(first.threads, "thread") if first.threads > 1 else ""]
        details += [_variant(first)] if first.artifact in several else []
        slowest = _slowest(devices, [median_ns(row) if row and row.status == "ok" else None for row in rows])
        cells = [ABSENT if row is None else cell(row, d, slowest) for row, d in zip(rows, devices, strict=True)]
        lines.append(Line(first.artifact, ", ".join(filter(None, details)), tuple(cells)))
    return lines


def start_lines(devices: Sequence[Device]) -> list[Line]:
    """The time of each cold start, with its ratio as for latencies."""
    lines = []
    for rows in _across(
        devices, lambda d: d.benchmark.starts if d.benchmark else (), lambda r: (r.runtime, r.artifact)
    ):
        first = next(row for row in rows if row is not None)
        totals = [sum(start_parts(row)) if row and row.status == "ok" else None for row in rows]
        slowest = _slowest(devices, totals)
        cells = []
        for row, total, device in zip(rows, totals, devices, strict=True):
            if row is None or total is None:
                cells.append(ABSENT if row is None else _failure(row.status))
            elif device.benchmark is not None and device.benchmark.invalid is not None:
                cells.append(Cell(duration(total), "INVALID", "bad"))
            else:
                cells.append(Cell(duration(total), _ratio(total, slowest)))
        lines.append(Line(first.runtime, first.artifact, tuple(cells)))
    return lines


def parity_lines(devices: Sequence[Device]) -> list[Line]:
    """Whether each row passes on each device, with the kernel set that changes the most predictions."""
    several = _artifacts_with_variants(row for device in devices for row in _parity_rows(device))
    lines = []
    for rows in _across(devices, _parity_rows, lambda r: (r.artifact, r.sha256, r.runtime)):
        first = next(row for row in rows if row is not None)
        details = [first.runtime, _variant(first) if first.artifact in several else ""]
        cells = [
            Cell("not checked", kind="mute") if d.parity is None else _parity_cell(row, d.parity)
            for row, d in zip(rows, devices, strict=True)
        ]
        lines.append(Line(first.artifact, ", ".join(filter(None, details)), tuple(cells)))
    return lines


def _parity_cell(row: ParityRow | None, parity: ParityReport) -> Cell:
    if row is None:
        return ABSENT
    if row.status != "ok":
        return _failure(row.status)
    changed = f"{row.mismatches:,} of {row.images:,}"
    if parity.unseen:
        return Cell("held-out inputs", f"{changed}, reported only", "mute")
    return Cell("passes", changed, "good") if row.passed else Cell("fails", changed, "bad")


def machine_lines(devices: Sequence[Device]) -> list[Line]:
    """The machines, the versions of what ran there, and the bundles."""
    machines = [device.benchmark.machine if device.benchmark else {} for device in devices]
    lines = [_facts(title, [machine.get(key) for machine in machines]) for title, key in MACHINE_FACTS]
    packages = [machine.get("packages", {}) for machine in machines]
    names = dict.fromkeys(name for versions in packages for name in versions)
    lines += [_facts(name, [versions.get(name) for versions in packages]) for name in names]
    results = [device.benchmark or device.parity for device in devices]
    lines.append(_facts("bundle", [PurePath(result.bundle).name if result else None for result in results]))
    return [line for line in lines if any(cell is not ABSENT for cell in line.cells)]


def _facts(title: str, values: Sequence[object]) -> Line:
    return Line(title, "", tuple(ABSENT if value is None else Cell(str(value)) for value in values))


def find_warnings(devices: Sequence[Device]) -> list[tuple[str, str]]:
    """What makes a comparison doubtful, as (device or nothing, sentence)."""
    found = [("", text) for text in _different_models(devices)]
    where: dict[str, list[str]] = {}  # labels by sentence, so that what ten devices have in common is said once
    methods: dict[str, list[str]] = {}
    for device in devices:
        bench = device.benchmark
        if bench is None:
            continue
        texts = ["the run was interrupted; only finished windows are shown"] if bench.cut_short else []
        texts += [f"{threat.what}; to fix it: {threat.remedy}" for threat in bench.threats]
        for text in texts + failures(bench):
            where.setdefault(text, []).append(device.label)
        if bench.rows:
            method = f"{count(bench.method['windows'], 'window')} of {bench.method['min_seconds']:g} s"
            methods.setdefault(method, []).append(device.label)
    if len(methods) > 1:
        both = "; ".join(f"{method} on {', '.join(labels)}" for method, labels in methods.items())
        found.append(("", f"The benchmarks differ in method: {both}."))
    return found + [(", ".join(labels), text) for text, labels in where.items()]


def _different_models(devices: Sequence[Device]) -> list[str]:
    """A sentence for each artifact that is not the same file on all devices."""
    found: dict[str, dict[str, list[str]]] = {}
    for device in devices:
        rows: list[LatencyRow | ParityRow] = [*_latency_rows(device), *_parity_rows(device)]
        for row in rows:
            if row.sha256 is not None:
                labels = found.setdefault(row.artifact, {}).setdefault(row.sha256, [])
                labels += [] if device.label in labels else [device.label]
    sentences = []
    for artifact, files in found.items():
        if len(files) > 1:
            where = "; ".join(f"SHA-256 {sha256[:8]}… on {', '.join(labels)}" for sha256, labels in files.items())
            sentences.append(f"{artifact} is not the same file everywhere: {where}. Each file has lines of its own.")
    return sentences


def _latency_rows(device: Device) -> Sequence[LatencyRow]:
    return device.benchmark.rows if device.benchmark else ()


def _parity_rows(device: Device) -> list[ParityRow]:
    """One row for each artifact and runtime: the one that failed, or else changes the most predictions."""
    worst: dict[Hashable, ParityRow] = {}
    for row in device.parity.rows if device.parity else ():
        key = (row.artifact, row.runtime)
        if key not in worst or _badness(row) > _badness(worst[key]):
            worst[key] = row
    return list(worst.values())


def _badness(row: ParityRow) -> tuple[bool, int]:
    return not row.passed, row.mismatches or 0


def _variant(row: LatencyRow | ParityRow) -> str:
    """What tells apart two files of the same name."""
    return "unknown checksum" if row.sha256 is None else f"{row.sha256[:8]}…"


def _artifacts_with_variants(rows: Iterable[LatencyRow | ParityRow]) -> set[str]:
    variants: dict[str, set[str]] = {}
    for row in rows:
        variants.setdefault(row.artifact, set()).add(_variant(row))
    return {artifact for artifact, found in variants.items() if len(found) > 1}


def _across(
    devices: Sequence[Device], rows_of: Callable[[Device], Sequence[Row]], key: Callable[[Row], tuple[Any, ...]]
) -> list[list[Row | None]]:
    """For each key the row of each device, None where it has none; keys that begin alike are neighbors."""
    by_device = [{key(row): row for row in rows_of(device)} for device in devices]
    keys = list(dict.fromkeys(k for rows in by_device for k in rows))
    names = [k[0] for k in keys]
    keys.sort(key=lambda k: names.index(k[0]))
    return [[rows.get(k) for rows in by_device] for k in keys]


def _slowest(devices: Sequence[Device], times: Sequence[float | None]) -> float:
    """The longest time among valid runs; 0 if there is nothing to compare."""
    valid = [
        t for t, d in zip(times, devices, strict=True) if t is not None and d.benchmark and not d.benchmark.invalid
    ]
    return max(valid) if len(valid) > 1 else 0.0


def _ratio(time: float, slowest: float) -> str:
    return f"{significant(slowest / time)}×" if slowest and time else ""


def _failure(status: str) -> Cell:
    return Cell("not installed", kind="mute") if status == "missing" else Cell(status, kind="bad")
