"""Load and validate the JSON of a benchmark or a parity run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

from edgedigits.benchmark.result import SCHEMA, BenchmarkReport
from edgedigits.errors import InputError
from edgedigits.parity.result import ParityReport
from edgedigits.system.limits import RefusedError, read_json
from edgedigits.system.schema import check_version, validate

Report = TypeVar("Report", BenchmarkReport, ParityReport)


def load_benchmark(path: Path) -> BenchmarkReport:
    """Load what ``edgedigits benchmark --json`` wrote; InputError for any other file."""
    return _benchmark(path, _read(path, "benchmark"))


def load_parity(path: Path) -> ParityReport:
    """Load what ``edgedigits parity --json`` wrote and compute its verdict again; InputError for any other file."""
    return _parity(path, _read(path, "parity"))


def load_result(path: Path) -> tuple[BenchmarkReport | None, ParityReport | None]:
    """Load a benchmark or a parity run, told apart by its content; the file of a web page is both."""
    facts = _read(path, "benchmark")
    is_parity = isinstance(facts, dict) and "images" in facts
    is_benchmark = not is_parity or "machine" in facts
    if isinstance(facts, dict) and not is_parity and "schema" not in facts:
        raise _invalid(
            path, "benchmark --json FILE` or `edgedigits parity", "it is neither a benchmark nor a parity run"
        )
    return _benchmark(path, facts) if is_benchmark else None, _parity(path, facts) if is_parity else None


def _benchmark(path: Path, facts: Any) -> BenchmarkReport:
    report = _validate(path, facts, BenchmarkReport, "benchmark")
    for number, row in enumerate(report.rows):
        if row.status == "ok" and not (row.samples and row.window_p50_ns):
            raise _invalid(path, "benchmark", f"rows[{number}] is ok, but has no samples or windows")
        if not all(re.fullmatch("[1-9][0-9]{0,8}", size) for size in (*row.batch_ns, *row.threads_p50_ns)):
            raise _invalid(path, "benchmark", f"rows[{number}] has a batch size or thread count that is not a number")
    return report


def _parity(path: Path, facts: Any) -> ParityReport:
    report = _validate(path, facts, ParityReport, "parity")
    for number, row in enumerate(report.rows):
        if row.status == "ok" and None in (row.mismatches, row.ties, row.errors):
            raise _invalid(path, "parity", f"rows[{number}] is ok, but its mismatches, ties or errors are missing")
    return report


def _read(path: Path, command: str) -> Any:
    try:
        return read_json(path)
    except OSError as cause:
        raise InputError(
            f"cannot read {path}: {cause.strerror or cause}; `edgedigits {command} --json FILE` makes one"
        ) from cause
    except RefusedError as cause:
        raise _invalid(path, command, str(cause)) from cause


def _validate(path: Path, facts: Any, kind: type[Report], command: str) -> Report:
    try:
        return validate(kind, check_version(facts, SCHEMA, "missing" if command == "benchmark" else SCHEMA))
    except RefusedError as cause:
        raise _invalid(path, command, str(cause)) from cause


def _invalid(path: Path, command: str, why: str) -> InputError:
    return InputError(f"{path}: {why}; expected the output of `edgedigits {command} --json FILE`")
