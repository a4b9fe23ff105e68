"""The command `edgedigits report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import output_option


@click.command(short_help="Write a benchmark as a page, with its verdict.")
@click.argument("bench", type=click.Path(path_type=Path))
@click.argument("parity_file", metavar="[PARITY]", required=False, type=click.Path(path_type=Path))
@output_option("report.html", "The page: one file that needs neither network nor scripts.")
def report(bench: Path, parity_file: Path | None, output: Path) -> None:
    """Say which artifact and runtime to ship on this machine, and show why, in one self-contained HTML page.

    BENCH is a file of `edgedigits benchmark --json`, PARITY one of `edgedigits parity --json`; without it nothing is
    known of the answers, and the page says so.
    """
    from edgedigits.report.loading import load_benchmark, load_parity
    from edgedigits.report.page import page
    from edgedigits.report.recommendation import recommend
    from edgedigits.system.files import write_text

    measured = load_benchmark(bench)
    proved = None if parity_file is None else load_parity(parity_file)
    write_text(output, page(measured, proved))
    click.echo(f"{output}: {recommend(measured, proved).headline}")
