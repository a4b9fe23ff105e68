"""An ssh server with some hosts, a kit for them, and a way to run `edgedigits remote`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kits import BARE_PYTHON
from sshd import MISSING, Host, Server

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.targets import TARGETS
from edgedigits.remote.kits import find_or_make

# The quickest of all kits, and a check of a second.
KIT = ("--runtime", "numpy")
CHECK = ("parity", "--artifact", "float32.tflite", "--batch", "500")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the kit for this machine; without a network the test is skipped, except in CI."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        try:
            find_or_make(TARGETS["linux-64"], sys.version_info[:2], "numpy")
        except EdgeDigitsError as error:
            if "cannot reach" in str(error) and os.environ.get("CI") != "true":
                pytest.skip(f"making a kit needs a network: {error}")
            raise
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server; without OpenSSH the test is skipped, or fails if it is required."""
    if MISSING:
        if os.environ.get("EDGEDIGITS_SSHD") == "required":
            pytest.fail(f"EDGEDIGITS_SSHD=required, and it needs {', '.join(MISSING)}", pytrace=False)
        pytest.skip(f"needs {', '.join(MISSING)}")
    server = Server(tmp_path_factory.mktemp("ssh"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def without_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs: a Python whose standard library lacks venv, pip and ensurepip, as Debian's does."""
    top = tmp_path_factory.mktemp("python")
    library = Path(os.__file__).parent
    copy = top / "lib" / library.name
    copy.mkdir(parents=True)
    for path in library.iterdir():
        if path.name not in ("venv", "ensurepip", "site-packages", "dist-packages"):
            (copy / path.name).symlink_to(path)
    (top / "bin").mkdir()
    shutil.copy(BARE_PYTHON.resolve(), top / "bin" / "python3")
    return top / "bin"


@pytest.fixture(scope="session")
def one(server: Server) -> Host:
    return server.add_host("one")


@pytest.fixture(scope="session")
def two(server: Server, without_venv: Path) -> Host:
    """A host whose Python lacks venv."""
    return server.add_host("two", without_venv)


@pytest.fixture(scope="session")
def temporary() -> Iterator[Path]:
    """A temporary folder with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def start(server: Server, cache: Path, temporary: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `edgedigits remote` in an empty folder."""

    def run(*arguments: str) -> subprocess.Popen[str]:
        ours = {"EDGEDIGITS_SSH": f"ssh -F {server.config}", "XDG_CACHE_HOME": str(cache), "TMPDIR": str(temporary)}
        command = [sys.executable, "-m", "edgedigits", "remote", *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, **ours}
        )

    return run


@pytest.fixture
def remote(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `edgedigits remote` to its end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        process = start(*arguments)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture
def installed_host(
    server: Server, one: Host, remote: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[..., Host]:
    """Add a host with the installation of ``one``, which can be moved."""

    def add(name: str, script: str = 'exec sh -c "$SSH_ORIGINAL_COMMAND"') -> Host:
        if not one.files():
            assert remote("one", *KIT, *CHECK).returncode == 0
        host = server.add_host(name, script=script)
        shutil.copytree(one.home, host.home, copy_function=os.link, dirs_exist_ok=True)
        (host.installed / ".lock").unlink()  # a link to it would be the same lock
        return host

    return add
