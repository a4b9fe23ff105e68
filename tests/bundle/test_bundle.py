from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import Entry, packed

from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, MODELS, Bundle, Manifest
from edgedigits.errors import BundleError, InputError
from edgedigits.runtimes.tensors import AnyArray

FILES = (*Bundle().names, INPUTS, GOLDEN)


@pytest.fixture(params=["directory", "zip"])
def either(request: pytest.FixtureRequest, bundle_copy: Path, tmp_path: Path) -> Path:
    if request.param == "directory":
        return bundle_copy
    return Path(shutil.make_archive(str(tmp_path / "packed"), "zip", bundle_copy))


def refused(path: Path) -> str:
    """The message of the BundleError with which a bundle is refused, which is one line and names it."""
    with pytest.raises(BundleError) as caught:
        Bundle(path).verify()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_directory_and_zip_give_the_same(either: Path) -> None:
    found, shipped = Bundle(either), Bundle()
    found.verify()
    assert found.manifest == shipped.manifest
    for name in FILES:
        assert found.read(name) == shipped.read(name)
    np.testing.assert_array_equal(found.inputs()[0], shipped.inputs()[0])
    np.testing.assert_array_equal(found.inputs()[1], shipped.inputs()[1])
    np.testing.assert_array_equal(found.golden(), shipped.golden())
    np.testing.assert_array_equal(found.input_row(1015), shipped.input_row(1015))


def test_shapes_and_dtypes() -> None:
    x, y = Bundle().inputs()
    golden = Bundle().golden()
    assert (x.shape, str(x.dtype)) == ((5000, 400), "float32")
    assert (y.shape, str(y.dtype)) == ((5000,), "int64")
    assert (golden.shape, str(golden.dtype)) == ((5000, 10), "float32")


def test_path_as_text(bundle_copy: Path) -> None:
    assert Bundle(str(bundle_copy)).manifest == Bundle().manifest


def test_manifest_there_and_back() -> None:
    manifest = Bundle().manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    renamed = dataclasses.replace(manifest, name="other", labels=("a", "b"))
    assert Manifest.from_json(renamed.to_json()) == renamed


@pytest.mark.parametrize("index", [0, 1, 2500, 4998, 4999])
def test_one_row_is_that_row(x: AnyArray, index: int) -> None:
    row = Bundle().input_row(index)
    assert row.dtype == np.float32
    np.testing.assert_array_equal(row, x[index])


@pytest.mark.parametrize("index", [-1, 5000, 10**9])
def test_row_out_of_range(index: int) -> None:
    with pytest.raises(InputError, match=f"--index {index}: the bundle holds images 0 to 4999"):
        Bundle().input_row(index)


@pytest.mark.parametrize("file", FILES)
def test_changed_file_is_refused_by_name(bundle_copy: Path, file: str) -> None:
    path = bundle_copy / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert refused(bundle_copy) == (
        f"{file} is damaged (its SHA-256 is not the manifest's); copy or export the bundle again"
    )


def test_reading_checks_just_what_it_reads(bundle_copy: Path) -> None:
    (bundle_copy / "int8.tflite").write_bytes(b"other")
    assert Bundle(bundle_copy).read("float32.tflite")
    with pytest.raises(BundleError, match=r"int8\.tflite is damaged"):
        Bundle(bundle_copy).read("int8.tflite")


@pytest.mark.parametrize("file", [MANIFEST, *FILES])
def test_missing_file(bundle_copy: Path, file: str) -> None:
    (bundle_copy / file).unlink()
    assert refused(bundle_copy) == f"{file} is missing; a bundle is made by `edgedigits export`"


def test_file_that_is_not_part_of_it(either: Path) -> None:
    with pytest.raises(BundleError, match=r"extra\.bin is not part of the bundle, which holds float32\.tflite"):
        Bundle(either).read("extra.bin")


def test_no_bundle(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == "no such bundle; expected a directory or .zip made by `edgedigits export`"


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_file_that_is_no_zip(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(content)
    assert refused(path).startswith("neither a directory nor a whole .zip")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated_zip(bundle_copy: Path, tmp_path: Path, part: float) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", bundle_copy))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert refused(path).startswith("neither a directory nor a whole .zip")


def test_flipped_byte_in_a_zip(bundle_copy: Path, tmp_path: Path) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", bundle_copy))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "copy the bundle again" in refused(path)


@pytest.mark.parametrize(
    "text", ["", "not JSON", "[]", "null", "7", '"text"', "{}", "\ud800", "[" * 100_000], ids=lambda text: text[:8]
)
def test_manifest_that_is_not_one(bundle_copy: Path, text: str) -> None:
    (bundle_copy / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    message = refused(bundle_copy)
    assert message.startswith(f"{MANIFEST} cannot be read (")
    assert message.endswith("); export the bundle again")


MANIFEST_KEYS = tuple(Bundle().manifest.to_dict())
ARTIFACT_KEYS = tuple(Bundle().manifest.to_dict()["artifacts"][0])


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    edit(facts)
    (folder / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")


OPTIONAL = ("calibration", "rows")  # younger than the schema


@pytest.mark.parametrize("key", sorted(set(MANIFEST_KEYS) - set(OPTIONAL)))
def test_manifest_without_a_key(bundle_copy: Path, key: str) -> None:
    change(bundle_copy, lambda facts: facts.pop(key))
    assert refused(bundle_copy) == f"{MANIFEST} cannot be read ('{key}' is missing); export the bundle again"


@pytest.mark.parametrize("key", ARTIFACT_KEYS)
def test_artifact_without_a_key(bundle_copy: Path, key: str) -> None:
    change(bundle_copy, lambda facts: facts["artifacts"][1].pop(key))
    assert f"'{key}' is missing" in refused(bundle_copy)


@pytest.mark.parametrize("key", MANIFEST_KEYS)
@pytest.mark.parametrize("value", [None, 5, "text", [1]], ids=str)
def test_manifest_with_a_value_of_another_kind(bundle_copy: Path, key: str, value: Any) -> None:
    """Refused where it matters, and by nothing but a BundleError."""
    change(bundle_copy, lambda facts: facts.update({key: value}))
    with contextlib.suppress(BundleError):
        Bundle(bundle_copy)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_other_schema(bundle_copy: Path, schema: Any) -> None:
    change(bundle_copy, lambda facts: facts.update(schema=schema))
    assert f"schema {schema!r}, this version reads schema 1" in refused(bundle_copy)


def test_no_artifacts(bundle_copy: Path) -> None:
    change(bundle_copy, lambda facts: facts.update(artifacts=[]))
    assert "no artifacts" in refused(bundle_copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\0b", 7, None])
def test_names_cannot_leave_the_bundle(bundle_copy: Path, name: Any) -> None:
    (bundle_copy.parent / "secret").write_bytes(b"secret")
    change(bundle_copy, lambda facts: facts["artifacts"][0].update(file=name))
    assert "is not a plain file name" in refused(bundle_copy)
    if isinstance(name, str):
        change(bundle_copy, lambda facts: facts["artifacts"][0].update(file="float32.tflite"))
        change(bundle_copy, lambda facts: facts["files"].update({name: "0"}))
        assert "is not a plain file name" in refused(bundle_copy)


@pytest.mark.parametrize(
    ("asked", "found"), [("int8.tflite", "int8.tflite"), ("int8", "int8.tflite"), ("float32.onnx", "float32.onnx")]
)
def test_artifact_by_name(asked: str, found: str) -> None:
    assert Bundle().artifact(asked).file == found


@pytest.mark.parametrize(("asked", "said"), [("float32", "more than one artifact"), ("int4", "no artifact")])
def test_artifact_by_a_name_that_is_not_one(asked: str, said: str) -> None:
    with pytest.raises(BundleError, match=f"{said} '{asked}'; choose one of float32.tflite, int8.tflite, "):
        Bundle().artifact(asked)


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content", [b"not an npz", npz(other=np.zeros(3)), npz(logits=np.array([{}]))], ids=["text", "other", "pickled"]
)
def test_arrays_that_are_not_there(replace_in_bundle: Callable[[str, bytes], Path], content: bytes) -> None:
    """A bundle that was made wrong: its checksums fit."""
    bundle = Bundle(replace_in_bundle(GOLDEN, content))
    bundle.verify()
    with pytest.raises(BundleError, match=r"golden\.npz does not hold logits .*; export the bundle again"):
        bundle.golden()


@pytest.mark.parametrize(
    "x",
    [np.zeros((5000, 400)), np.zeros(5000, np.float32), np.zeros((10, 400), np.float32)],
    ids=["float64", "one axis", "fewer rows than the manifest says"],
)
def test_row_of_inputs_stored_otherwise(replace_in_bundle: Callable[[str, bytes], Path], x: AnyArray) -> None:
    bundle = Bundle(replace_in_bundle(INPUTS, npz(X=x, y=np.zeros(len(x)))))
    with pytest.raises(BundleError, match=r"inputs\.npz does not hold X, y \(X is .*\); export the bundle again"):
        bundle.input_row(3000)


class TestWhatIsNotTrusted:
    """Reading looks before it takes: links, pipes, sizes, and words that a terminal would obey."""

    @pytest.mark.parametrize("name", [MANIFEST, "int8.tflite", GOLDEN])
    @pytest.mark.parametrize("kind", ["absolute", "relative", "loop"])
    def test_a_link_that_leads_out(self, bundle_copy: Path, name: str, kind: str) -> None:
        outside = bundle_copy.parent / "outside"
        (bundle_copy / name).rename(outside)
        target = {"absolute": outside, "relative": Path("..", "outside"), "loop": bundle_copy / name}[kind]
        (bundle_copy / name).symlink_to(target)
        message = refused(bundle_copy)
        assert name in message
        assert kind == "loop" or "is damaged (it is a link that leads out of the bundle)" in message

    def test_links_within_and_to_it(self, bundle_copy: Path) -> None:
        (bundle_copy / "int8.tflite").rename(bundle_copy / "stored")
        (bundle_copy / "int8.tflite").symlink_to("stored")
        bundle_copy.with_name("link").symlink_to(bundle_copy)
        Bundle(bundle_copy.with_name("link")).verify()

    @pytest.mark.parametrize("name", [MANIFEST, "int8.tflite", INPUTS])
    def test_a_pipe_is_not_waited_for(self, bundle_copy: Path, name: str) -> None:
        (bundle_copy / name).unlink()
        os.mkfifo(bundle_copy / name)
        assert f"{name} is damaged (it is a pipe or a device, not a file)" in refused(bundle_copy)

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
        assert "neither a directory nor a whole .zip (it is a pipe" in refused(tmp_path / "bundle.zip")

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_size_is_checked_before_anything_else(
        self, bundle_copy: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (bundle_copy / "int8.tflite").write_bytes(bytes(14457))
        path = Path(shutil.make_archive(str(bundle_copy), "zip", bundle_copy)) if packed else bundle_copy
        bundle = Bundle(path)
        monkeypatch.setattr("edgedigits.bundle.bundle.sha256", lambda content: pytest.fail("it was hashed"))
        with pytest.raises(BundleError, match=r"int8\.tflite is damaged \(it has 14,457 bytes, not 14,456\)"):
            bundle.read("int8.tflite")

    def test_huge_files_take_no_memory(self, bundle_copy: Path) -> None:
        for name in (MANIFEST, INPUTS):
            shutil.copy(bundle_copy / name, bundle_copy / "kept")
            os.truncate(bundle_copy / name, 10**11)
            tracemalloc.start()
            try:
                assert f"{name} is damaged (it has 100,000,000,000 bytes, more than" in refused(bundle_copy)
                assert tracemalloc.get_traced_memory()[1] < 10_000_000
            finally:
                tracemalloc.stop()
            (bundle_copy / "kept").replace(bundle_copy / name)

    @pytest.mark.parametrize(
        ("at", "value", "said"),
        [
            ("name", "\x1b]0;owned\x07", r"name is '\\x1b\]0;owned\\x07', which is not plain text"),
            ("training.a\x1b", 1, r"training holds .*, which is not plain text"),
            ("artifacts.0.facts.ops", ["\u202e"], r"artifacts\.facts\.ops holds .*, which is not plain text"),
            ("artifacts.0.input.dtype", "\x1b" * 5000, r"artifacts\[0\]\.input\.dtype is .*, which is not plain text"),
            ("schema", "x" * 5000, r"schema 'xxx.*\.\.\., this version reads schema 1"),
            ("artifacts.0.sha256", "0" * 63, r"artifacts\[0\]\.sha256 000.* is no SHA-256"),
            ("files.other", "Z" * 64, r"files\.other ZZZ.* is no SHA-256"),
            ("files.INT8-tflite", "0" * 64, "a file's name stands in it twice"),
            ("files.manifest-json", "0" * 64, "a file's name stands in it twice"),
            ("artifacts.0.bytes", -1, r"artifacts\[0\]\.bytes -1, expected 0 to 128,000,000"),
            ("artifacts.0.bytes", 10**12, r"artifacts\[0\]\.bytes 1000000000000, expected"),
            ("artifacts.0.bytes", 44152.0, r"artifacts\[0\]\.bytes is a number, not a whole number"),
            ("artifacts.0.input.shape", [2**20, 2**20], r"input\.shape .*, expected sides of"),
            ("artifacts.1.output.scale", 0, r"output\.scale 0, expected"),
            ("artifacts.1.output.zero_point", 128, r"zero_point 128, expected -128 to 127"),
            ("images", True, "images is true or false, not a whole number"),
            ("artifacts", [{}] * 90, "artifacts has 90 items, more than 64"),
            ("versions.numpy", 2, "versions holds what is no string"),
        ],
    )
    def test_a_manifest_beyond_reason(self, bundle_copy: Path, at: str, value: Any, said: str) -> None:
        def put(facts: Any) -> None:
            *way, last = (key.replace("-", ".") for key in at.split("."))
            for key in way:
                facts = facts[int(key) if key.isdecimal() else key]
            facts[last] = value

        change(bundle_copy, put)
        message = refused(bundle_copy)
        assert re.search(said, message)
        assert message.isprintable()

    def test_a_key_that_stands_twice(self, bundle_copy: Path) -> None:
        text = (bundle_copy / MANIFEST).read_text()
        (bundle_copy / MANIFEST).write_text(text.replace('"images": 5000', '"images": 10, "images": 5000'))
        assert "images stands twice in one object" in refused(bundle_copy)

    @pytest.mark.parametrize(
        "member",
        [
            Entry(b"../escaped", b"x"),
            Entry(b"/absolute", b"x"),
            Entry(b"manifest.json", b"{}"),
            Entry(b"link", b"/etc/passwd", central={"external": 0o120777 << 16}),
            Entry(b"secret", b"x", local={"flags": 1}, central={"flags": 1}),
        ],
        ids=lambda entry: entry.name.decode(),
    )
    def test_a_zip_with_a_member_that_lies(self, bundle_copy: Path, member: Entry) -> None:
        whole = [Entry(path.name.encode(), path.read_bytes()) for path in sorted(bundle_copy.iterdir())]
        path = bundle_copy.with_name("bundle.zip")
        path.write_bytes(packed(whole))
        Bundle(path).verify()
        path.write_bytes(packed([*whole, member]))
        assert refused(path).startswith("neither a directory nor a whole .zip (")

    def test_a_bomb_for_a_manifest(self, tmp_path: Path) -> None:
        (tmp_path / "bomb.zip").write_bytes(packed([Entry(b"manifest.json", bytes(30_000_000))]))
        assert "manifest.json is damaged (it has 30,000,000 bytes unpacked, more than" in refused(tmp_path / "bomb.zip")


class TestTemperature:
    def test_a_manifest_older_than_calibration_has_1(self, bundle_copy: Path) -> None:
        change(bundle_copy, lambda facts: facts.pop("calibration"))
        assert Bundle(bundle_copy).manifest.calibration == {}
        assert Bundle(bundle_copy).manifest.temperature == 1.0

    def test_it_is_read(self, bundle_copy: Path) -> None:
        change(bundle_copy, lambda facts: facts["calibration"].update(temperature=2.5))
        assert Bundle(bundle_copy).manifest.temperature == 2.5

    @pytest.mark.parametrize("value", [0, -1.0, 1e9, float("nan"), float("inf"), "hot", None, [1.0]], ids=str)
    def test_nonsense_is_refused(self, bundle_copy: Path, value: Any) -> None:
        change(bundle_copy, lambda facts: facts["calibration"].update(temperature=value))
        assert refused(bundle_copy).startswith(f"{MANIFEST} cannot be read (")


class TestPackaged:
    @pytest.mark.parametrize("name", ["notebook", "robust"])
    def test_by_name(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        bundle = Bundle(name)
        assert bundle.path == MODELS / name
        assert bundle.manifest.name == name
        bundle.verify()
        assert Bundle(Path(name)).path == bundle.path

    def test_no_name_is_the_reference(self) -> None:
        assert Bundle().path == Bundle("notebook").path

    def test_a_path_of_that_name_comes_first(self, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bundle_copy.rename(bundle_copy.with_name("robust"))
        monkeypatch.chdir(bundle_copy.parent)
        assert Bundle("robust").manifest.name == "notebook"

    def test_what_is_shared_is_stored_once_and_verified(self) -> None:
        assert not (MODELS / "robust" / INPUTS).exists()
        assert Bundle("robust").read(INPUTS) == (MODELS / "notebook" / INPUTS).read_bytes()
        np.testing.assert_array_equal(Bundle("robust").input_row(17), Bundle().input_row(17))

    def test_another_path_to_the_same_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(MODELS)
        Bundle("robust").verify()
        Bundle(Path("../models/robust")).verify()

    def test_a_copy_must_be_whole(self, tmp_path: Path) -> None:
        shutil.copytree(MODELS / "robust", tmp_path / "robust")
        assert refused(tmp_path / "robust") == f"{INPUTS} is missing; a bundle is made by `edgedigits export`"

    def test_another_file_of_the_reference_is_not_taken_for_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(MODELS, tmp_path / "models")
        monkeypatch.setattr("edgedigits.bundle.bundle.MODELS", tmp_path / "models")
        (tmp_path / "models" / "robust" / GOLDEN).unlink()
        assert "golden.npz is damaged" in refused(tmp_path / "models" / "robust")
