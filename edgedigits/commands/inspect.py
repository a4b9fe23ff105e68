"""The command `edgedigits inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgedigits.commands.options import bundle_argument, json_option, memory_option, timeout_option, trusted_option
from edgedigits.errors import InputError
from edgedigits.system.terminal import FAILED, emit


@click.command(short_help="Show the contents of a bundle.")
@bundle_argument
@click.option("--int8", is_flag=True, help="Show the error of each int8 layer over the bundle's inputs.")
@timeout_option
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
    """Show the contents of a bundle: artifacts with input and output, sizes, checksums, origin.

    For a damaged bundle, every problem is listed by file and the exit status is 1. It is 2 if the manifest cannot be
    read.

    With --key, a bundle that the key did not sign is refused. Without it, a signature is shown but not verified.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.bundle.inspection import examine, inspect_text

    if keys:  # check the signature before anything else is read
        Bundle(bundle, signed_by=keys)
    examined = examine(bundle)
    if examined.problems:
        emit(examined.to_json(), examined.text(), json_file)
        raise SystemExit(FAILED)
    opened = Bundle(bundle, signed_by=keys or None)
    if not int8:
        from edgedigits.bundle.signing import signature_status

        emit(examined.to_json() | {"signature": signature_status(opened)}, inspect_text(opened), json_file)
        return
    from dataclasses import asdict

    from edgedigits.parity.layers import inspect_layers
    from edgedigits.parity.text import layers_text

    quantized = [artifact for artifact in opened.manifest.artifacts if artifact.quantized]
    if not quantized:
        raise InputError(f"{opened.path} has no int8 artifact; `edgedigits export` creates one")
    reports = {artifact.file: inspect_layers(opened, artifact, timeout, memory_bytes) for artifact in quantized}
    emit([{"artifact": file, **asdict(report)} for file, report in reports.items()], layers_text(reports), json_file)
