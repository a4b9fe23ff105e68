"""Install a kit on this machine without a network, or fail before anything is written."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kits import BARE_PYTHON, PYTHON, Device, device_with, on_linux, refused

from edgedigits.kit.make import Kit

pytestmark = on_linux


def test_it_installs_and_works_without_a_network(device: Device) -> None:
    """With a bare Python and an empty home; the second time over the first installation."""
    for _ in range(2):
        done = device.install()
        assert done.returncode == 0, done.stderr
        assert "X[1015]: 2 " in done.stdout
        assert device.written == ["edgedigits"]
    program = str(device.home / "edgedigits" / "bin" / "edgedigits")
    parity = device.offline(program, "parity", "--json", "-")
    rows = json.loads(parity.stdout)["rows"]
    assert parity.returncode == 0, parity.stderr
    assert {row["runtime"] for row in rows if row["status"] == "ok"} == {"litert", "numpy"}
    assert {row["runtime"] for row in rows if row["status"] == "missing"} >= {"tflite-runtime", "tensorflow"}
    assert [row["mismatches"] for row in rows if row["status"] == "ok"] == [0] * 18


def test_the_installation_can_be_moved_and_linked_to(device: Device) -> None:
    odd = device.home / "it's a place"
    odd.mkdir()
    (odd / "python3").symlink_to(BARE_PYTHON)
    assert device.install("--prefix", "it's a place/one", python=odd / "python3").returncode == 0
    (odd / "one").rename(device.home / "two")
    (device.home / "short").symlink_to("two/bin/edgedigits")
    if sys.version_info >= (3, 11):  # older ones lack PYTHONSAFEPATH
        (device.home / "numpy.py").write_text("raise SystemExit('imported from the current folder')")
    done = device.offline("./short", "predict", "--index", "3", "--json", "-")
    assert [found["digit"] for found in json.loads(done.stdout)] == [0], done.stderr


# One of each kind; a kit has nothing else.
KINDS = ("kit.conf", "bundle/manifest.json", "bundle/int8.tflite", "bundle/golden.npz", "wheels/edgedigits*")


@pytest.mark.parametrize("name", ["install.sh", "SHA256SUMS", *KINDS, "wheels/numpy*"])
def test_a_changed_byte(name: str, device: Device) -> None:
    (path,) = device.kit.glob(name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    device.change(str(path.relative_to(device.kit)), bytes(content))
    done = device.install()
    assert done.returncode == 2, done.stdout
    assert done.stderr
    assert device.written == []
    if name not in ("install.sh", "SHA256SUMS"):
        assert f"this kit is damaged: {path.relative_to(device.kit)}; copy it again" in done.stderr


@pytest.mark.parametrize("damage", ["upper case", "other separator", "empty", "missing"])
def test_a_changed_list(damage: str, device: Device) -> None:
    """Also changes that sha256sum accepts."""
    sums = (device.kit / "SHA256SUMS").read_text()
    letter = next(i for i, c in enumerate(sums) if c in "abcdef")
    changed = {
        "upper case": sums[:letter] + sums[letter].upper() + sums[letter + 1 :],
        "other separator": sums.replace("  ", " *", 1),
        "empty": "",
    }
    if damage == "missing":
        (device.kit / "SHA256SUMS").unlink()
    else:
        device.change("SHA256SUMS", changed[damage].encode())
    assert "SHA256SUMS" in refused(device.install()) or damage == "empty"
    assert device.written == []


def test_a_missing_file(device: Device) -> None:
    (device.kit / "bundle" / "int8.tflite").unlink()
    assert "this kit is damaged: bundle/int8.tflite; copy it again" in refused(device.install())
    assert device.written == []


def test_a_kit_for_another_processor(arm_kit: Kit, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "zipfile", "-e", arm_kit.path, str(tmp_path / "unpacked")], check=True)
    device = device_with(tmp_path / "unpacked", tmp_path)
    message = refused(device.install())
    assert "this kit is for 64-bit ARM (aarch64) with Python 3.11; this machine is x86_64 with Python" in message
    assert device.written == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("suffix", ".cpython-38-x86_64-linux-gnu.so", f"this machine is x86_64 with Python {PYTHON} (cpython-"),
        ("glibc", "9.10", "this kit needs glibc 9.10 or newer, this machine has 2."),
        ("need_kb", "999999999999", "the installation needs 976562499 MB, but "),
        ("modules", "no_such=python3-no-such", "has no_such; run: sudo apt install python3-no-such"),
    ],
)
def test_an_unsuitable_machine(key: str, value: str, message: str, device: Device) -> None:
    device.amend(key, value)
    assert message in refused(device.install())
    assert device.written == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prefix",), "--prefix needs a value"),
        (("--user",), "unknown option --user; expected: sh install.sh"),
        (("--prefix", "no/such"), "the parent folder of "),
        (("--prefix", "a:b"), "contains a colon"),
        (("--python", "no-such-python"), "no-such-python not found"),
        (("--prefix", "/proc/edgedigits"), "but 0 MB are free in /proc; free some, or choose another --prefix"),
    ],
)
def test_bad_options_of_install_sh(options: tuple[str, ...], message: str, device: Device) -> None:
    assert message in refused(device.install(*options))
    assert device.written == []


def test_an_unwritable_prefix(device: Device) -> None:
    device.amend("need_kb", "0")
    assert "cannot write to /proc; choose another --prefix" in refused(device.install("--prefix", "/proc/edgedigits"))


def test_other_files_are_never_replaced(device: Device) -> None:
    own = device.home / "edgedigits"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    assert "contains thesis.txt, which is not from an earlier installation" in refused(device.install())
    (device.home / "file").write_text("")
    assert "is a file" in refused(device.install("--prefix", "file"))
    assert (own / "thesis.txt").read_text() == "years of work"
    assert device.written == ["edgedigits", "file"]


def install_earlier_version(device: Device) -> None:
    (device.home / "edgedigits" / "bin").mkdir(parents=True)
    (device.home / "edgedigits" / "bin" / "edgedigits").write_text("the earlier one")


def earlier_version_is_unchanged(device: Device) -> bool:
    untouched = (device.home / "edgedigits" / "bin" / "edgedigits").read_text() == "the earlier one"
    return untouched and device.written == ["edgedigits"]


def test_an_installation_with_wrong_results(device: Device) -> None:
    install_earlier_version(device)
    device.amend("expected", "X[1015]: 7 ")
    assert "the installed model and the trained one give different answers: X[1015]: 2 " in refused(device.install())
    assert earlier_version_is_unchanged(device)


def test_a_full_disk(device: Device) -> None:
    """Simulated by a limit of 10 MB per file, since a real one needs root."""
    install_earlier_version(device)
    limit = 10_000_000
    done = device.install(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert "failed: " in refused(done)
    assert earlier_version_is_unchanged(device)


def reset_signals() -> None:
    """For a child: background jobs ignore SIGINT, and a shell cannot change that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_interrupted_while_it_unpacks(name: str, device: Device, tmp_path: Path) -> None:
    install_earlier_version(device)
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *numpy*) kill -{name} $PPID ;; esac\nexec {BARE_PYTHON} "$@"\n')
    python.chmod(0o755)
    assert device.install(python=python, preexec_fn=reset_signals).returncode in (130, 143)
    assert earlier_version_is_unchanged(device)
