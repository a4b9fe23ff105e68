from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import Entry, packed

from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, MODELS, Bundle, Manifest
from edgedigits.errors import BundleError, InputError
from edgedigits.runtimes.tensors import AnyArray
from edgedigits.system.files import sha256
from edgedigits.system.text import to_json

FILES = (*Bundle().names, INPUTS, GOLDEN)
AGAIN = "copy the bundle again, or export it again"


@pytest.fixture(params=["directory", "zip"])
def either(request: pytest.FixtureRequest, bundle_copy: Path, tmp_path: Path) -> Path:
    return bundle_copy if request.param == "directory" else zipped(bundle_copy, tmp_path)


def zipped(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))


def refused(path: Path) -> str:
    """The message of the BundleError with which a bundle is refused, which is one line and names it."""
    with pytest.raises(BundleError) as caught:
        Bundle(path).verify()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    edit(facts)
    (folder / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")


def test_directory_and_zip_give_the_same(either: Path) -> None:
    found, shipped = Bundle(str(either)), Bundle()
    found.verify()
    assert found.manifest == shipped.manifest
    for name in FILES:
        assert found.read(name) == shipped.read(name)
    np.testing.assert_array_equal(found.inputs()[0], shipped.inputs()[0])
    np.testing.assert_array_equal(found.inputs()[1], shipped.inputs()[1])
    np.testing.assert_array_equal(found.golden(), shipped.golden())
    with pytest.raises(BundleError, match=r"extra\.bin is not part of the bundle, which holds float32\.tflite"):
        found.read("extra.bin")


def test_shapes_and_dtypes() -> None:
    arrays = (*Bundle().inputs(), Bundle().golden())
    assert [(a.shape, str(a.dtype)) for a in arrays] == [
        ((5000, 400), "float32"), ((5000,), "int64"), ((5000, 10), "float32")
    ]  # fmt: skip


def test_manifest_there_and_back() -> None:
    manifest = Bundle().manifest
    assert to_json(manifest.to_dict()).encode() == Bundle().manifest_bytes
    renamed = dataclasses.replace(manifest, name="other", labels=("a", "b"), rows=None)
    assert Manifest.from_json(to_json(renamed.to_dict())) == renamed


def test_a_changed_file(either: Path, tmp_path: Path) -> None:
    bundle_folder = tmp_path / "bundle"
    content = bytearray((bundle_folder / "int8.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_folder / "int8.tflite").write_bytes(content)
    path = bundle_folder if either.is_dir() else zipped(bundle_folder, tmp_path)
    hashes = sha256(bytes(content)), Bundle().manifest.hashes["int8.tflite"]
    problem = f"its SHA-256 is {hashes[0]}, the manifest's is {hashes[1]}"
    assert refused(path) == f"int8.tflite is damaged ({problem}); {AGAIN}"
    assert Bundle(path).read("float32.tflite")  # only what is read is checked


@pytest.mark.parametrize("file", [MANIFEST, "float32.onnx", INPUTS])
def test_missing_file(bundle_copy: Path, file: str) -> None:
    (bundle_copy / file).unlink()
    assert refused(bundle_copy) == f"{file} is missing; {AGAIN}"


def test_no_bundle(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == "no such bundle; expected a directory or .zip made by `edgedigits export`"


@pytest.mark.parametrize("text", ["", "[]", "{}", "\ud800"], ids=lambda text: text[:8])
def test_manifest_that_is_not_one(bundle_copy: Path, text: str) -> None:
    (bundle_copy / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    message = refused(bundle_copy)
    assert message.startswith(f"{MANIFEST} is invalid (")
    assert message.endswith(f"); {AGAIN}")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "a\\b", "a\0b", "x "])
def test_names_cannot_leave_the_bundle(bundle_copy: Path, name: str) -> None:
    (bundle_copy.parent / "secret").write_bytes(b"secret")
    change(bundle_copy, lambda facts: facts["artifacts"][0].update(file=name))
    assert re.search(r"artifacts\[0\]\.file is '.*', not a plain file name", refused(bundle_copy))
    change(bundle_copy, lambda facts: facts["artifacts"][0].update(file="float32.tflite"))
    change(bundle_copy, lambda facts: facts["files"].update({name: "0" * 64}))
    assert re.search(r"a key of files is '.*', not a plain file name", refused(bundle_copy))


@pytest.mark.parametrize(
    ("asked", "found"), [("int8.tflite", "int8.tflite"), ("int8", "int8.tflite"), ("float32.onnx", "float32.onnx")]
)
def test_artifact_by_name(asked: str, found: str) -> None:
    assert Bundle().artifact(asked).file == found


@pytest.mark.parametrize(("asked", "message"), [("float32", "more than one artifact"), ("int4", "no artifact")])
def test_artifact_by_an_unknown_name(asked: str, message: str) -> None:
    with pytest.raises(BundleError, match=f"{message} '{asked}'; choose one of float32.tflite, int8.tflite, "):
        Bundle().artifact(asked)


@pytest.mark.parametrize("index", [-1, 5000])
def test_row_out_of_range(index: int) -> None:
    with pytest.raises(InputError, match=f"no image {index}: the bundle holds images 0 to 4999"):
        Bundle().input_row(index)


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content", [b"not an npz", npz(other=np.zeros(3)), npz(logits=np.array([{}]))], ids=["text", "other", "pickled"]
)
def test_wrong_arrays(replace_in_bundle: Callable[[str, bytes], Path], content: bytes) -> None:
    """A bundle that was made wrong: its checksums fit."""
    bundle = Bundle(replace_in_bundle(GOLDEN, content))
    bundle.verify()
    with pytest.raises(BundleError, match=r"golden\.npz does not hold logits .*; export the bundle again"):
        bundle.golden()


@pytest.mark.parametrize("x", [np.zeros((5000, 400)), np.zeros((10, 400), np.float32)], ids=["float64", "10 rows"])
def test_wrong_dtype_and_count(replace_in_bundle: Callable[[str, bytes], Path], x: AnyArray) -> None:
    bundle = Bundle(replace_in_bundle(INPUTS, npz(X=x, y=np.zeros(len(x)))))
    with pytest.raises(BundleError, match=r"inputs\.npz does not hold X, y \(X is .*\); export the bundle again"):
        bundle.input_row(3)


class TestUntrusted:
    """Links, pipes, sizes, and text that could steer a terminal."""

    @pytest.mark.parametrize("name", [MANIFEST, GOLDEN])
    @pytest.mark.parametrize("kind", ["absolute", "relative", "loop"])
    def test_a_link_that_leads_out(self, bundle_copy: Path, name: str, kind: str) -> None:
        outside = bundle_copy.parent / "outside"
        (bundle_copy / name).rename(outside)
        target = {"absolute": outside, "relative": Path("..", "outside"), "loop": bundle_copy / name}[kind]
        (bundle_copy / name).symlink_to(target)
        message = refused(bundle_copy)
        assert name in message
        assert kind == "loop" or "(it is a link that leads out of the bundle)" in message

    def test_links_within_and_to_it(self, bundle_copy: Path) -> None:
        (bundle_copy / "int8.tflite").rename(bundle_copy / "stored")
        (bundle_copy / "int8.tflite").symlink_to("stored")
        bundle_copy.with_name("link").symlink_to(bundle_copy)
        Bundle(bundle_copy.with_name("link")).verify()

    @pytest.mark.parametrize("kind", ["pipe", "link"])
    def test_one_row_is_not_read_from_elsewhere(self, bundle_copy: Path, kind: str) -> None:
        (bundle_copy / INPUTS).rename(bundle_copy.parent / INPUTS)
        if kind == "pipe":
            os.mkfifo(bundle_copy / INPUTS)
        else:
            (bundle_copy / INPUTS).symlink_to(bundle_copy.parent / INPUTS)
        with pytest.raises(BundleError, match=rf"inputs\.npz is damaged \(it is a {kind} .*; copy the bundle again"):
            Bundle(bundle_copy).input_row(7)

    def test_a_pipe_as_a_bundle(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "bundle.zip")
        assert "neither a directory nor a valid .zip (it is a pipe" in refused(tmp_path / "bundle.zip")

    @pytest.mark.parametrize(
        ("at", "value", "message"),
        [
            ("name", "\x1b]0;owned\x07", r"name is '\\x1b\]0;owned\\x07', not plain text"),
            ("training.a\x1b", 1, r"a key of training is .*, not plain text"),
            ("artifacts.0.facts.ops", ["\u202e"], r"artifacts\[0\]\.facts\.ops\[0\] is .*, not plain text"),
            ("artifacts.0.input.dtype", "int4", r"artifacts\[0\]\.input: tensor .* has dtype int4"),
            ("schema", 3, r"schema is 3, expected 2"),
            ("schema", True, r"schema is True, expected 2"),
            ("files.INT8-tflite", "0" * 64, "it lists a file twice"),
            ("artifacts.0.bytes", -1, r"artifacts\[0\]\.bytes is -1, expected 0 to 128,000,000"),
            ("artifacts.0.input.shape", [2**20, 2**20], r"input\.shape is \[1048576, 1048576\], expected"),
            ("artifacts.1.output.zero_point", 128, r"zero_point is 128, expected -128 to 127"),
            ("artifacts", [], "artifacts has 0 items, expected 1 to 64"),
            ("calibration.temperature", 0, "calibration has the temperature 0, expected 0.01 to 100"),
        ],
    )
    def test_invalid_values(self, bundle_copy: Path, at: str, value: Any, message: str) -> None:
        def put(facts: Any) -> None:
            *way, last = (key.replace("-", ".") for key in at.split("."))
            for key in way:
                facts = facts[int(key) if key.isdecimal() else key]
            facts[last] = value

        change(bundle_copy, put)
        assert re.search(message, refused(bundle_copy))

    def test_a_zip_with_a_harmful_member(self, bundle_copy: Path) -> None:
        whole = [Entry(path.name.encode(), path.read_bytes()) for path in sorted(bundle_copy.iterdir())]
        path = bundle_copy.with_name("bundle.zip")
        path.write_bytes(packed([*whole, Entry(b"notes", b"x")]))
        Bundle(path).verify()
        path.write_bytes(packed([*whole, Entry(b"../escaped", b"x")]))
        assert refused(path).startswith("neither a directory nor a valid .zip (")


def test_temperature(bundle_copy: Path) -> None:
    change(bundle_copy, lambda facts: facts["calibration"].update(temperature=2.5))
    assert Bundle(bundle_copy).manifest.temperature == 2.5
    change(bundle_copy, lambda facts: facts.pop("calibration"))  # a manifest older than calibration
    assert Bundle(bundle_copy).manifest.temperature == 1.0


class TestPackaged:
    @pytest.mark.parametrize("name", ["notebook", "robust"])
    def test_by_name(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        bundle = Bundle(name)
        assert (bundle.path, bundle.manifest.name) == (MODELS / name, name)
        bundle.verify()
        monkeypatch.chdir(MODELS)
        Bundle(Path("../models", name)).verify()

    def test_a_path_of_that_name_comes_first(self, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bundle_copy.rename(bundle_copy.with_name("robust"))
        monkeypatch.chdir(bundle_copy.parent)
        assert Bundle("robust").manifest.name == "notebook"

    def test_shared_files_are_stored_once_and_verified(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not (MODELS / "robust" / INPUTS).exists()
        assert Bundle("robust").read(INPUTS) == (MODELS / "notebook" / INPUTS).read_bytes()
        np.testing.assert_array_equal(Bundle("robust").input_row(17), Bundle().input_row(17))
        copied = shutil.copytree(MODELS, tmp_path / "models") / "robust"
        assert refused(copied) == f"{INPUTS} is missing; {AGAIN}"  # a copy must be complete
        monkeypatch.setattr("edgedigits.bundle.bundle.MODELS", tmp_path / "models")
        (copied / GOLDEN).unlink()
        assert "golden.npz is damaged" in refused(copied)  # the reference's is another
