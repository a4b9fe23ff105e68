"""The command `edgedigits compare`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import json_option
from edgedigits.system.terminal import FAILED, TROUBLE, emit


def _fraction(ctx: click.Context, option: click.Parameter, value: str) -> float:
    """5% and 0.05 are one limit; a bare 5 is refused, for it would mean 500 %."""
    text = value.strip()
    try:
        number = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= (10.0 if text.endswith("%") else 1.0):  # NaN is not
        raise click.BadParameter(f"{value!r} is no limit; expected such as 5% or 0.05")
    return number


@click.command(short_help="Find what became slower.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--max-regress",
    default="5%",
    show_default=True,
    metavar="LIMIT",
    callback=_fraction,
    help="How much slower a row may be, such as 5% or 0.05.",
)
@click.option("--across-machines", is_flag=True, help="Compare though the processors differ.")
@json_option
def compare(old: Path, new: Path, max_regress: float, across_machines: bool, json_file: str | None) -> None:
    """Hold two results of `edgedigits benchmark --json` against each other, row by row.

    A row regresses if it is slower by more than the limit and the rank test over its windows has p < 0.05; the exit
    status is then 1, also if a row ran in OLD and fails in NEW. It is 2 if too few windows leave that open.
    """
    from edgedigits.benchmark import compare as comparing
    from edgedigits.report.loading import load_benchmark

    found = comparing.compare(
        load_benchmark(old), load_benchmark(new), max_regress=max_regress, across_machines=across_machines
    )
    emit(found.to_json(), comparing.comparison_text(found), json_file)
    raise SystemExit(FAILED if not found.passed else 0 if found.decided else TROUBLE)
