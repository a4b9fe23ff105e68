"""The command `edgedigits kit`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import bundle_argument, json_option, output_option
from edgedigits.system.terminal import emit, progress


@click.command(short_help="Pack all that an offline device needs.")
@bundle_argument
@click.option("--target", required=True, metavar="NAME", help="The device: pi-64, pi-32 or linux-64.")
@click.option("--python", default="3.11", show_default=True, metavar="VERSION", help="The device's Python.")
@click.option(
    "--runtime", help="litert, tflite-runtime, onnxruntime or numpy. [default: the first that has a wheel there]"
)
@output_option("kit.zip", "The kit: one .zip.")
@json_option
def kit(
    bundle: Path | None, target: str, python: str, runtime: str | None, output: Path, json_file: str | None
) -> None:
    """Pack edgedigits, a runtime, NumPy and BUNDLE for a device that has Python, but neither a network nor root.

    Raspberry Pi OS bookworm has Python 3.11, trixie 3.13. The install.sh inside checks every file and the device before
    it writes, and proves the installation by an answer. Making a kit needs pip and a network.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.kit.make import kit_text, make_kit

    made = make_kit(
        target, output, python=python, runtime=runtime, bundle=Bundle(bundle) if bundle else None, on_progress=progress
    )
    emit(made.to_json(), kit_text(made), json_file)
