"""A cache of folders, each named by a hash of what it was made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

CACHE = Path(
    os.environ.get("EDGEDIGITS_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "edgedigits")
).absolute()


def cached(name: str, parts: tuple[str, ...], make: Callable[[Path], None]) -> Path:
    """The folder for ``parts``; ``make(path)`` writes it if it does not exist, completely or not at all."""
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    target = CACHE / f"{name}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with Path(CACHE, f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another thread or process may be making it
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=CACHE) as beside:
                make(Path(beside, "new"))
                Path(beside, "new").rename(target)
    return target


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree, as hard links on the same file system: pip replaces files and never writes into them."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True)
