"""Download Debian packages for another machine, where no wheel exists (NumPy and Pillow on a 32-bit ARM).

Uses this machine's apt and its sources, but a temporary folder for all of apt's state: it needs no root and changes
nothing on the system.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from edgedigits.errors import EdgeDigitsError

# Left out with their dependencies: every system has them (libstdc++ comes with apt), and no Python code needs perl.
_BASE = ("python3", "apt", "util-linux", "perl")
_KEYRINGS = ("debian-archive-keyring", "raspbian-archive-keyring", "raspberrypi-archive-keyring")


def why_unavailable() -> str | None:
    """Why this machine cannot download Debian packages; None if it can."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "this machine has no apt-get"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if release.get("ID") not in ("debian", "raspbian") or not release.get("VERSION_CODENAME"):
        return "this machine's apt sources are not Debian's"
    return None


def download(packages: Sequence[str], architecture: str, suite: str, folder: Path) -> None:
    """Download the packages, and their dependencies beyond a system with Python, into ``folder``.

    The architecture is such as ``"armhf"``; the suite, such as ``"bookworm"``, can differ from this machine's.
    """
    with TemporaryDirectory() as scratch:
        options = _private_state(Path(scratch), architecture, suite)
        errors = _apt([*options, "update"], folder).stderr

        def run(*arguments: str) -> str:
            done = _apt([*options, *arguments], folder)
            if done.returncode:
                raise _explain(packages, errors + done.stderr)
            return done.stdout

        def names(*wanted: str) -> list[str]:
            """All packages that apt would install; it prints lines of 'URI' NAME_VERSION_ARCHITECTURE.deb SIZE SUM."""
            listing = run("install", "--print-uris", "--no-install-recommends", *wanted)
            return re.findall(r"^'\S+' ([^_\s]+)_", listing, flags=re.MULTILINE)

        base = set(names(*_BASE))
        run("download", *(name for name in names(*_BASE, *packages) if name not in base))


def unpacked_bytes(package: Path) -> int:
    """The unpacked size of a .deb, as it states it."""
    command = ["dpkg-deb", "--field", str(package), "Installed-Size"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024


def _private_state(state: Path, architecture: str, suite: str) -> list[str]:
    """apt options for an empty system with its state in ``state``, and this machine's sources for another release."""
    for name in ("lists/partial", "cache/archives/partial", "keys"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    keys = [key for name in _KEYRINGS for key in Path("/usr/share/keyrings").glob(f"{name}.*")]
    for key in (*Path("/etc/apt/trusted.gpg.d").glob("*"), *keys):
        (state / "keys" / key.name).symlink_to(key)
    (state / "sources.list").write_text("\n".join(_sources(suite, state)) + "\n", encoding="utf-8")
    settings = [
        f"APT::Architecture={architecture}",
        f"APT::Architectures={architecture}",
        "APT::Sandbox::User=root",  # run by root, apt would switch to a user who cannot write to `state`
        "#clear=APT::Update::Post-Invoke",  # hooks of other packages are about the system's own state
        "#clear=APT::Update::Post-Invoke-Success",
        "Acquire::Languages=none",
        "Acquire::Retries=2",
        f"Dir::State={state}",
        f"Dir::State::status={state}/status",
        f"Dir::Cache={state}/cache",
        f"Dir::Cache::archives={state}/cache/archives/",  # --print-uris leaves out cached packages
        "Dir::Cache::pkgcache=pkgcache.bin",  # containers often disable it, which makes each call parse everything
        "Dir::Cache::srcpkgcache=srcpkgcache.bin",
        f"Dir::Etc::SourceList={state}/sources.list",
        "Dir::Etc::SourceParts=/dev/null",
        "Dir::Etc::Preferences=/dev/null",
        "Dir::Etc::PreferencesParts=/dev/null",
        f"Dir::Etc::TrustedParts={state}/keys",
    ]
    return [part for setting in settings for part in ("-o", setting)]


def _sources(suite: str, folder: Path) -> list[str]:
    """Lines of a sources.list: this machine's sources of its own release, for ``suite`` instead."""
    own = platform.freedesktop_os_release()["VERSION_CODENAME"]
    listing = _apt(["indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"], folder)
    lines = []
    for line in listing.stdout.splitlines():
        uri, release, component = line.split("|")
        if " " not in uri and component == "main" and release in (own, f"{own}-updates", f"{own}-security"):
            lines.append(f"deb {uri} {release.replace(own, suite)} main")
    return list(dict.fromkeys(lines))


def _apt(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["apt-get", "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=folder, env=environment)


def _explain(packages: Sequence[str], errors: str) -> EdgeDigitsError:
    found = re.search(r"^[WE]: (.{1,300})", errors, flags=re.MULTILINE)
    why = found[1] if found else "no reason given"
    if "No space left on device" in errors:
        return EdgeDigitsError(f"apt-get ran out of disk space ({why}); free some, or set TMPDIR to a larger folder")
    return EdgeDigitsError(
        f"apt-get could not download {', '.join(packages)} ({why}); check the network and the apt sources"
    )
