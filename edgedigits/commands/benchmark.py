"""The command `edgedigits benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgedigits.commands.options import bundle_argument, json_option, row_options
from edgedigits.system.terminal import FAILED, emit, progress_bar


@click.command(short_help="Measure latency, one image at a time.")
@bundle_argument
@click.option("--threads", default=1, show_default=True, help="Threads the runtime may use.")
@click.option("--windows", default=5, show_default=True, help="Processes started per row.")
@click.option("--min-seconds", default=10.0, show_default=True, help="Measuring time per process, in seconds.")
@click.option("--quick", is_flag=True, help="Measure 5 windows of 1 second and 3 cold starts.")
@click.option("--starts", default=5, show_default=True, help="Cold starts measured per runtime.")
@click.option(
    "--sustained",
    "sustained_minutes",
    default=0.0,
    metavar="MINUTES",
    help="Afterwards run the first row for MINUTES and record its latency every minute.",
)
@row_options
@json_option
def benchmark(
    bundle: Path | None,
    quick: bool,
    windows: int,
    min_seconds: float,
    starts: int,
    signed_by: Sequence[Path | str] | None,
    json_file: str | None,
    **options: Any,
) -> None:
    """Measure the latency of one image at a time, in nanoseconds.

    Measures the whole call, which starts from a float image, and the model alone. Each window of each row runs in its
    own process, in random order. Ctrl-C stops the run and keeps the finished windows.
    """
    from edgedigits.benchmark.measure import measure
    from edgedigits.benchmark.text import benchmark_text
    from edgedigits.bundle.bundle import Bundle

    with progress_bar() as on_progress:
        report = measure(
            Bundle(bundle, signed_by=signed_by),
            windows=5 if quick else windows,
            min_seconds=1.0 if quick else min_seconds,
            starts=min(starts, 3) if quick else starts,
            on_progress=on_progress,
            **options,
        )
    emit(report.to_json(), benchmark_text(report), json_file)
    if report.invalid:
        click.secho(f"INVALID: {report.invalid}", fg="red", bold=True, err=True)
    raise SystemExit(0 if report.passed else FAILED)
