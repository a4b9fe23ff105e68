"""The contents of a kit: files, checksums, our wheel, the bundle."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from kits import PYTHON, make, on_linux, read

from edgedigits.bundle.bundle import Bundle
from edgedigits.bundle.signature import load_private, make_keys
from edgedigits.bundle.signing import sign_bundle
from edgedigits.kit.make import Kit, _expected_output, kit_text

pytestmark = on_linux


def test_a_kit_contains_what_a_device_needs(kit: Kit) -> None:
    names = set(read(kit))
    bundle = {f"bundle/{name}" for name in ("manifest.json", *Bundle().names, *Bundle().manifest.files)}
    assert names >= bundle | {"install.sh", "kit.conf", "SHA256SUMS", "wheels/edgedigits-0.1.0-py3-none-any.whl"}
    wheels = {name.partition("/")[2].partition("-")[0] for name in names if name.startswith("wheels/")}
    assert wheels >= {"edgedigits", "ai_edge_litert", "numpy", "pillow", "click", "flatbuffers", "jinja2", "markupsafe"}
    assert not wheels & {"tensorflow", "onnxruntime", "tflite_runtime"}
    assert kit.needs == ()
    assert kit.bytes == Path(kit.path).stat().st_size < 60_000_000


def test_every_wheel_is_for_the_target(arm_kit: Kit) -> None:
    wheels = [name for name in read(arm_kit) if name.endswith(".whl")]
    assert all(name.endswith(("_aarch64.whl", "-any.whl")) for name in wheels)
    assert sum("-cp311-" in name for name in wheels) >= 2
    assert arm_kit.bytes < 40_000_000
    assert any(name.startswith("wheels/numpy-1.") for name in wheels)  # tflite-runtime needs it


def test_the_checksums_cover_every_other_file(kit: Kit) -> None:
    inside = read(kit)
    sums = inside.pop("SHA256SUMS").decode()
    assert sums == "".join(f"{hashlib.sha256(inside[name]).hexdigest()}  {name}\n" for name in sorted(inside))
    assert {file.name: file.bytes for file in kit.files} == {name: len(content) for name, content in inside.items()}
    assert kit.sha256 == hashlib.sha256(Path(kit.path).read_bytes()).hexdigest()


def test_our_wheel_is_a_wheel_without_the_workstation(kit: Kit) -> None:
    (own,) = (name for name in read(kit) if name.startswith("wheels/edgedigits-"))
    with zipfile.ZipFile(kit.path) as outer, outer.open(own) as stream, zipfile.ZipFile(stream) as wheel:
        inside = {name: wheel.read(name) for name in wheel.namelist()}
    info = "edgedigits-0.1.0.dist-info"
    recorded = [line.split(",") for line in inside[f"{info}/RECORD"].decode().splitlines()]
    hashes = {name: base64.urlsafe_b64encode(hashlib.sha256(c).digest()).decode() for name, c in inside.items()}
    listed = sorted(name for name in inside if "RECORD" not in name)
    expected = [[name, f"sha256={hashes[name].rstrip('=')}", str(len(inside[name]))] for name in listed]
    assert recorded == [*expected, [f"{info}/RECORD", "", ""]]
    assert {name.partition("/")[0] for name in inside} == {"edgedigits", info}
    assert inside[f"{info}/entry_points.txt"] == b"[console_scripts]\nedgedigits = edgedigits.cli:main\n"
    assert b"\nVersion: 0.1.0\n" in inside[f"{info}/METADATA"]
    assert f"{info}/licenses/LICENSE" in inside
    assert {"edgedigits/models/README.md", "edgedigits/report/report.html.j2", "edgedigits/kit/install.sh"} <= set(
        inside
    )
    assert not [name for name in inside if "__pycache__" in name or name.startswith("edgedigits/models/notebook")]
    assert "edgedigits/models/robust/manifest.json" in inside


@pytest.mark.slow
def test_kits_are_reproducible(kit: Kit, tmp_path: Path) -> None:
    assert make(tmp_path, "linux-64", python=PYTHON, runtime="litert").sha256 == kit.sha256


def test_a_custom_bundle(bundle_copy: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    manifest["name"] = "mine"
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["file"] == "int8.tflite"]
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    _, public, _ = make_keys(tmp_path / "mine")
    sign_bundle(Bundle(bundle_copy), load_private(tmp_path / "mine.key", lambda: ""))
    made = make(tmp_path, "linux-64", python=PYTHON, runtime="numpy", bundle=Bundle(bundle_copy))
    inside = {name for name in read(made) if name.startswith("bundle/")}
    names = ("int8.tflite", "manifest.json", "manifest.sig", "inputs.npz", "golden.npz", "probes.npz")
    assert inside == {f"bundle/{name}" for name in names}
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(tmp_path / "unpacked")
    Bundle(tmp_path / "unpacked" / "bundle", signed_by=[public]).verify()  # the signature stays valid on the device
    assert made.bundle == "mine"
    with zipfile.ZipFile(io.BytesIO(read(made)["wheels/edgedigits-0.1.0-py3-none-any.whl"])) as wheel:
        models = [name for name in wheel.namelist() if name.startswith("edgedigits/models/")]
    assert models == ["edgedigits/models/README.md"]  # the custom bundle replaces all others
    assert "bundle mine" in kit_text(made)


def test_what_a_device_must_answer(own_bundles: dict[str, Path]) -> None:
    """The name of the class, as `predict` prints it, on an image that the bundle has."""
    index, expected = _expected_output(Bundle(own_bundles["sigmoid"]), "litert")
    assert (index, expected) in [(199, ": ham "), (199, ": spam ")]
