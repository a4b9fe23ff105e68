"""The command `edgedigits compare`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import json_option
from edgedigits.system.terminal import FAILED, TROUBLE, emit


def _fraction(ctx: click.Context, option: click.Parameter, value: str) -> float:
    """Parse 5% or 0.05; a bare 5 would mean 500 % and is refused."""
    text = value.strip()
    percent = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= (1000.0 if percent else 1.0):  # also refuses NaN
        raise click.BadParameter(f"{value!r} is not a limit; expected a value such as 5% or 0.05")
    return number / 100.0 if percent else number


@click.command(short_help="Find regressions between two benchmarks.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--max-regress",
    default="5%",
    show_default=True,
    metavar="LIMIT",
    callback=_fraction,
    help="Allowed slowdown per row, such as 5% or 0.05.",
)
@click.option("--across-machines", is_flag=True, help="Compare even if the machines differ.")
@json_option
def compare(old: Path, new: Path, max_regress: float, across_machines: bool, json_file: str | None) -> None:
    """Compare two results of `edgedigits benchmark --json` row by row.

    A row regresses if its slowdown exceeds the limit and the rank test over its windows gives p < 0.05. The exit status
    is 1 if a row regresses, or ran in OLD and fails in NEW. It is 2 if a row is slower by more
    than the limit and has too few windows to decide.
    """
    from edgedigits.benchmark.compare import compare as compare_reports
    from edgedigits.benchmark.text import comparison_text
    from edgedigits.report.loading import load_benchmark

    found = compare_reports(
        load_benchmark(old), load_benchmark(new), max_regress=max_regress, across_machines=across_machines
    )
    emit(found.to_json(), comparison_text(found), json_file)
    raise SystemExit(FAILED if not found.passed else 0 if found.decided else TROUBLE)
