"""The command `edgedigits benchmark`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from edgedigits.commands.options import bundle_argument, json_option, positive, row_options
from edgedigits.system.terminal import FAILED, emit, live_line, progress_bar

if TYPE_CHECKING:
    from edgedigits.benchmark.result import BenchmarkReport
    from edgedigits.bundle.bundle import Bundle


@click.command(short_help="Measure latency, one image at a time.")
@bundle_argument
@click.option(
    "--threads",
    type=click.IntRange(1, os.cpu_count() or 1),
    default=1,
    show_default=True,
    help="Threads the runtime may use, up to the number of cores.",
)
@click.option("--windows", type=click.IntRange(min=1), help="Processes started per row. [default: 5]")
@click.option(
    "--min-seconds", type=float, callback=positive, help="Measuring time per process, in seconds. [default: 10]"
)
@click.option("--quick", is_flag=True, help="Measure 5 windows of 1 second and 3 cold starts.")
@click.option("--starts", type=click.IntRange(min=0), help="Cold starts measured per runtime. [default: 5]")
@click.option(
    "--sustained",
    "sustained_minutes",
    default=0.0,
    metavar="MINUTES",
    help="Afterwards run the first row for MINUTES and record its latency every minute.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Run only the first row, without a pause, and show its p50, the clock, the temperature and throttling every "
    "second, until Ctrl-C or for the MINUTES of --sustained.",
)
@row_options
@json_option
def benchmark(
    bundle: Path | None,
    quick: bool,
    windows: int | None,
    min_seconds: float | None,
    starts: int | None,
    sustained_minutes: float,
    watch: bool,
    signed_by: Sequence[Path | str] | None,
    json_file: str | None,
    **options: Any,
) -> None:
    """Measure the latency of one image at a time, in nanoseconds.

    Measures the whole call, which starts from a float image, and the model alone. Each window of each row runs in its
    own process, in random order. Ctrl-C stops the run and keeps the finished windows.

    A row, one artifact in one runtime, takes about a minute, or 8 seconds with --quick. `edgedigits inspect` shows how
    many rows there are.

    With --watch, Ctrl-C is the usual end: the summary and the JSON are written, and the exit status is 0, or 1 if the
    device was throttled, the runtime failed, or Ctrl-C came before the MINUTES of --sustained were over.
    """
    if quick and (windows, min_seconds, starts) != (None, None, None):
        raise click.UsageError("--quick sets --windows, --min-seconds and --starts; give either it or them")
    if quick:
        windows, min_seconds, starts = 5, 1.0, 3
    if watch and (windows, min_seconds, starts) != (None, None, None):
        raise click.UsageError("--watch takes no --quick, --windows, --min-seconds and --starts; leave them out")
    from edgedigits.bundle.bundle import Bundle

    opened = Bundle(bundle, signed_by=signed_by)
    if watch:
        _watch(opened, sustained_minutes, json_file, options)
    from edgedigits.benchmark.measure import measure
    from edgedigits.benchmark.text import benchmark_text

    with progress_bar() as on_progress:
        report = measure(
            opened,
            windows=5 if windows is None else windows,
            min_seconds=10.0 if min_seconds is None else min_seconds,
            starts=5 if starts is None else starts,
            sustained_minutes=sustained_minutes,
            on_progress=on_progress,
            **options,
        )
    emit(report.to_json(), benchmark_text(report), json_file)
    _end(report)


def _watch(bundle: Bundle, minutes: float, json_file: str | None, options: dict[str, Any]) -> NoReturn:
    """Show the points of one row as they come, then the summary."""
    from edgedigits.benchmark.text import watch_line, watch_start, watch_summary
    from edgedigits.benchmark.watch import watch

    to_stderr = json_file == "-"
    available: dict[str, bool] = {}

    def start(row: str, sensors: dict[str, bool]) -> None:
        available.update(sensors)
        live_line(watch_start(row, sensors, minutes), to_stderr, final=True)

    report = watch(
        bundle,
        minutes=minutes,
        on_start=start,
        on_point=lambda point: live_line(watch_line(point, available), to_stderr),
        **options,
    )
    emit(report.to_json(), "", json_file)  # first: what reads the lines may have ended at the same Ctrl-C
    live_line(watch_summary(report), to_stderr, final=True)
    _end(report)


def _end(report: BenchmarkReport) -> NoReturn:
    if report.invalid:
        click.secho(f"INVALID: {report.invalid}", fg="red", bold=True, err=True)
    raise SystemExit(0 if report.passed else FAILED)
