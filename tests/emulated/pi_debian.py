"""Debian releases for other architectures: their packages, downloaded by a private apt and unpacked, not installed."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pi_cache import cached

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")  # of every release, also of later ones
LAID_OUT = "1"  # another number where the same packages are unpacked otherwise


class UnavailableError(Exception):
    """A Pi cannot be had on this machine; the message says why in one line, and what would help."""


@dataclass(frozen=True)
class System:
    """What is on the card: a Debian release for an architecture, and what pip adds.

    Attributes:
        architecture: Debian's name of it.
        triplet: the folder of its libraries.
        qemu: the program that runs it.
        packages: by name, in the version that the release has; their dependencies come with them.
        extra: our extra that is installed: every runtime that has a wheel there.
        from_debian: packages that come from Debian as the index has no wheel, so constraints.txt does not hold.
        pins: what constraints.txt leaves open on its Python.
    """

    suite: str
    architecture: str
    triplet: str
    qemu: str
    python: str
    packages: tuple[str, ...]
    extra: str
    from_debian: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as ``bookworm-arm64``."""
        return f"{self.suite}-{self.architecture}"

    def constraints(self) -> str:
        """The versions that pip is held to."""
        lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.partition("==")[0].lower() not in self.from_debian]
        return "\n".join((*kept, *self.pins)) + "\n"

    def root(self) -> Path:
        """The packages, unpacked, from the cache; UnavailableError where they cannot be had."""
        parts = (LAID_OUT, self.suite, self.architecture, *self.packages)
        return cached(f"root-{self.name}", parts, self._unpack)

    def _unpack(self, root: Path) -> None:
        for program in ("apt-get", "dpkg-deb"):
            if shutil.which(program) is None:
                raise UnavailableError(f"no {program}: the packages of a Pi are had through Debian's tools")
        for name in ("bin", "lib", "sbin"):
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        with tempfile.TemporaryDirectory(prefix="edgedigits-apt-") as name:
            for package in self._download(Path(name)):
                tar = shlex.join(["tar", "--extract", "--keep-directory-symlink", "--directory", str(root)])
                unpack = f"dpkg-deb --fsys-tarfile {shlex.quote(str(package))} | {tar}"
                _call("sh", "-c", unpack, what=f"{package.name} cannot be unpacked")
        for library in ("blas", "lapack"):  # Debian's scripts, which were not run, choose among alternatives
            for path in root.glob(f"usr/lib/{self.triplet}/{library}/lib{library}.so.3"):
                (path.parent.parent / path.name).symlink_to(f"{library}/{path.name}")

    def _download(self, apt: Path) -> list[Path]:
        """The .deb files, with an apt that has its own state in that folder and this machine's settings."""
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (apt / folder).mkdir(parents=True)
        (apt / "status").touch()
        (apt / "sources.list").write_text(_sources(self.suite), encoding="utf-8")
        options = {
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "APT::Sandbox::User": "root",  # else another user downloads, who may not write here
            "Acquire::Languages": "none",
            "Dir::Cache": apt / "cache",
            "Dir::Etc::SourceList": apt / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State": apt / "state",
            "Dir::State::Status": apt / "status",
        }
        get = ["apt-get", "--quiet", "--quiet", *(f"--option={key}={value}" for key, value in options.items())]
        _call(*get, "update", what=f"{self.name}: the list of packages cannot be had")
        install = ["install", "--yes", "--download-only", "--no-install-recommends", *self.packages]
        _call(*get, *install, what=f"{self.name}: a package cannot be had")
        return sorted((apt / "cache" / "archives").glob("*.deb"))


def _sources(suite: str) -> str:
    """A sources.list for that release, from wherever this machine has its own Debian packages."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"]
    found = [line.split("|") for line in _call(*targets, what="apt does not tell its sources").splitlines()]
    system = platform.freedesktop_os_release()
    own = [uri for uri, release, component in found if (release, component) == (system.get("VERSION_CODENAME"), "main")]
    if system["ID"] != "debian" or not own or not KEYS.exists():
        raise UnavailableError("the packages of a Pi come from Debian's archive, which this machine's apt does not use")
    return f"deb [signed-by={KEYS}] {own[0]} {suite} main\n"


def _call(*command: str, what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"{what}: {' '.join(done.stderr.split()[-40:])}")
    return done.stdout
