"""Make kits, and a device to install them on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.make import Kit, make_kit

PYTHON = "{}.{}".format(*sys.version_info[:2])
# Without the virtual environment: a device has nothing but Python.
BARE_PYTHON = Path(sys.base_prefix) / "bin" / f"python{PYTHON}"
OFFLINE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",  # the discard port, where nothing listens
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_NO_CACHE_DIR": "1",
}
# A network namespace has no network; ordinary users also need a user namespace, which some systems forbid.
NAMESPACES = (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"])
APART = next((n for n in NAMESPACES if shutil.which(n[0]) and not subprocess.run([*n, "true"]).returncode), [])
Run = Callable[..., subprocess.CompletedProcess[str]]
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kits are made and installed on Linux")


def make(folder: Path, target: str, **options: Any) -> Kit:
    """Make a kit; without a network the test is skipped, except in CI."""
    try:
        return make_kit(target, folder / "kit.zip", **options)
    except EdgeDigitsError as error:
        if "cannot reach" in str(error) and os.environ.get("CI") != "true":
            pytest.skip(f"making a kit needs a network: {error}")
        raise


def read(kit: Kit) -> dict[str, bytes]:
    with zipfile.ZipFile(kit.path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@dataclass(frozen=True)
class Device:
    """An unpacked kit, and an empty place to install it to."""

    kit: Path
    home: Path

    def install(
        self, *options: str, python: Path = BARE_PYTHON, preexec_fn: Callable[[], object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(self.kit / "install.sh"), "--python", str(python), *options]
        return self.offline(*command, preexec_fn=preexec_fn)

    def offline(
        self, *command: str, preexec_fn: Callable[[], object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run without a network if the system allows that, and without our environment."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home)}
        return subprocess.run(
            [*APART, *command], capture_output=True, text=True, cwd=self.home, env=environment, preexec_fn=preexec_fn
        )

    def change(self, name: str, content: bytes, *, listed: bool = False) -> None:
        """Replace a file of the kit; with ``listed`` its checksum too."""
        old = hashlib.sha256((self.kit / name).read_bytes()).hexdigest()
        (self.kit / name).unlink()  # a link to the file that all tests share
        (self.kit / name).write_bytes(content)
        if listed:
            sums = (self.kit / "SHA256SUMS").read_text().replace(old, hashlib.sha256(content).hexdigest())
            (self.kit / "SHA256SUMS").unlink()
            (self.kit / "SHA256SUMS").write_text(sums)

    def amend(self, key: str, value: str) -> None:
        """Change a setting in kit.conf."""
        lines = (self.kit / "kit.conf").read_text().splitlines()
        changed = [f"{key}='{value}'" if line.startswith(f"{key}=") else line for line in lines]
        assert changed != lines
        self.change("kit.conf", ("\n".join(changed) + "\n").encode(), listed=True)

    @property
    def written(self) -> list[str]:
        """The names in the device's home."""
        return sorted(path.name for path in self.home.iterdir())


def device_with(unpacked: Path, tmp_path: Path) -> Device:
    shutil.copytree(unpacked, tmp_path / "kit", copy_function=os.link)
    (tmp_path / "home").mkdir()
    return Device(tmp_path / "kit", tmp_path / "home")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The error message, one line."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("install.sh: ")
    assert done.stderr.count("\n") == 1
    return done.stderr
