"""`edgedigits remote` on an emulated Raspberry Pi behind a real ssh server: the whole way, kit included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pi_debian import UnavailableError
from pi_kits import CASES
from pis import ASKED, set_up
from sshd import MISSING, Server

PI = "pi4-litert"


@pytest.mark.skipif(bool(MISSING and not ASKED), reason=f"needs {', '.join(MISSING)}")
def test_a_pi_behind_ssh(tmp_path: Path) -> None:
    """It gets the kit for 64-bit ARM, holds parity in LiteRT, and is left as it was."""
    try:
        machine = set_up(CASES[PI].pi, tmp_path / "pi")
    except UnavailableError as why:
        if ASKED:
            pytest.fail(f"EDGEDIGITS_EMULATED={ASKED}, and {why}", pytrace=False)
        pytest.skip(str(why))
    server = Server(tmp_path / "ssh")
    pi = server.add_host("pi", machine.folder / "bin")
    command = [sys.executable, "-m", "edgedigits", "remote", "--ssh", f"ssh -F {server.config}", "--json", "hosts.json"]
    check = ["parity", "--artifact", "float32.tflite", "--kernels", "default", "--batch", "500"]
    try:
        done = subprocess.run(
            [*command, "--runtime", "litert", "--remove", "pi", *check],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            check=False,
        )
        if "cannot reach" in done.stdout and not ASKED:
            pytest.skip(done.stdout)
        print(done.stderr + done.stdout)
        (result,) = json.loads((tmp_path / "hosts.json").read_text(encoding="utf-8"))
        assert (result["status"], result["message"]) == ("ok", "")
        assert (result["machine"], result["python"], result["runtime"]) == ("aarch64", "3.11", "litert")
        (row,) = json.loads((tmp_path / result["files"]["parity"]).read_text(encoding="utf-8"))["rows"]
        assert (row["status"], row["images"], row["mismatches"]) == ("ok", 5000, 0)
        assert pi.files() == []
        assert server.connections(pi) == 1
    finally:
        server.close()
