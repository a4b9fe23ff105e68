"""Debian releases for other architectures: their packages are downloaded and unpacked, not installed."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pi_cache import cached

from edgedigits.kit import debian

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
LAYOUT = "1"  # increase it when the same packages are unpacked differently


class UnavailableError(Exception):
    """This machine cannot emulate that Pi; the message says why, and what would help."""


@dataclass(frozen=True)
class System:
    """A Debian release for an architecture, and what pip adds.

    Attributes:
        triplet: the folder of its libraries.
        qemu: the program that emulates it.
        packages: by name; their dependencies come with them.
        extra: our extra that pip installs: every runtime that has a wheel there.
        runtimes: their names.
        from_debian: packages that come from Debian because they have no wheel, so constraints.txt does not apply.
        pins: versions that constraints.txt leaves open for its Python.
    """

    suite: str
    architecture: str
    triplet: str
    qemu: str
    python: str
    packages: tuple[str, ...]
    extra: str
    runtimes: tuple[str, ...]
    from_debian: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as ``bookworm-arm64``."""
        return f"{self.suite}-{self.architecture}"

    def constraints(self) -> str:
        """The versions for pip."""
        lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.partition("==")[0].lower() not in self.from_debian]
        return "\n".join((*kept, *self.pins)) + "\n"

    def root(self) -> Path:
        """The unpacked packages, from the cache; UnavailableError if they cannot be downloaded."""
        parts = (LAYOUT, self.suite, self.architecture, *self.packages)
        return cached(f"root-{self.name}", parts, self._unpack)

    def _unpack(self, root: Path) -> None:
        why = debian.why_unavailable()
        if why is not None:
            raise UnavailableError(f"{why}; the packages of a Pi come from Debian")
        for name in ("bin", "lib", "sbin"):
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        with tempfile.TemporaryDirectory(prefix="edgedigits-apt-") as name:
            for package in self._download(Path(name)):
                tar = shlex.join(["tar", "--extract", "--keep-directory-symlink", "--directory", str(root)])
                unpack = f"dpkg-deb --fsys-tarfile {shlex.quote(str(package))} | {tar}"
                subprocess.run(["sh", "-c", unpack], check=True)
        for library in ("blas", "lapack"):  # Debian's scripts, which were not run, choose among alternatives
            for path in root.glob(f"usr/lib/{self.triplet}/{library}/lib{library}.so.3"):
                (path.parent.parent / path.name).symlink_to(f"{library}/{path.name}")

    def _download(self, state: Path) -> list[Path]:
        """The .deb files of the packages and all their dependencies."""
        options = debian._private_state(state, self.architecture, self.suite)
        errors = debian._apt([*options, "update"], state).stderr
        install = ["install", "--yes", "--download-only", "--no-install-recommends", *self.packages]
        done = debian._apt([*options, *install], state)
        if done.returncode:
            raise UnavailableError(f"{self.name}: apt-get: {' '.join((errors + done.stderr).split()[-40:])}")
        return sorted((state / "cache" / "archives").glob("*.deb"))
