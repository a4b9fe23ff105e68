"""A cache of folders, each by a hash of what it was made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# As the XDG base directories say, unless told otherwise.
CACHE = Path(
    os.environ.get("EDGEDIGITS_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "edgedigits")
).absolute()


def cached(name: str, parts: tuple[str, ...], make: Callable[[Path], None]) -> Path:
    """The folder made from ``parts``; ``make(path)`` makes it where it is not there yet, whole or not at all."""
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    target = CACHE / f"{name}-{key}"
    if not target.exists():
        with _alone(name):
            if not target.exists():
                with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=CACHE) as beside:
                    make(Path(beside, "new"))
                    Path(beside, "new").rename(target)
    return target


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Wait for whoever makes the same thing, in this process or in another."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with Path(CACHE, f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree, by hard links where both are on one file system: pip replaces files, it never writes into them."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True)
