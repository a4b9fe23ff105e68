"""The command `edgedigits benchmark`."""

from __future__ import annotations

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
from edgedigits.system.terminal import FAILED, emit, progress_bar


@click.command(short_help="Time one image at a time.")
@bundle_argument
@artifacts_option
@runtimes_option
@click.option("--threads", default=1, show_default=True, help="Threads that the runtime may use.")
@click.option("--windows", default=5, show_default=True, help="Fresh processes a row.")
@click.option("--min-seconds", default=10.0, show_default=True, help="Seconds of each window.")
@click.option("--quick", is_flag=True, help="5 windows of 1 second, 3 cold starts.")
@click.option("--starts", default=5, show_default=True, help="Cold starts a runtime.")
@click.option("--sustained", default=0.0, metavar="MINUTES", help="Then run the first row on, a point a minute.")
@signature_options
@timeout_option
@memory_option
@json_option
def benchmark(
    bundle: Path | None,
    artifacts: Sequence[str],
    runtimes: Sequence[str],
    threads: int,
    windows: int,
    min_seconds: float,
    quick: bool,
    starts: int,
    sustained: float,
    signed_by: Sequence[Path | str] | None,
    timeout: float,
    memory_bytes: int | None,
    json_file: str | None,
) -> None:
    """Time one image at a time, in nanoseconds: the whole call from a float image, and the model alone.

    Every window of every row is a process of its own, in shuffled order. Ctrl-C ends the run and keeps what is done.
    """
    from edgedigits.benchmark.measure import measure
    from edgedigits.benchmark.text import benchmark_text
    from edgedigits.bundle.bundle import Bundle

    report = measure(
        Bundle(bundle, signed_by=signed_by),
        artifacts=artifacts,
        runtimes=runtimes,
        threads=threads,
        windows=5 if quick else windows,
        min_seconds=1.0 if quick else min_seconds,
        starts=min(starts, 3) if quick else starts,
        sustained_minutes=sustained,
        timeout=timeout,
        memory_bytes=memory_bytes,
        on_progress=progress_bar,
    )
    emit(report.to_json(), benchmark_text(report), json_file)
    if report.invalid:
        click.secho(f"INVALID: {report.invalid}", fg="red", bold=True, err=True)
    raise SystemExit(0 if report.passed else FAILED)
