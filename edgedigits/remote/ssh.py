"""Commands on a host through OpenSSH's client, with the user's configuration, keys and jump hosts.

All commands of a host share one connection (ControlMaster); where the client cannot do that, as on Windows, each makes
its own. Files go through a command's standard input: scp needs an SFTP server on the device, which small systems lack.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from edgedigits.errors import EdgeDigitsError, InputError

_CHUNK = 1 << 16
_MOST_SOCKET_PATH = 104 - 18  # a Unix socket's path on macOS, less the random suffix that ssh adds
_ERROR = 255  # the exit status of ssh when the connection failed
_OPTIONS = (
    "BatchMode=yes",  # never asks for a password or passphrase
    "ConnectTimeout=10",
    "ServerAliveInterval=10",  # a host that is switched off is noticed after half a minute
    "ServerAliveCountMax=3",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ClearAllForwardings=yes",
    "LogLevel=ERROR",
)
# What ssh prints, what that means, and what to do about it.
_CAUSES = (
    ("IDENTIFICATION HAS CHANGED", "its host key has changed", "if you expected that, run: ssh-keygen -R {known}"),
    ("Host key verification failed", "its host key is not known here", "run once: {ssh}"),
    (
        "Permission denied|Too many authentication",
        "it refuses the key",
        "run: ssh-copy-id {copy_id}; ssh-add for a key with a passphrase",
    ),
    ("Could not resolve", "no host has that name", "check the spelling, or its entry in ~/.ssh/config"),
    ("Connection refused", "it has no ssh server", "on the device run: sudo systemctl enable --now ssh"),
    ("\\Ausage: ssh", "ssh does not take that name", "expected [user@]host or ssh://[user@]host[:port]"),
    ("timed out|No route|unreachable|is down", "it does not answer", "switch it on, then try: {ssh}"),
)


class HostError(EdgeDigitsError):
    """A host cannot be used; the message says why, and what to do."""


class StoppedError(EdgeDigitsError):
    """A command was ended because :meth:`Connection.stop` was called."""


def parse_host(text: str) -> str:
    """A host as ssh takes it, also from ``user@host:port``; InputError if it cannot be one."""
    if text.startswith("-") or not text.isprintable() or not text.strip() or " " in text:
        raise InputError(f"{text!r} is no host; expected one such as pi@raspberrypi.local")
    return f"ssh://{text}" if re.fullmatch(r"[^:/\[\]]+:\d+", text) else text


def parse_command(text: str) -> list[str]:
    """The words of ``--ssh``; InputError if they are no command line."""
    try:
        words = shlex.split(text)
    except ValueError as cause:
        raise InputError(f"--ssh {text}: {cause}; expected a command such as 'ssh -F FILE'") from cause
    if not words:
        raise InputError("--ssh is empty; expected a command such as 'ssh -F FILE'")
    return words


def socket_folder() -> tempfile.TemporaryDirectory[str]:
    """A private folder for sockets, with a path that is short enough for them."""
    folder = tempfile.TemporaryDirectory(prefix="ed-", ignore_cleanup_errors=True)
    if len(folder.name) + 4 <= _MOST_SOCKET_PATH or os.name == "nt":
        return folder
    folder.cleanup()
    return tempfile.TemporaryDirectory(prefix="ed-", dir="/tmp", ignore_cleanup_errors=True)


class Connection:
    """One host. A thread runs one command at a time; another thread may call :meth:`stop`."""

    def __init__(self, host: str, command: Sequence[str], socket: Path) -> None:
        self.host, self._given, self._socket = host, list(command), socket
        options = [*_OPTIONS]
        if os.name != "nt":
            options += ["ControlMaster=auto", "ControlPersist=15", f"ControlPath={socket}"]
        self._ssh = [*command, *(part for option in options for part in ("-o", option))]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # of the process's standard input
        self._stopped = self._connected = False
        self.errors = ""  # what the last command printed there

    def run(
        self,
        command: str,
        content: Sequence[bytes | Path],
        on_sent: Callable[[int], None] = lambda count: None,
        even_if_stopped: bool = False,
    ) -> Iterator[str]:
        """Run a command of the remote shell, write the content to its input, and yield the lines that it prints.

        Its input stays open until it ends, so it can tell that this side is gone. ``on_sent`` gets the number of bytes
        that are written so far. Raises HostError if the connection fails, StoppedError after :meth:`stop`.
        """
        if even_if_stopped:
            self._stopped = False
        with tempfile.TemporaryFile() as errors:  # not a pipe, which the shared connection would keep open
            self._start(command, errors.fileno())
            assert self._process is not None
            assert self._process.stdout is not None
            try:
                self._send(content, on_sent)
                for line in self._process.stdout:
                    self._connected = True
                    yield line.decode("utf-8", "replace").rstrip("\n")
            finally:
                self._close_input()
                status = self._wait()
            errors.seek(0)
            printed = errors.read().decode("utf-8", "replace")
        if self._stopped:
            raise StoppedError("stopped")
        self.errors = printed
        if status == _ERROR:
            raise HostError(self.explain(printed))

    def stop(self) -> None:
        """End the command that runs, there too, and let no other start."""
        self._stopped = True
        self._close_input()
        if not self._connected and self._process is not None:
            self._process.kill()  # it may still be waiting for the host

    def close(self) -> None:
        """Close the shared connection."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
        if self._socket.exists():
            command = [*self._ssh, "-O", "exit", "--", self.host]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def shown(self) -> str:
        """The command to type for a look at the host."""
        return shlex.join([*self._given, self.host])

    def _start(self, command: str, errors: int) -> None:
        with self._lock:
            if self._stopped:
                raise StoppedError("stopped")
            try:
                self._process = subprocess.Popen(
                    [*self._ssh, "--", self.host, command],
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,  # Ctrl-C ends the remote command first, see stop()
                )
            except OSError as cause:
                program = self._given[0]
                raise HostError(
                    f"cannot start {program} ({cause.strerror}); install it (Debian: sudo apt install openssh-client)"
                ) from cause

    def _send(self, content: Sequence[bytes | Path], on_sent: Callable[[int], None]) -> None:
        """Write until everything is sent, the command has ended, or we are stopped."""
        sent = 0
        with suppress(BrokenPipeError):
            for chunk in _chunks(content):
                with self._lock:
                    if self._stopped or self._process is None or self._process.stdin is None:
                        return
                    view = memoryview(chunk)
                    while view:
                        view = view[self._process.stdin.write(view) :]
                sent += len(chunk)
                on_sent(sent)

    def _close_input(self) -> None:
        free = self._lock.acquire(timeout=2)  # held for long only while the connection is stuck
        process = self._process
        if process is not None and process.stdin is not None:
            if free:
                with suppress(OSError):
                    process.stdin.close()
            else:
                process.kill()
        if free:
            self._lock.release()

    def _wait(self) -> int:
        """Wait for ssh, which ends when the remote command has ended; after a while without that, kill it."""
        assert self._process is not None
        try:
            return self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def explain(self, printed: str) -> str:
        """The cause of a failed connection, from what ssh printed, and what to type."""
        given = self.host.removeprefix("ssh://")
        port = re.search(r":(\d+)$", given) if given != self.host else None  # an IPv6 address has colons too
        login = given[: port.start()] if port else given
        name = login.rpartition("@")[2]
        copy_id, known = (f"-p {port[1]} {login}", f"'[{name}]:{port[1]}'") if port else (login, name)
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        for pattern, cause, remedy in _CAUSES:
            if re.search(pattern, printed):
                return f"{cause}; {remedy.format(known=known, copy_id=copy_id, ssh=self.shown())}"
        if not lines:
            return "the connection was closed; see whether the host is on, then run this again"
        return f"the connection failed ({lines[-1][:200]}); try: {self.shown()}"


def _chunks(content: Sequence[bytes | Path]) -> Iterator[bytes]:
    for part in content:
        if isinstance(part, bytes):
            yield part
            continue
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
