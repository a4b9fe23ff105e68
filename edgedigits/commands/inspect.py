"""The command `edgedigits inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import bundle_argument, json_option
from edgedigits.errors import InputError
from edgedigits.terminal import emit


@click.command(short_help="Show what a bundle holds.")
@bundle_argument
@click.option("--int8", is_flag=True, help="Show each layer's error in the int8 artifacts, over the bundle's inputs.")
@json_option
def inspect(bundle: Path | None, int8: bool, json_file: str | None) -> None:
    """Show what a bundle holds: each artifact's input and output, sizes, checksums, provenance."""
    from edgedigits.bundle import Bundle
    from edgedigits.report import inspect_text, layers_text

    opened = Bundle(bundle)
    opened.verify()
    if not int8:
        emit(opened.manifest.to_dict(), inspect_text(opened), json_file)
        return
    from dataclasses import asdict

    from edgedigits.layers import layer_errors

    quantized = [artifact for artifact in opened.manifest.artifacts if artifact.quantized]
    if not quantized:
        raise InputError(f"{opened.path} has no int8 artifact; `edgedigits export` makes one")
    x, _ = opened.inputs()
    found = {}
    for artifact in quantized:
        try:
            found[artifact.file] = layer_errors(opened.read(artifact.file), x)
        except ValueError as cause:
            raise InputError(f"{artifact.file}: {cause}; --int8 reads dense models") from cause
    rows = [{"artifact": file, **asdict(layer)} for file, layers in found.items() for layer in layers]
    emit(rows, layers_text(found), json_file)
