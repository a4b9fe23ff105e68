"""Kits for devices, made once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shlex
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.targets import Target, choose_runtime
from edgedigits.runtimes.wheels import Version, version_text


@dataclass(frozen=True)
class StoredKit:
    """A kit in the cache: ``needed_bytes`` is the free space that its installation takes, the kit included."""

    path: Path
    bytes: int
    sha256: str
    runtime: str
    glibc: tuple[int, ...]
    needed_bytes: int


def cache_folder() -> Path:
    """Where kits are kept: ``$XDG_CACHE_HOME/edgedigits/kits``, by default in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "edgedigits", "kits")


def find_or_make(
    target: Target, python: Version, runtime: str | None, on_progress: Callable[[str], None] = lambda line: None
) -> StoredKit:
    """The kit with the packaged bundles for a device; raises as :func:`edgedigits.kit.make.make_kit`.

    A kit in the cache is used as long as our package has not changed.
    """
    name, wheel = choose_runtime(target, python, runtime)
    of_kind = f"{target.name}-{version_text(python)}-{name}-"
    key = hashlib.sha256(f"{_package_key()} {wheel}".encode()).hexdigest()[:16]
    path = cache_folder() / f"{of_kind}{key}.zip"
    if not path.exists():
        from edgedigits.kit.make import make_kit

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise EdgeDigitsError(f"cannot write {path.parent}: {cause.strerror}; set XDG_CACHE_HOME") from cause
        make_kit(target.name, path, python=version_text(python), runtime=name, on_progress=on_progress)
        for old in path.parent.glob(f"{of_kind}*.zip"):
            if old != path:
                old.unlink()
    return _describe(path)


def _describe(path: Path) -> StoredKit:
    try:
        with zipfile.ZipFile(path) as archive:
            lines = archive.read("kit.conf").decode().splitlines()
    except (zipfile.BadZipFile, KeyError) as cause:
        raise EdgeDigitsError(f"{path} is damaged ({cause}); delete it and run this again") from cause
    settings = {key: "".join(shlex.split(value)) for key, _, value in (line.partition("=") for line in lines)}
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())
    return StoredKit(
        path,
        size,
        digest.hexdigest(),
        settings["runtime"],
        tuple(map(int, settings["glibc"].split("."))),
        size + int(settings["need_kb"]) * 1024,
    )


@cache
def _package_key() -> str:
    """Changes whenever a kit would."""
    from edgedigits.bundle.bundle import DEFAULT_BUNDLE, MANIFEST
    from edgedigits.kit.own_wheel import package_hash

    return f"{package_hash()} {hashlib.sha256((DEFAULT_BUNDLE / MANIFEST).read_bytes()).hexdigest()}"
