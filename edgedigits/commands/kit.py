"""The command `edgedigits kit`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import bundle_argument, json_option, output_option
from edgedigits.system.terminal import emit, progress


@click.command(short_help="Make an offline installation kit for a device.")
@bundle_argument
@click.option("--target", required=True, metavar="NAME", help="The device: pi-64, pi-32 or linux-64.")
@click.option("--python", default="3.11", show_default=True, metavar="VERSION", help="The device's Python version.")
@click.option(
    "--runtime", help="litert, tflite-runtime, onnxruntime or numpy. [default: the first with a wheel for the device]"
)
@output_option("The kit to write.", "kit.zip")
@json_option
def kit(
    bundle: Path | None, target: str, python: str, runtime: str | None, output: Path, json_file: str | None
) -> None:
    """Make an installation kit with BUNDLE for a device that has Python but no network, pip or root.

    The kit contains edgedigits, a runtime, NumPy and BUNDLE. Raspberry Pi OS bookworm has Python 3.11, trixie 3.13.
    Making a kit needs pip and a network. Its install.sh checks every file and the device before it writes anything, and
    tests the installation with one prediction.
    """
    from dataclasses import asdict

    from edgedigits.bundle.bundle import Bundle
    from edgedigits.kit.make import kit_text, make_kit

    made = make_kit(
        target, output, python=python, runtime=runtime, bundle=Bundle(bundle) if bundle else None, on_progress=progress
    )
    emit(asdict(made), kit_text(made), json_file)
