"""LiteRT.js, the runtime of Google's LiteRT for browsers: obtain its npm package and take what the page needs."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from edgedigits.errors import EdgeDigitsError, InputError, RuntimeUnavailableError
from edgedigits.system.limits import RefusedError, read_file

PACKAGE, VERSION = "@litertjs/core", "2.5.3"
SHA512 = (
    "3e51a66cc3aaf568ad5fb14ed2385b749c3d1ad85ab6ccae0905e34edff0259a3414b6b0e3cab8b73f08c2a82a08892f8981abf4e1432f59029"
    "cde27cd6a3225"
)
MOST_BYTES = 100_000_000
WASM = tuple(f"litert_wasm{kind}_internal.{suffix}" for kind in ("", "_compat") for suffix in ("js", "wasm"))
LICENSE = Path(__file__).parent / "apache-2.0.txt"  # the package names this license, and does not contain it


def read_package(path: Path | None) -> dict[str, bytes]:
    """The files of LiteRT.js by name, from its .tgz or, without one, from `npm pack`.

    Raises:
        RuntimeUnavailableError: npm is not installed.
        EdgeDigitsError: npm cannot obtain the package.
        InputError: the .tgz cannot be read, or is not the release that was tested.
    """
    if path is None:
        with TemporaryDirectory() as folder:
            return _unpack(npm_pack(Path(folder)))
    return _unpack(path)


def npm_pack(folder: Path) -> Path:
    """Obtain the package with npm and return its .tgz in ``folder``."""
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeUnavailableError(
            "LiteRT.js is obtained with npm, which is not installed; install npm, or run "
            f"`npm pack {PACKAGE}@{VERSION}` elsewhere and give its file with --tgz"
        )
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", str(folder), "--loglevel=error"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    found = list(folder.glob("*.tgz"))
    if done.returncode or not found:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        cause = lines[0] if lines else "no reason given"
        raise EdgeDigitsError(
            f"npm cannot obtain {PACKAGE} {VERSION} ({cause[:200]}); check the network, or give the file with --tgz"
        )
    return found[0]


def _unpack(path: Path) -> dict[str, bytes]:
    try:
        content = read_file(path, MOST_BYTES)
    except (OSError, RefusedError) as cause:
        raise InputError(f"{path}: cannot be read ({cause}); expected the file that `npm pack` writes") from cause
    if hashlib.sha512(content).hexdigest() != SHA512:
        raise InputError(f"{path}: not {PACKAGE} {VERSION}; run `npm pack {PACKAGE}@{VERSION}` and give its file")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:

        def member(name: str) -> bytes:
            stream = archive.extractfile(f"package/{name}")
            assert stream is not None  # the checksum is that of a package that has it
            return stream.read()

        files = {name: member(f"wasm/{name}") for name in WASM}
        return {**files, "package.json": member("package.json"), "LICENSE.txt": LICENSE.read_bytes()}
