"""A real OpenSSH server on loopback, and hosts on it: each is a home of its own, reached with a key of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

SSHD = next((path for path in (shutil.which("sshd"), "/usr/sbin/sshd") if path and Path(path).exists()), None)
MISSING = [
    package
    for package, program in {"openssh-server": SSHD, "openssh-client": shutil.which("ssh")}.items()
    if not program
]
SSHD_CONFIG = """
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
"""
SSH_CONFIG = """
Host * !*.invalid
    HostName 127.0.0.1
    Port {port}
    User {user}
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
    IdentityFile {folder}/keys/%n
    IdentitiesOnly yes
    IdentityAgent none
"""


@dataclass(frozen=True)
class Host:
    """A host of the server: its name in the ssh configuration, its home, and how its key appears in the log."""

    name: str
    home: Path
    fingerprint: str

    @property
    def installed(self) -> Path:
        """The folder that `edgedigits remote` uses."""
        (folder,) = (self.home / ".cache" / "edgedigits").iterdir()
        return folder

    def files(self) -> list[str]:
        """Everything in the home."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))


class Server:
    """An sshd that runs as a child of this process until it is closed."""

    def __init__(self, folder: Path) -> None:
        assert SSHD is not None
        self.folder, self._log = folder, folder / "log"
        (folder / "keys").mkdir(parents=True)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd locks up its unprivileged part
        new_key(folder / "host_key")
        (folder / "authorized_keys").touch()
        (folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=folder))
        self._process = self._start()
        self.config = folder / "ssh_config"
        self.config.write_text(SSH_CONFIG.format(folder=folder, port=self.port, user=getuser()))
        key = (folder / "host_key.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")

    def add_host(self, name: str, path: Path | None = None, script: str = 'exec sh -c "$SSH_ORIGINAL_COMMAND"') -> Host:
        """A new host; ``path`` is a folder of programs that come first there, ``script`` runs what ssh asks for."""
        home = self.folder / "homes" / name
        home.mkdir(parents=True)
        programs = f"{path}:/usr/bin:/bin" if path else f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"
        command = self.folder / f"{name}.sh"
        environment = shlex.join([f"PATH={programs}", f"HOME={home}", "USER=pi", "LANG=C.UTF-8"])
        again = f'exec env -i IN_IT=1 SSH_ORIGINAL_COMMAND="$SSH_ORIGINAL_COMMAND" {environment} "$0"'
        command.write_text(f'#!/bin/sh\n[ -n "$IN_IT" ] || {again}\ncd\n{script}\n')
        command.chmod(0o755)
        key = self.folder / "keys" / name
        new_key(key)
        line = f'command="{command}" {key.with_suffix(".pub").read_text()}'
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(line)
        shown = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True)
        return Host(name, home, shown.stdout.split()[1])

    def connections(self, host: Host) -> int:
        """How many connections of that host the server has accepted."""
        return sum(
            "Accepted publickey" in line and host.fingerprint in line for line in self._log.read_text().splitlines()
        )

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        """Start it on a free port; another process may take the port in between."""
        while True:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port: int = free.getsockname()[1]
            command = [str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config"), "-p", str(self.port)]
            with self._log.open("w") as log:
                process = subprocess.Popen(command, stderr=log)
            while process.poll() is None:
                if "Server listening" in self._log.read_text():
                    return process
                time.sleep(0.01)
            if "ddress already in use" not in self._log.read_text():
                raise RuntimeError(f"sshd did not start: {self._log.read_text()}")


def new_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)], check=True)
