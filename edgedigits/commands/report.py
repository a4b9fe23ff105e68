"""The command `edgedigits report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import output_option, refuse_overwriting
from edgedigits.errors import RuntimeUnavailableError


@click.command(short_help="Write an HTML page with a recommendation.")
@click.argument("bench", type=click.Path(path_type=Path))
@click.argument("parity_file", metavar="[PARITY]", required=False, type=click.Path(path_type=Path))
@output_option("The HTML file to write.", "report.html")
def report(bench: Path, parity_file: Path | None, output: Path) -> None:
    """Recommend an artifact and a runtime for the measured machine, and write the figures as one HTML page.

    BENCH is a file from `edgedigits benchmark --json`, PARITY one from `edgedigits parity --json`. Without PARITY the
    page says that the predictions were not checked. The page needs no network and no scripts.
    """
    refuse_overwriting([bench, *([parity_file] if parity_file else [])], output)
    from edgedigits.report.loading import load_benchmark, load_parity
    from edgedigits.report.recommendation import recommend
    from edgedigits.system.files import write_text

    try:
        from edgedigits.report.page import render_page
    except ModuleNotFoundError as cause:
        install = "`pip install Jinja2`, or on Debian `sudo apt install python3-jinja2`"
        raise RuntimeUnavailableError(f"the report needs Jinja2 ({cause}); {install}") from cause
    benchmark = load_benchmark(bench)
    parity = None if parity_file is None else load_parity(parity_file)
    write_text(output, render_page(benchmark, parity))
    click.echo(f"{output}: {recommend(benchmark, parity).headline}")
