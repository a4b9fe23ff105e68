"""The command `edgedigits parity`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgedigits.commands.options import bundle_argument, json_option, row_options
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.system.terminal import FAILED, emit, progress

KERNELS = dict.fromkeys(name for info in RUNTIMES.values() for name in info.kernels)


@click.command(short_help="Compare every artifact with the reference logits.")
@bundle_argument
@click.option(
    "--kernels",
    multiple=True,
    type=click.Choice(list(KERNELS)),
    metavar="NAME",
    help=f"Run only this kernel set ({', '.join(KERNELS)}); repeatable.",
)
@click.option("--batch", default=1, show_default=True, help="Images per call.")
@click.option(
    "--allow-mismatches",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Accept up to N mismatches in an int8 row.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Number of parallel processes. [default: one per core]")
@click.option("--unseen", is_flag=True, help="Run on held-out inputs; mismatches do not fail.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder with unseen.npz, for --unseen where the bundle holds none.",
)
@click.option(
    "--serial",
    metavar="PORT",
    help="Run on the microcontroller at PORT, which has the sketch parity.ino of `edgedigits c`.",
)
@row_options
@json_option
def parity(
    bundle: Path | None,
    workers: int | None,
    unseen: bool,
    data: Path,
    signed_by: Sequence[Path | str] | None,
    json_file: str | None,
    **options: Any,
) -> None:
    """Compare every artifact with the trained model's logits, in every runtime and kernel set.

    Each row runs all images of the bundle in its own process. Runtimes that are not installed are listed as missing. A
    float artifact must predict the same class as the trained model for every image. With --serial only the
    microcontroller is checked, and the runtimes that --runtime names; its logits must equal the kernel set reference.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.parity.check import check_parity
    from edgedigits.parity.text import parity_text

    report = check_parity(
        Bundle(bundle, signed_by=signed_by),
        workers=workers or os.cpu_count() or 1,
        unseen=data if unseen else None,
        on_image=lambda done, of: progress(f"image {done:,} of {of:,} on the board"),
        on_row=lambda row: progress(f"{row.artifact} in {row.runtime} ({row.kernels}): {row.status}"),
        **options,
    )
    emit(report.to_json(), parity_text(report), json_file)
    raise SystemExit(0 if report.passed else FAILED)
