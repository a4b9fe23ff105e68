"""The command `edgedigits parity`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from edgedigits.commands.options import (
    artifacts_option,
    bundle_argument,
    json_option,
    memory_option,
    runtimes_option,
    signature_options,
    timeout_option,
)
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.system.terminal import FAILED, emit, progress

KERNELS = dict.fromkeys(name for info in RUNTIMES.values() for name in info.kernels)


@click.command(short_help="Prove that every artifact answers alike.")
@bundle_argument
@artifacts_option
@runtimes_option
@click.option("--kernels", multiple=True, help=f"Only this kernel set: {', '.join(KERNELS)}; may be repeated.")
@click.option("--batch", default=1, show_default=True, help="Images per call.")
@click.option(
    "--allow-mismatches", default=0, show_default=True, metavar="N", help="Let int8 rows pass with up to N mismatches."
)
@click.option("--workers", type=int, help="Processes at once. [default: one a core]")
@click.option("--unseen", is_flag=True, help="Run on DATA/unseen.npz, digits never trained or tuned on; only reported.")
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="For --unseen.")
@signature_options
@timeout_option
@memory_option
@json_option
def parity(
    bundle: Path | None,
    artifacts: Sequence[str],
    runtimes: Sequence[str],
    kernels: Sequence[str],
    batch: int,
    allow_mismatches: int,
    workers: int | None,
    unseen: bool,
    data: Path,
    signed_by: Sequence[Path | str] | None,
    timeout: float,
    memory_bytes: int | None,
    json_file: str | None,
) -> None:
    """Hold every artifact, in every runtime and on every kernel set, against the trained model's own answers.

    Each row runs in a process of its own over all images of the bundle. A runtime that is not installed is a row that
    says so; a float artifact must answer alike on every image.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.parity.check import check_parity
    from edgedigits.parity.text import parity_text

    report = check_parity(
        Bundle(bundle, signed_by=signed_by),
        artifacts=artifacts,
        runtimes=runtimes,
        kernels=kernels,
        allow_mismatches=allow_mismatches,
        batch=batch,
        workers=workers or os.cpu_count() or 1,
        unseen=data if unseen else None,
        timeout=timeout,
        memory_bytes=memory_bytes,
        on_row=lambda row: progress(f"{row.artifact} in {row.runtime} ({row.kernels}): {row.status}"),
    )
    emit(report.to_json(), parity_text(report), json_file)
    raise SystemExit(0 if report.passed else FAILED)
