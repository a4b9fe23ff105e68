"""The command `edgedigits c`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from edgedigits.commands.options import bundle_argument, output_option, signature_options


@click.command(short_help="Write the int8 model as C for a microcontroller.")
@bundle_argument
@output_option("Folder of the library. [default: the name]")
@click.option("--name", default="digits", show_default=True, help="Name of the header and prefix of all C names.")
@signature_options
def c(bundle: Path | None, output: Path | None, name: str, signed_by: Sequence[Path | str] | None) -> None:
    """Write the full-integer int8 model of a bundle as a C99 library, which is an Arduino library too.

    The code needs no heap, no floating point and no runtime. Its logits are those of TensorFlow Lite Micro, bit for
    bit; `edgedigits parity BUNDLE --serial PORT` proves it on the board. The model must be dense and end in
    logits. TensorFlow is not needed.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits_export.targets.microcontroller.library import write_library

    target = output or Path(name)
    quoted = shlex.quote(str(target))
    write_library(Bundle(bundle, signed_by=signed_by), target, name)
    click.echo(
        f"wrote {target}; try: cc -O2 -I {quoted}/src {quoted}/examples/host/main.c {quoted}/src/*.c -o {name}-host"
    )
