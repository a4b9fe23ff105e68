"""The command `edgedigits web`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgedigits.commands.options import bundle_argument, output_option, signature_options
from edgedigits.errors import InputError


@click.command(short_help="Write a web page that reads digits and proves parity.")
@bundle_argument
@output_option("A folder for a web server, or one file if the name ends in .html.", "site")
@click.option("--runtime", type=click.Choice(["litert"]), help="Add LiteRT.js (19 MB), obtained with npm.")
@click.option("--tgz", type=click.Path(path_type=Path), help="The npm package of LiteRT.js, for --runtime litert.")
@click.option("--draw-only", is_flag=True, help="Leave out the images and the proof of parity.")
@signature_options
def web(
    bundle: Path | None,
    output: Path,
    runtime: str | None,
    tgz: Path | None,
    draw_only: bool,
    signed_by: Sequence[Path | str] | None,
) -> None:
    """Write static files that read handwritten digits in a browser, as one draws, and prove parity there.

    BUNDLE defaults to robust. The page runs the .tflite artifacts in its own JavaScript runtime, and with --runtime
    litert in LiteRT.js too. A folder needs a web server; a single file can be opened from a disk.
    """
    from edgedigits.bundle.bundle import Bundle, reading_bundle
    from edgedigits_export.targets.web.litert import read_package
    from edgedigits_export.targets.web.site import write_site

    if tgz is not None and runtime is None:
        raise InputError("--tgz is the package of LiteRT.js; add --runtime litert")
    opened = Bundle(bundle or reading_bundle(), signed_by=signed_by)
    size = write_site(opened, output, read_package(tgz) if runtime else {}, draw_only)
    click.echo(f"wrote {output}: {size / 1e6:.1f} MB" if size >= 1e6 else f"wrote {output}: {size / 1e3:.0f} kB")
    if output.suffix.lower() not in (".html", ".htm"):
        click.echo(f"to see it: python -m http.server --directory {output}")
