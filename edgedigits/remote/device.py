"""Runs on the device: copies and installs a kit there, runs a command of it, removes everything.

The source of this module is sent to the device's Python 3.10 or newer, so it imports the standard library only. It
prints lines that begin with MARK: progress, and at the end the result. What it started ends with the connection, which
it notices by the end of its standard input.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

MARK = "edgedigits-remote "
KIT_HASH = "kit.sha256"
BUNDLE = "bundle-"
BUSY = "another run uses the installation on this host; run this again when it has ended"
_GRACE = 5.0  # seconds for a command to end by itself


def main(request: dict[str, Any]) -> None:
    """Do what the request asks, and print the result."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    os.umask(0o022)
    tasks: dict[str, Callable[..., dict[str, Any]]] = {"install": install, "run": run, "remove": remove}
    try:
        result = tasks[request.pop("task")](**request)
    except OSError as error:
        where = f": {error.filename or 'on the device'}" if error.strerror else ""
        result = {"status": 2, "error": f"{error.strerror or error}{where}"}
    _print(result)


def install(folder: str, sha256: str, size: int) -> dict[str, Any]:
    """Read a kit of that size from standard input and install it in ``folder/app``."""
    top = Path(folder).expanduser()
    top.mkdir(parents=True, exist_ok=True)
    with _locked(top, exclusive=True):
        try:
            for left in (*top.glob("kit-*"), *top.glob(".edgedigits-*")):  # by an installation that was killed
                shutil.rmtree(left)
            return _install(top, sha256, size)
        finally:
            if not (top / KIT_HASH).exists():  # leave nothing half installed
                _delete(top)


@contextlib.contextmanager
def _locked(top: Path, exclusive: bool = False) -> Iterator[None]:
    """Use the installation together with other runs, or alone; BlockingIOError if another run uses it then."""
    import fcntl  # which Windows lacks, where the constants of this module are imported too

    with (top / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
        except BlockingIOError:
            raise BlockingIOError(BUSY) from None
        yield


def _install(top: Path, sha256: str, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kit-", dir=top) as name:
        received, kit = Path(name, "kit.zip"), Path(name, "kit")
        receive(received, size, sha256)
        with zipfile.ZipFile(received) as archive:
            archive.extractall(kit)
        received.unlink()
        _print({"progress": "installing"})
        (top / KIT_HASH).unlink(missing_ok=True)
        command = ["sh", str(kit / "install.sh"), "--prefix", str(top / "app"), "--python", sys.executable]
        result = supervise(command, top)
        if result["status"] == 0:
            (top / KIT_HASH).write_text(sha256)
        return result


def run(
    folder: str, arguments: list[str], bundle: str | None = None, sha256: str = "", size: int = 0
) -> dict[str, Any]:
    """Run the installed edgedigits, on a bundle of that name if one is given; a size other than 0 reads it first."""
    top = Path(folder).expanduser()
    if not (top / KIT_HASH).exists():  # nothing is locked between the commands of a visit
        raise FileNotFoundError("another run has removed the installation; run this again")
    if bundle is not None:
        path = top / f"{BUNDLE}{sha256[:16]}" / bundle
        if size:
            with tempfile.TemporaryDirectory(prefix="new-", dir=top) as name:
                receive(Path(name, bundle), size, sha256)
                with contextlib.suppress(BlockingIOError), _locked(top, exclusive=True):
                    for old in top.glob(f"{BUNDLE}*"):
                        shutil.rmtree(old)
                shutil.copytree(name, path.parent, dirs_exist_ok=True)
        arguments = [arguments[0], str(path), *arguments[1:]]
    with _locked(top):
        return supervise([str(top / "app" / "bin" / "edgedigits"), *arguments], top)


def remove(folder: str) -> dict[str, Any]:
    """Remove the folder; BlockingIOError if another run uses it."""
    top = Path(folder).expanduser()
    if top.exists():
        with _locked(top, exclusive=True):
            _delete(top)
    return {"status": 0}


def _delete(top: Path) -> None:
    """Remove the folder, and the folders above it that are empty then, up to the home folder."""
    shutil.rmtree(top)
    for parent in (top.parent, top.parent.parent):
        with contextlib.suppress(OSError):
            parent.rmdir()


def receive(path: Path, size: int, sha256: str) -> None:
    """Write so many bytes of standard input to a file; OSError if the connection ends, or damages them."""
    stream: BinaryIO = sys.stdin.buffer
    digest, left = hashlib.sha256(), size
    with path.open("wb") as file:
        while left:
            chunk = stream.read(min(left, 1 << 16))
            if not chunk:
                raise OSError("the connection ended")
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    if digest.hexdigest() != sha256:
        raise OSError("what arrived differs from what was sent; try again")


def supervise(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command until it or the connection ends; its lines on standard error are printed as progress."""
    environment = {**os.environ, "EDGEDIGITS_PROGRESS": "lines", "PYTHONUNBUFFERED": "1"}
    last = ""
    with tempfile.TemporaryFile(dir=folder) as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,  # a process group, to end it with its children
        )
        threading.Thread(target=_watch, args=(process,), daemon=True).start()
        try:
            assert process.stderr is not None
            for line in process.stderr:
                text = line.decode("utf-8", "replace").strip()
                if text:
                    last = text
                    _print({"progress": text})
            process.wait()
        finally:
            _end(process)
        output.seek(0)
        printed = output.read().decode("utf-8", "replace")
    return {"status": process.returncode, "error": last, "printed": printed}


def _watch(process: subprocess.Popen[bytes]) -> None:
    while sys.stdin.buffer.read(1):
        pass
    _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: politely, then for good."""
    for number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(patience)


def _print(result: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the connection is gone, which _watch notices too
        sys.stdout.write(f"{MARK}{json.dumps(result)}\n")
        sys.stdout.flush()
