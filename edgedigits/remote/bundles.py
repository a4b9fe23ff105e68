"""The bundle that the commands run on: a packaged one is in the kit, any other is sent as one .zip."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from edgedigits.remote.visit import SentBundle
from edgedigits.system.files import write_zip


def bundle_to_send(path: Path) -> SentBundle:
    """Check a bundle, given by its path or its name inside the package; BundleError if it is damaged."""
    from edgedigits.bundle.bundle import MODELS, Bundle
    from edgedigits.kit.make import bundle_files

    bundle = Bundle(path)
    if bundle.path.parent == MODELS:
        return SentBundle(bundle.path.name)
    with TemporaryDirectory() as folder:
        archive = Path(folder, "bundle.zip")
        write_zip(archive, bundle_files(bundle))
        return SentBundle(f"{bundle.path.stem}.zip", archive.read_bytes())
