"""Keys, and a bundle signed with one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.bundle.signature import load_private, make_keys
from edgedigits.bundle.signing import sign_bundle


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs of keys."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        make_keys(folder / name)
    return folder


@pytest.fixture(scope="session")
def originals(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A signed bundle as a directory and as a .zip."""
    folder = tmp_path_factory.mktemp("signed")
    key = load_private(keys / "mine.key", str)
    made = {"directory": folder / "bundle", "zip": folder / "bundle.zip"}
    for path in made.values():
        sign_bundle(Bundle(), key, path)
    return made
