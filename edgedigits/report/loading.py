"""Results read back from their JSON, strictly: a file that came from elsewhere is input like any other.

The types are the reports' own annotations, so a field that joins a report is read here without further ado.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from edgedigits.benchmark.result import SCHEMA, BenchmarkReport
from edgedigits.errors import InputError
from edgedigits.parity.result import ParityReport
from edgedigits.system.limits import MOST_VALUES, RefusedError, kind_of, printable, read_json, short

Report = TypeVar("Report", BenchmarkReport, ParityReport)

# Beyond 2 ** 53 other readers of JSON lose digits; in nanoseconds that is 104 days.
LARGEST = 2**53
# What takes time or space with the number of its items; a week of minutes is 10,080.
MOST_ITEMS = {"rows": 1_000, "starts": 1_000, "window_p50_ns": 1_000, "sustained": 20_000}
MAY_BE_NEGATIVE = ("seed", "temperature_millicelsius", "min_lead_quanta", "lead_quanta", "int8_lead_quanta")

_THROTTLING = {"raw": int | None, "now": tuple[str, ...], "since_boot": tuple[str, ...]}
# The parts of a benchmark that are plain dictionaries; what else they hold is not read.
PARTS: dict[str, dict[str, Any]] = {
    "machine": {
        "model": str | None,
        "cpu": str | None,
        "cpu_features": tuple[str, ...] | None,
        "architecture": str | None,
        "cores": int | None,
        "frequency_khz": int | None,
        "temperature_millicelsius": int | None,
        "load_1min": float | None,
        "governor": str | None,
        "memory_bytes": int | None,
        "kernel": str | None,
        "os": str | None,
        "container": str | None,
        "on_battery": bool | None,
        "python": str | None,
        "packages": dict[str, str | None],
    },
    "throttling": {"before": _THROTTLING, "after": _THROTTLING},
    "method": {"windows": int, "min_seconds": float, "seed": int, "threads": int},
}


def load_benchmark(path: Path) -> BenchmarkReport:
    """Read what ``edgedigits benchmark --json`` wrote.

    Raises:
        InputError: no such file, not JSON, another schema, or a value that a benchmark does not write.
    """
    report = _load(path, BenchmarkReport, "benchmark")
    seen = set()
    for number, row in enumerate(report.rows):
        key = (row.artifact, row.runtime, row.threads)
        if key in seen:
            raise _refusal(path, "benchmark", f"rows[{number}] is a second one of {row.artifact} in {row.runtime}")
        seen.add(key)
        if row.status == "ok" and not (row.samples and row.window_p50_ns and all(row.window_p50_ns)):
            raise _refusal(path, "benchmark", f"rows[{number}] is ok, yet has no samples or a window of 0 ns")
        sizes = [*row.batch_ns, *row.threads_p50_ns]
        if not all(size.isascii() and size.isdecimal() and len(size) < 10 and int(size) for size in sizes):
            raise _refusal(path, "benchmark", f"rows[{number}] has a batch size or thread count that is no number")
        if any(ns < 1 or count < 1 for ns, count in row.histogram):
            raise _refusal(path, "benchmark", f"rows[{number}].histogram has an empty bin, or one at 0 ns")
    return report


def load_parity(path: Path) -> ParityReport:
    """Read what ``edgedigits parity --json`` wrote; its verdict is worked out again.

    Raises:
        InputError: as :func:`load_benchmark`.
    """
    report = _load(path, ParityReport, "parity")
    for number, row in enumerate(report.rows):
        if row.status == "ok" and None in (row.mismatches, row.ties, row.errors):
            raise _refusal(path, "parity", f"rows[{number}] is ok, yet does not say what it found")
    return report


def _load(path: Path, kind: type[Report], command: str) -> Report:
    facts = _read(path, command)
    schema = facts.get("schema") if command == "benchmark" else facts.get("schema", SCHEMA)
    if type(schema) is not int or schema != SCHEMA:
        said = "no schema" if schema is None else f"schema {short(schema)}"
        raise _refusal(path, command, f"it has {said}, this edgedigits reads schema {SCHEMA}")
    try:
        report: Report = _convert(kind, facts, "")
    except ValueError as cause:
        raise _refusal(path, command, str(cause)) from cause
    return report


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        facts = read_json(path)
    except OSError as cause:
        raise InputError(
            f"cannot read {path}: {cause.strerror or cause}; `edgedigits {command} --json FILE` makes one"
        ) from cause
    except RefusedError as cause:
        raise _refusal(path, command, str(cause)) from cause
    if not isinstance(facts, dict):
        raise _refusal(path, command, f"it holds {kind_of(facts)}, not an object")
    return facts


def _refusal(path: Path, command: str, why: str) -> InputError:
    return InputError(f"{path}: {why}; expected what `edgedigits {command} --json FILE` writes")


def _convert(kind: Any, value: Any, where: str) -> Any:
    """The value as the annotation has it, or a ValueError that says where it is something else."""
    if is_dataclass(kind) or isinstance(kind, dict):
        return _record(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        (present,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _convert(present, value, where)
    if origin is tuple:
        return _items(arguments, value, where)
    if origin is dict:
        _expect(isinstance(value, dict), "an object", value, where)
        return {printable(key): _convert(arguments[1], item, f"{where}.{short(key)}") for key, item in value.items()}
    return _scalar(kind, value, where)


def _record(kind: Any, value: Any, where: str) -> Any:
    """A dataclass, or a part of :data:`PARTS`; what it does not know is left out, what may be absent is."""
    _expect(isinstance(value, dict), "an object", value, where)
    found = {}
    for name, hint, needed in _part(kind) if isinstance(kind, dict) else _schema(kind):
        at = f"{where}.{name}".lstrip(".")
        if name in value:
            found[name] = _convert(PARTS.get(name, hint) if where == "" else hint, value[name], at)
        elif needed:
            raise ValueError(f"{at} is missing")
        elif isinstance(kind, dict):
            found[name] = None
    return found if isinstance(kind, dict) else kind(**found)


@cache
def _schema(kind: Any) -> list[tuple[str, Any, bool]]:
    """A dataclass's fields: name, annotation, and whether a file must have it."""
    hints = get_type_hints(kind)
    return [(f.name, hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(kind)]


def _part(kind: dict[str, Any]) -> list[tuple[str, Any, bool]]:
    return [(name, hint, NoneType not in get_args(hint)) for name, hint in kind.items()]


def _items(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _expect(isinstance(value, list), "a list", value, where)
    most = MOST_ITEMS.get(where.rpartition(".")[2], MOST_VALUES)
    if len(value) > most:
        raise ValueError(f"{where} has {len(value):,} items, more than {most:,}")
    if arguments[-1] is ...:
        arguments = arguments[:1] * len(value)
    if len(value) != len(arguments):
        raise ValueError(f"{where} has {len(value)} items, not {len(arguments)}")
    return tuple(_convert(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(arguments, value)))  # noqa: B905


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is bool:
        _expect(isinstance(value, bool), "true or false", value, where)
        return value
    if kind is str:
        _expect(isinstance(value, str), "a string", value, where)
        return printable(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is int:
        _expect(whole, "a whole number", value, where)
    else:
        _expect(kind is float and (whole or isinstance(value, float)), "a number", value, where)
    name = where.rpartition(".")[2]
    if not -LARGEST <= value <= LARGEST or (value < 0 and name not in MAY_BE_NEGATIVE):
        raise ValueError(f"{where} is {short(value)}, out of range")
    return value if kind is int else float(value)


def _expect(holds: bool, expected: str, value: Any, where: str) -> None:
    if not holds:
        raise ValueError(f"{where} is {kind_of(value)}, not {expected}")
