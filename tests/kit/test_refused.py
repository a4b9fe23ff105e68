"""Kits that cannot be made fail with one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kits import OFFLINE, PYTHON, Run, on_linux

from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import BundleError, InputError
from edgedigits.kit.make import Kit, make_kit

pytestmark = on_linux


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "pi-5"), "no target is called 'pi-5'; choose one of pi-64, pi-32, linux-64"),
        (("--target", "pi-64", "--python", "3.x"), "--python 3.x: not a Python version"),
        (("--target", "pi-64", "--python", "3.9"), "edgedigits needs Python 3.10 or newer"),
        (("--target", "pi-64", "--python", "3.13", "--runtime", "tflite-runtime"), "Python 3.8 to 3.11, not 3.13; "),
        (("--target", "pi-32", "--runtime", "litert"), "use --runtime tflite-runtime or numpy, or another --python"),
        (("--target", "pi-64", "--runtime", "tensorflow"), "a kit cannot contain 'tensorflow'; choose one of litert"),
        (("no/such/bundle", "--target", "pi-64"), "no/such/bundle: no such bundle"),
        (("--target", "pi-64", "-o", "."), ". is a folder; expected a file name"),
        (("--target", "pi-64", "-o", "/proc/kit.zip"), "cannot write /proc/kit.zip"),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], message: str, edgedigits: Run) -> None:
    done = edgedigits("kit", *arguments, env={**os.environ, **OFFLINE})  # it fails before anything is downloaded
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_network(edgedigits: Run, temporary: dict[str, str], tmp_path: Path) -> None:
    done = edgedigits("kit", "--target", "pi-64", "-o", tmp_path / "out" / "kit.zip", env={**temporary, **OFFLINE})
    assert done.returncode == 2
    assert "pip cannot reach its index (Failed to establish a new connection: [Errno 111] " in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_pip(edgedigits: Run, hidden: Callable[..., dict[str, str]]) -> None:
    done = edgedigits("kit", "--target", "pi-64", env=hidden("pip"))
    assert done.returncode == 2
    assert done.stderr == "edgedigits: making a kit needs pip, which this Python lacks; run `python -m ensurepip`\n"


def test_a_python_without_wheels(edgedigits: Run, kit: Kit) -> None:
    done = edgedigits("kit", "--target", "pi-64", "--python", "3.99")
    assert done.returncode == 2
    assert "has no wheel for Python 3.99 on aarch64; choose another --python or --runtime" in done.stderr


def test_a_damaged_bundle(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "golden.npz").write_bytes(b"no arrays")
    with pytest.raises(BundleError, match=r"golden\.npz is damaged"):
        make_kit("linux-64", tmp_path / "kit.zip", bundle=Bundle(bundle_copy))
    assert not (tmp_path / "kit.zip").exists()


def test_a_bundle_without_a_model_for_the_runtime(bundle_copy: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["file"] == "float32.onnx"]
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"litert opens none of float32\.onnx; choose another --runtime or bundle"):
        make_kit("linux-64", tmp_path / "kit.zip", bundle=Bundle(bundle_copy))


@pytest.mark.slow
@pytest.mark.parametrize("full", ["out", "tmp"])
def test_a_full_disk(full: str, kit: Kit, temporary: dict[str, str], tmp_path: Path) -> None:
    """A disk of 8 MB for the kit or for the downloads: one line, and no files left."""
    (tmp_path / "out").mkdir()
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(tmp_path / full)]
    if not shutil.which("unshare") or subprocess.run([*apart, *mount], capture_output=True).returncode:
        pytest.skip("this system lets no ordinary user mount a small disk")
    command = [sys.executable, "-m", "edgedigits", "kit", "--target", "linux-64", "--python", PYTHON]
    script = f'{" ".join(mount)} && "$@"; status=$?; ls -A "{tmp_path / full}"; exit $status'
    line = [*apart, "sh", "-c", script, "sh", *command, "-o", str(tmp_path / "out" / "kit.zip")]
    done = subprocess.run(line, capture_output=True, text=True, env=temporary)
    assert (done.returncode, done.stdout) == (2, "")
    assert "disk" in done.stderr if full == "tmp" else "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []
