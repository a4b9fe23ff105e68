"""The command `edgedigits predict`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgedigits.commands.options import artifact_option, json_option, runtime_option
from edgedigits.terminal import emit, without_chatter

if TYPE_CHECKING:
    from edgedigits.bundle import Bundle
    from edgedigits.classifier import Classifier
    from edgedigits.tensors import FloatArray


@click.command(short_help="Read the digit in each picture.")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--index", "indices", multiple=True, type=int, metavar="N", help="Image N of the bundle; may be repeated."
)
@click.option("--bundle", type=click.Path(path_type=Path), help="A directory, a .zip, or notebook. [default: robust]")
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
    from edgedigits.bundle import Bundle, reading_bundle
    from edgedigits.classifier import Classifier

    opened = Bundle(bundle or reading_bundle())
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


def _inputs(bundle: Bundle, images: Iterable[Path], indices: Iterable[int]) -> Iterator[tuple[str, FloatArray]]:
    for path in images:
        from edgedigits.images import read_picture

        yield str(path), read_picture(path)
    for index in indices:
        yield f"X[{index}]", bundle.input_row(index)


def _prediction(classifier: Classifier, source: str, row: FloatArray) -> dict[str, Any]:
    probabilities = classifier.probabilities(row).tolist()
    return {
        "source": source,
        "digit": probabilities.index(max(probabilities)),
        "probabilities": probabilities,
        "artifact": classifier.artifact.file,
        "runtime": classifier.runtime,
    }
