"""The device's commands: parse, call, print.

Nothing heavier than click is imported before a command runs, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgedigits import __version__
from edgedigits.errors import InputError
from edgedigits.terminal import FAILED, TROUBLE, emit, progress, progress_bar, run_and_exit, without_chatter

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from edgedigits.bundle import Bundle
    from edgedigits.classifier import Classifier
    from edgedigits.tensors import FloatArray

ENTRY_POINTS = "edgedigits.commands"


class _Commands(click.Group):
    """The device's commands, and those that other packages (the workstation side) add through entry points."""

    def _added(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=ENTRY_POINTS)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._added()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        own = super().get_command(ctx, name)
        if own is not None:
            return own
        point = self._added().get(name)
        if point is None:
            return None
        command: click.Command = point.load()
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgedigits")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Export a small digit classifier, prove on each device that it answers as it did in training, and time it.

    BUNDLE is a directory or .zip made by `edgedigits export`; without one, the bundle inside the package is used. The
    exit status is 0 if what was asked for holds, 1 if a check failed, 2 for trouble.
    """


bundle_argument = click.argument("bundle", required=False, type=click.Path(path_type=Path))
json_option = click.option(
    "--json",
    "json_file",
    metavar="FILE",
    help="Write the result as JSON; - is standard output, and nothing else goes there.",
)
artifact_option = click.option("--artifact", help="Such as int8.tflite, or int8.")
runtime_option = click.option("--runtime", help="litert, tflite-runtime, onnxruntime or tensorflow.")
artifacts_option = click.option("--artifact", "artifacts", multiple=True, help="Only this artifact; may be repeated.")
runtimes_option = click.option("--runtime", "runtimes", multiple=True, help="Only this runtime; may be repeated.")
timeout_option = click.option("--timeout", default=300.0, show_default=True, help="Seconds for one row.")


@cli.command(short_help="Prove that every artifact answers alike.")
@bundle_argument
@artifacts_option
@runtimes_option
@click.option("--kernels", multiple=True, help="Only this kernel set: default, no-delegates, reference, unoptimized.")
@click.option("--batch", default=1, show_default=True, help="Images per call.")
@click.option(
    "--allow-mismatches", default=0, show_default=True, metavar="N", help="Let int8 rows pass with up to N mismatches."
)
@click.option("--workers", type=int, help="Processes at once. [default: one a core]")
@click.option("--unseen", is_flag=True, help="Run on DATA/unseen.npz, digits never trained or tuned on; only reported.")
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="For --unseen.")
@timeout_option
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
    timeout: float,
    json_file: str | None,
) -> None:
    """Hold every artifact, in every runtime and on every kernel set, against the trained model's own answers.

    Each row runs in a process of its own over all images of the bundle. A runtime that is not installed is a row that
    says so; a float artifact must answer alike on every image.
    """
    from edgedigits.bundle import Bundle
    from edgedigits.parity import check_parity
    from edgedigits.report import parity_text

    report = check_parity(
        Bundle(bundle),
        artifacts=artifacts,
        runtimes=runtimes,
        kernels=kernels,
        allow_mismatches=allow_mismatches,
        batch=batch,
        workers=workers or os.cpu_count() or 1,
        unseen=data if unseen else None,
        timeout=timeout,
        on_row=lambda row: progress(f"{row.artifact} in {row.runtime} ({row.kernels}): {row.status}"),
    )
    emit(report.to_json(), parity_text(report), json_file)
    raise SystemExit(0 if report.passed else FAILED)


@cli.command(short_help="Time one image at a time.")
@bundle_argument
@artifacts_option
@runtimes_option
@click.option("--threads", default=1, show_default=True, help="Threads that the runtime may use.")
@click.option("--windows", default=5, show_default=True, help="Fresh processes a row.")
@click.option("--min-seconds", default=10.0, show_default=True, help="Seconds of each window.")
@click.option("--quick", is_flag=True, help="5 windows of 1 second, 3 cold starts.")
@click.option("--starts", default=5, show_default=True, help="Cold starts a runtime.")
@click.option("--sustained", default=0.0, metavar="MINUTES", help="Then run the first row on, a point a minute.")
@timeout_option
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
    timeout: float,
    json_file: str | None,
) -> None:
    """Time one image at a time, in nanoseconds: the whole call from a float image, and the model alone.

    Every window of every row is a process of its own, in shuffled order. Ctrl-C ends the run and keeps what is done.
    """
    from edgedigits.benchmark import measure
    from edgedigits.bundle import Bundle
    from edgedigits.report import benchmark_text

    report = measure(
        Bundle(bundle),
        artifacts=artifacts,
        runtimes=runtimes,
        threads=threads,
        windows=5 if quick else windows,
        min_seconds=1.0 if quick else min_seconds,
        starts=min(starts, 3) if quick else starts,
        sustained_minutes=sustained,
        timeout=timeout,
        on_progress=progress_bar,
    )
    emit(report.to_json(), benchmark_text(report), json_file)
    if report.invalid:
        click.secho(f"INVALID: {report.invalid}", fg="red", bold=True, err=True)
    raise SystemExit(0 if report.passed else FAILED)


def _fraction(ctx: click.Context, option: click.Parameter, value: str) -> float:
    """5% and 0.05 are one limit; a bare 5 is refused, for it would mean 500 %."""
    text = value.strip()
    try:
        number = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= (10.0 if text.endswith("%") else 1.0):  # NaN is not
        raise click.BadParameter(f"{value!r} is no limit; expected such as 5% or 0.05")
    return number


@cli.command(short_help="Find what became slower.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--max-regress",
    default="5%",
    show_default=True,
    metavar="LIMIT",
    callback=_fraction,
    help="How much slower a row may be, such as 5% or 0.05.",
)
@click.option("--across-machines", is_flag=True, help="Compare though the processors differ.")
@json_option
def compare(old: Path, new: Path, max_regress: float, across_machines: bool, json_file: str | None) -> None:
    """Hold two results of `edgedigits benchmark --json` against each other, row by row.

    A row regresses if it is slower by more than the limit and the rank test over its windows has p < 0.05; the exit
    status is then 1, also if a row ran in OLD and fails in NEW. It is 2 if too few windows leave that open.
    """
    from edgedigits import compare as comparing
    from edgedigits.results import load_benchmark

    found = comparing.compare(
        load_benchmark(old), load_benchmark(new), max_regress=max_regress, across_machines=across_machines
    )
    emit(found.to_json(), comparing.comparison_text(found), json_file)
    raise SystemExit(FAILED if not found.passed else 0 if found.decided else TROUBLE)


@cli.command(short_help="Write a benchmark as a page, with its verdict.")
@click.argument("bench", type=click.Path(path_type=Path))
@click.argument("parity_file", metavar="[PARITY]", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    default=Path("report.html"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="The page: one file that needs neither network nor scripts.",
)
def report(bench: Path, parity_file: Path | None, output: Path) -> None:
    """Say which artifact and runtime to ship on this machine, and show why, in one self-contained HTML page.

    BENCH is a file of `edgedigits benchmark --json`, PARITY one of `edgedigits parity --json`; without it nothing is
    known of the answers, and the page says so.
    """
    from edgedigits.files import write_text
    from edgedigits.html import page
    from edgedigits.results import load_benchmark, load_parity
    from edgedigits.verdict import recommend

    measured = load_benchmark(bench)
    proved = None if parity_file is None else load_parity(parity_file)
    write_text(output, page(measured, proved))
    click.echo(f"{output}: {recommend(measured, proved).headline}")


@cli.command(short_help="Read the digit in each picture.")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--index", "indices", multiple=True, type=int, metavar="N", help="Image N of the bundle; may be repeated."
)
@click.option("--bundle", type=click.Path(path_type=Path), help="A directory or .zip; default: the one in the package.")
@artifact_option
@runtime_option
@click.option("--ascii", "as_ascii", is_flag=True, help="Show what the model saw.")
@json_option
def predict(
    images: Sequence[Path],
    indices: Sequence[int],
    bundle: Path | None,
    artifact: str | None,
    runtime: str | None,
    as_ascii: bool,
    json_file: str | None,
) -> None:
    """Read the digit in each picture: PNG, JPEG or BMP of any size, dark on light or light on dark."""
    if not images and not indices:
        raise click.UsageError("nothing to read; give one or more pictures, or --index N")
    from edgedigits.bundle import Bundle
    from edgedigits.classifier import Classifier

    opened = Bundle(bundle)
    inputs = list(_inputs(opened, images, indices))  # before the runtime starts, so that a bad one is told at once
    with without_chatter():
        classifier = Classifier(opened, artifact, runtime)
    with classifier:
        results = [_prediction(classifier, source, row) for source, row in inputs]
    lines = []
    for (_, row), found in zip(inputs, results, strict=True):
        ranked = sorted(range(len(found["probabilities"])), key=lambda c: -found["probabilities"][c])
        first, second = (f"{c} {found['probabilities'][c]:.1%}" for c in ranked[:2])
        if as_ascii:
            from edgedigits.images import to_ascii

            lines.append(to_ascii(row))
        lines.append(f"{found['source']}: {first} (then {second}; {found['artifact']} in {found['runtime']})")
    emit(results, "\n".join(lines), json_file)


def _inputs(bundle: Bundle, images: Iterable[Path], indices: Iterable[int]) -> Iterable[tuple[str, FloatArray]]:
    for path in images:
        from edgedigits.images import read_picture

        yield str(path), read_picture(path)
    for index in indices:
        yield f"X[{index}]", bundle.input_row(index)


def _prediction(classifier: Classifier, source: str, row: FloatArray) -> dict[str, Any]:
    from edgedigits.classifier import softmax

    probabilities = softmax(classifier.logits(row)).tolist()
    return {
        "source": source,
        "digit": probabilities.index(max(probabilities)),
        "probabilities": probabilities,
        "artifact": classifier.artifact.file,
        "runtime": classifier.runtime,
    }


@cli.command(short_help="Show what a bundle holds.")
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit status."""
    run_and_exit(cli, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    main()
