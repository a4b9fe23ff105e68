"""How the bundles inside the package were made: ``python -m edgedigits_export.packaged data [NAME...]``.

Each is what ``edgedigits train --recipe NAME`` and ``edgedigits export`` make at the default seed. What a bundle shares
with the reference, byte for byte, is stored there only; :class:`edgedigits.bundle.bundle.Bundle` finds it.
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
    """Train by the recipe of that name, export, and put the bundle into ``models``, less what the reference holds."""
    with TemporaryDirectory() as folder:
        built = Path(folder)
        train.main(["--recipe", name, "--data", str(data), "--out", str(built)], standalone_mode=False)
        model, bundle = built / "model.keras", built / "bundle"
        options = ["--model", str(model), "--data", str(data), "--name", name, "--out", str(bundle)]
        export.main(options, standalone_mode=False)
        put(bundle, models / name, models / REFERENCE)


def put(bundle: Path, target: Path, reference: Path) -> None:
    """Copy a whole bundle to ``target``, whole or not at all, leaving out the arrays that ``reference`` has as well."""
    shared = Bundle(reference).manifest.files if target != reference else {}
    left_out = {file for file, digest in Bundle(bundle).manifest.files.items() if shared.get(file) == digest}
    with atomic_directory(target) as folder:
        for file in bundle.iterdir():
            if file.name not in left_out:
                shutil.copyfile(file, folder / file.name)


def main(arguments: Sequence[str]) -> None:
    """``DATA [NAME...]``: all of them, or those that are named; the reference first, since others lean on it."""
    data, *names = arguments
    for name in names or (REFERENCE, READER):
        make(name, Path(data))


if __name__ == "__main__":
    main(sys.argv[1:])
