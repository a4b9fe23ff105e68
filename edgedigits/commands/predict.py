"""The command `edgedigits predict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgedigits.commands.options import (
    artifact_option,
    guards_foreign,
    json_option,
    memory_option,
    runtime_option,
    signature_options,
)
from edgedigits.errors import InputError
from edgedigits.system.terminal import FAILED, TROUBLE, emit, progress_bar, quiet_stderr

if TYPE_CHECKING:
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.pictures.predictions import Row
    from edgedigits.pictures.preprocessing import Look
    from edgedigits.runtimes.tensors import FloatArray

SHOWN_FROM = 20  # so many pictures take long enough for a progress bar


@dataclass(frozen=True)
class _Input:
    """What a source gave: the model's input (n,) and, of a picture, the steps to it; or why it gave none."""

    source: str
    row: FloatArray | None = None
    look: Look | None = None
    error: str = ""


@click.command(short_help="Read the digit in each picture.")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--index", "indices", multiple=True, type=int, metavar="N", help="Image N of the bundle; may be repeated."
)
@click.option("--bundle", type=click.Path(path_type=Path), help="A directory, a .zip, or notebook. [default: robust]")
@artifact_option
@runtime_option
@click.option("--ascii", "as_ascii", is_flag=True, help="Show what the model saw.")
@click.option("--explain", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw each step, side by side.")
@json_option
@click.option("--csv", "csv_file", metavar="FILE", help="Write the result as CSV; - is standard output.")
@click.option("--strict", is_flag=True, help="Exit with 1 if an answer is unsure.")
@signature_options
@click.option("--timeout", type=float, metavar="SECONDS", help="End it after so long. [default: never]")
@memory_option
@guards_foreign
def predict(
    images: Sequence[Path],
    indices: Sequence[int],
    bundle: Path | None,
    artifact: str | None,
    runtime: str | None,
    as_ascii: bool,
    explain: Path | None,
    json_file: str | None,
    csv_file: str | None,
    strict: bool,
    signed_by: Sequence[Path | str] | None,
) -> int:
    """Read the digit in each picture: any size, dark on light or light on dark, a photo, a scan or a drawing.

    IMAGES are files, folders, patterns or - for standard input. An answer is `sure`, or `unsure` with the reasons. A
    picture without an answer is told on standard error, the others are read all the same, and the exit status is 2.

    A bundle that is not the package's own is opened in a copy of the process: a runtime that dies of it is one line.
    """
    if not images and not indices:
        raise click.UsageError("nothing to read; give one or more pictures, or --index N")
    if json_file == "-" and csv_file == "-":
        raise click.UsageError("--json - and --csv - would both go to standard output; give one of them a file")
    from edgedigits.bundle.bundle import Bundle, reading_bundle

    opened = Bundle(bundle or reading_bundle(), signed_by=signed_by)
    given = list(_inputs(opened, images, indices))  # before the runtime starts, so that a bad one is told at once
    for each in given:
        if each.error:
            click.echo(f"edgedigits: {each.error}", err=True)
    read = any(each.row is not None for each in given)
    rows = _answers(opened, given, artifact, runtime) if read else _answers_of_none(given)
    if read or json_file or csv_file:
        _show(given, rows, as_ascii, json_file, csv_file)
    if explain and read:
        from edgedigits.pictures.explain import draw

        seen = [(each.look, each.row, row) for each, row in zip(given, rows, strict=True) if each.row is not None]
        draw(seen, explain)
    if any(each.error for each in given):
        return TROUBLE
    return FAILED if strict and any(row["status"] != "sure" for row in rows) else 0


def _inputs(bundle: Bundle, images: Sequence[Path], indices: Sequence[int]) -> Iterator[_Input]:
    """Every source in order; a picture that cannot be read is an error of its own, a wrong index ends all."""
    sources = _sources(images)
    rows = [(f"X[{index}]", bundle.input_row(index)) for index in indices]
    with progress_bar(shown=len(sources) >= SHOWN_FROM) as show:
        for done, source in enumerate(sources):
            show(done, len(sources))
            yield _look(source)
    for name, row in rows:
        yield _Input(name, row)


def _sources(images: Sequence[Path]) -> list[Path | InputError]:
    if not any(image.is_dir() or set("*?[") & set(str(image)) for image in images):
        return list(images)
    from edgedigits.pictures.inputs import expand

    return list(expand(images))


def _look(source: Path | InputError) -> _Input:
    if isinstance(source, InputError):
        return _Input(str(source).partition(": ")[0], error=str(source))
    from edgedigits.pictures.preprocessing import look

    name = "standard input" if str(source) == "-" else click.format_filename(source)
    try:
        if str(source) != "-":
            found = look(source, name)
        else:
            from edgedigits.pictures.inputs import read_stdin

            found = look(read_stdin(), name)
    except InputError as error:
        return _Input(name, error=" ".join(str(error).split()))
    return _Input(name, found.row, found)


def _answers(bundle: Bundle, given: Sequence[_Input], artifact: str | None, runtime: str | None) -> list[Row]:
    from edgedigits.classifier import Classifier
    from edgedigits.pictures.predictions import answer, unread

    with quiet_stderr():
        classifier = Classifier(bundle, artifact, runtime)
    rows = []
    with classifier:
        for each in given:
            if each.row is None:
                rows.append(unread(each.source, each.error))
                continue
            shares = classifier.probabilities(each.row).tolist()
            shape = each.look.doubts if each.look else ()
            rows.append(answer(each.source, shares, classifier.artifact.file, classifier.runtime, shape))
    return rows


def _answers_of_none(given: Sequence[_Input]) -> list[Row]:
    from edgedigits.pictures.predictions import unread

    return [unread(each.source, each.error) for each in given]


def _show(
    given: Sequence[_Input], rows: Sequence[Row], as_ascii: bool, json_file: str | None, csv_file: str | None
) -> None:
    """Lines to standard output, unless JSON or CSV goes there; and the files that were asked for."""
    from edgedigits.pictures.predictions import line, to_csv

    lines = []
    for each, row in zip(given, rows, strict=True):
        if each.row is None:
            continue
        if as_ascii:
            from edgedigits.pictures.preprocessing import to_ascii

            lines.append(to_ascii(each.row))
        lines.append(line(row))
    text = "\n".join(lines)
    if csv_file == "-":
        text = to_csv(rows).rstrip("\n")
    elif csv_file is not None:
        from edgedigits.system.files import write_text

        write_text(Path(csv_file), to_csv(rows))
    if text or json_file == "-":
        emit(rows, text, json_file)
    elif json_file is not None:
        from edgedigits.system.files import write_text
        from edgedigits.system.text import to_json

        write_text(Path(json_file), to_json(rows))
