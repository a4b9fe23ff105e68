"""The command `edgedigits inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgedigits.commands.options import bundle_argument, json_option, memory_option, trusted_option
from edgedigits.errors import InputError
from edgedigits.system.terminal import FAILED, emit


@click.command(short_help="Show what a bundle holds.")
@bundle_argument
@click.option("--int8", is_flag=True, help="Show each layer's error in the int8 artifacts, over the bundle's inputs.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds for one artifact, with --int8.")
@memory_option
@trusted_option
@json_option
def inspect(
    bundle: Path | None,
    int8: bool,
    timeout: float,
    memory_bytes: int | None,
    keys: Sequence[str],
    json_file: str | None,
) -> None:
    """Show what a bundle holds: each artifact's input and output, sizes, checksums, provenance.

    Of a damaged bundle all that is wrong is listed, file by file, and the exit status is 1; it is 2 where the manifest
    says nothing any more.

    With --key the bundle is refused unless that key signed it; without, a signature is shown and not verified.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.bundle.inspection import examine
    from edgedigits.bundle.text import inspect_text
    from edgedigits.parity.text import layers_text

    if keys:  # what they did not sign is not looked at
        Bundle(bundle, signed_by=keys)
    examined = examine(bundle)
    if examined.problems:
        emit(examined.to_json(), examined.text(), json_file)
        raise SystemExit(FAILED)
    opened = Bundle(bundle, signed_by=keys or None)
    if not int8:
        from edgedigits.bundle.signing import state

        emit(examined.to_json() | {"signature": state(opened)}, inspect_text(opened), json_file)
        return
    from dataclasses import asdict

    from edgedigits.parity.layers import inspect_layers

    quantized = [artifact for artifact in opened.manifest.artifacts if artifact.quantized]
    if not quantized:
        raise InputError(f"{opened.path} has no int8 artifact; `edgedigits export` makes one")
    found = {artifact.file: inspect_layers(opened, artifact, timeout, memory_bytes) for artifact in quantized}
    emit([{"artifact": file, **asdict(layers)} for file, layers in found.items()], layers_text(found), json_file)
