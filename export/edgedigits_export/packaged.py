"""Make the bundles in the package: ``python -m edgedigits_export.packaged data [NAME...]``.

Each is the result of ``edgedigits train --recipe NAME`` and ``edgedigits export`` with the default seed. Arrays that
are equal to the reference bundle's are stored there only; :class:`edgedigits.bundle.bundle.Bundle` finds them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from edgedigits.bundle.bundle import MODELS, READER, REFERENCE, Bundle
from edgedigits.system.files import atomic_directory
from edgedigits_export.commands.export import export
from edgedigits_export.commands.train import train


def make(name: str, data: Path, models: Path = MODELS) -> None:
    """Train by the recipe of that name, export, and put the bundle into ``models``."""
    with TemporaryDirectory() as folder:
        built = Path(folder)
        train.main(["--recipe", name, "--data", str(data), "--out", str(built)], standalone_mode=False)
        model, bundle = built / "model.keras", built / "bundle"
        options = ["--model", str(model), "--data", str(data), "--name", name, "--out", str(bundle)]
        export.main(options, standalone_mode=False)
        put(bundle, models / name, models / REFERENCE)


def put(bundle: Path, target: Path, reference: Path) -> None:
    """Copy a bundle to ``target`` without the arrays that ``reference`` has as well."""
    shared = Bundle(reference).manifest.files if target != reference else {}
    left_out = {file for file, digest in Bundle(bundle).manifest.files.items() if shared.get(file) == digest}
    with atomic_directory(target) as folder:
        for file in bundle.iterdir():
            if file.name not in left_out:
                shutil.copyfile(file, folder / file.name)


def main(arguments: Sequence[str]) -> None:
    """Make the bundles named in ``DATA [NAME...]``, or all; the reference first, which the others use."""
    data, *names = arguments
    for name in names or (REFERENCE, READER):
        make(name, Path(data))


if __name__ == "__main__":
    main(sys.argv[1:])
