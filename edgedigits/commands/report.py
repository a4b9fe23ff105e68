"""The command `edgedigits report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import output_option, refuse_overwriting
from edgedigits.errors import RuntimeUnavailableError


@click.command(short_help="Write an HTML page with a recommendation.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option("The HTML file to write; - for stdout.", "report.html")
def report(files: tuple[Path, ...], output: Path) -> None:
    """Recommend an artifact and a runtime for the measured machine, and write the figures as one HTML page.

    FILE is from `edgedigits benchmark --json` or `edgedigits parity --json`; which one it is, its content says. Without
    a parity file the page says that the predictions were not checked. The page needs no network and no scripts.

    Several benchmarks are shown side by side. A parity file belongs to the benchmark in the same folder, or to the one
    of the same name otherwise (bench-pi4.json, parity-pi4.json), or of the same host.
    """
    refuse_overwriting(files, output)
    from edgedigits.report.devices import find_devices
    from edgedigits.system.files import write_text

    try:
        from edgedigits.report.page import render_devices
        from edgedigits.report.side_by_side import summary
    except ModuleNotFoundError as cause:
        install = "`pip install Jinja2`, or on Debian `sudo apt install python3-jinja2`"
        raise RuntimeUnavailableError(f"the report needs Jinja2 ({cause}); {install}") from cause
    devices, remarks = find_devices(files)
    page, to_stdout = render_devices(devices, remarks), str(output) == "-"
    if to_stdout:
        click.echo(page)
    else:
        write_text(output, page)
    for remark in remarks:
        click.echo(f"warning: {remark}", err=True)
    click.echo(f"{output}: {summary(devices)[0]}", err=to_stdout)
