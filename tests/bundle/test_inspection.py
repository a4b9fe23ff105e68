"""What `inspect` says of a damaged bundle: all that is wrong, file by file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, MODELS, Bundle
from edgedigits.bundle.inspection import contract_lines, examine, inspect_text
from edgedigits.errors import BundleError
from edgedigits.system.files import sha256

Run = Callable[..., subprocess.CompletedProcess[str]]
Replace = Callable[[str, bytes], Path]


def problems(path: Path) -> list[tuple[str, str]]:
    return [(each.file, each.problem) for each in examine(path).problems]


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    edit(facts)
    (folder / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")


@pytest.mark.parametrize("path", [MODELS / "notebook", MODELS / "robust", None])
def test_nothing_is_wrong(path: Path | None) -> None:
    examined = examine(path)
    assert examined.problems == ()
    assert examined.manifest == Bundle(path).manifest


def damage(folder: Path) -> None:
    (folder / "int8.tflite").write_bytes(b"short")
    content = bytearray((folder / "float32.onnx").read_bytes())
    content[1000] ^= 1
    (folder / "float32.onnx").write_bytes(content)
    (folder / GOLDEN).unlink()
    (folder / "extra.bin").write_bytes(b"extra")


def expected(folder: Path) -> list[tuple[str, str]]:
    hashes = sha256((folder / "float32.onnx").read_bytes()), Bundle().manifest.hashes["float32.onnx"]
    return [
        ("int8.tflite", "it has 5 bytes, not 14,712"),
        ("float32.onnx", f"its SHA-256 is {hashes[0]}, the manifest's is {hashes[1]}"),
        (GOLDEN, "it is missing"),
        ("extra.bin", "it is not in the manifest and never read; remove it"),
    ]


def test_all_that_is_wrong_is_listed(bundle_copy: Path, tmp_path: Path) -> None:
    damage(bundle_copy)
    assert problems(bundle_copy) == expected(bundle_copy)
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", bundle_copy))
    assert problems(packed) == expected(bundle_copy)


def test_a_manifest_that_is_wrong_in_places(bundle_copy: Path) -> None:
    def edit(facts: dict[str, Any]) -> None:
        facts["images"] = "many"
        facts["artifacts"][1]["input"]["zero_point"] = 300
        facts["files"]["../inputs.npz"] = facts["files"][GOLDEN]
        del facts["labels"]

    change(bundle_copy, edit)
    (bundle_copy / GOLDEN).write_bytes(b"damaged")
    found = problems(bundle_copy)
    assert found[:4] == [
        (MANIFEST, "artifacts[1].input.zero_point is 300, expected -128 to 127"),
        (MANIFEST, "a key of files is '../inputs.npz', not a plain file name"),
        (MANIFEST, "images is a string, not a whole number"),
        (MANIFEST, "labels is missing"),
    ]
    assert [file for file, _ in found[4:]] == [GOLDEN]


@pytest.mark.parametrize("value", [{"a": {}}, 3, [7]], ids=str)
@pytest.mark.parametrize("key", ["artifacts", "files"])
def test_a_manifest_without_files(bundle_copy: Path, key: str, value: Any) -> None:
    change(bundle_copy, lambda facts: facts.update({key: value}))
    assert problems(bundle_copy)[0][0] == MANIFEST


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "it is a list, not an object"),
        ("{}", "schema is missing"),
        ('{"schema": 9}', "schema is 9"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(bundle_copy: Path, text: str, message: str) -> None:
    (bundle_copy / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=message):
        examine(bundle_copy)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "no such bundle"), (tmp_path, "manifest.json is missing")):
        with pytest.raises(BundleError, match=message):
            examine(path)
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(BundleError, match=r"neither a directory nor a valid \.zip"):
        examine(tmp_path / "bad.zip")


def test_links_pipes_and_folders(bundle_copy: Path) -> None:
    for name in ("int8.tflite", "float32.onnx", GOLDEN):
        (bundle_copy / name).unlink()
    (bundle_copy / "int8.tflite").symlink_to(MODELS / "notebook" / "int8.tflite")
    os.mkfifo(bundle_copy / "float32.onnx")
    (bundle_copy / GOLDEN).mkdir()
    assert problems(bundle_copy) == [
        ("int8.tflite", "it is a link that leads out of the bundle"),
        ("float32.onnx", "it is a pipe or a device, not a file"),
        (GOLDEN, "it cannot be read, Is a directory"),
    ]


class TestContradictions:
    """Every checksum is right; the bundle was made wrong, or its manifest was changed."""

    @pytest.mark.parametrize(
        ("side", "key", "value"),
        [("input", "scale", 0.1), ("input", "zero_point", 7), ("output", "scale", 0.2), ("output", "zero_point", 0)],
    )
    def test_the_quantization_is_the_files_own(self, bundle_copy: Path, side: str, key: str, value: float) -> None:
        change(bundle_copy, lambda facts: facts["artifacts"][1][side].update({key: value}))
        ((file, problem),) = problems(bundle_copy)
        assert file == "int8.tflite"
        assert problem.startswith("the manifest says ")

    def test_the_shape_of_an_output(self, bundle_copy: Path) -> None:
        change(bundle_copy, lambda facts: facts["artifacts"][0]["output"].update(shape=[11]))
        assert {GOLDEN, "float32.tflite"} == {each for each, _ in problems(bundle_copy)}

    def test_an_input_unlike_the_contract(self, bundle_copy: Path) -> None:
        change(bundle_copy, lambda facts: facts["artifacts"][0]["input"].update(shape=[399]))
        ((file, problem),) = problems(bundle_copy)
        assert (file, "shape (400,), float32.tflite takes (399,)" in problem) == (MANIFEST, True)

    def test_the_count_of_labels(self, bundle_copy: Path) -> None:
        change(bundle_copy, lambda facts: facts["labels"].pop())
        ((file, problem),) = problems(bundle_copy)
        assert (file, problem[:34]) == (GOLDEN, "10 logits per image, 9 labels, out")

    def test_the_count_of_images(self, bundle_copy: Path) -> None:
        change(bundle_copy, lambda facts: facts.update(images=4999))
        assert [file for file, _ in problems(bundle_copy)] == [INPUTS, GOLDEN]

    @pytest.mark.parametrize("name", ["X", "y"])
    def test_the_checksum_of_the_data(self, bundle_copy: Path, name: str) -> None:
        change(bundle_copy, lambda facts: facts["data"].update({name: "0" * 64}))
        assert problems(bundle_copy) == [(INPUTS, f"its {name} does not match the SHA-256 in the manifest's data")]

    def test_a_format_that_nothing_opens(self, bundle_copy: Path) -> None:
        change(bundle_copy, lambda facts: facts["artifacts"][0].update(format="tfmite"))
        assert problems(bundle_copy) == [("float32.tflite", "no known runtime opens it as tfmite")]

    def test_a_file_that_is_no_model(self, replace_in_bundle: Replace) -> None:
        ((file, problem),) = problems(replace_in_bundle("int8.tflite", b"no model"))
        assert file == "int8.tflite"
        assert "cannot open this .tflite file" in problem


class TestCommand:
    def test_damaged(self, edgedigits: Run, bundle_copy: Path) -> None:
        damage(bundle_copy)
        done = edgedigits("inspect", bundle_copy)
        assert done.returncode == 1
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert lines[0] == f"DAMAGED: {bundle_copy}, 4 problems:"
        assert lines[1:5] == [f"  {file}: {problem}" for file, problem in expected(bundle_copy)]
        facts = json.loads(edgedigits("inspect", bundle_copy, "--json", "-").stdout)
        assert [(each["file"], each["problem"]) for each in facts.pop("problems")] == expected(bundle_copy)
        assert facts == json.loads(Bundle().manifest_bytes)

    def test_a_name_that_would_steer_the_terminal(self, edgedigits: Run, bundle_copy: Path) -> None:
        (bundle_copy / "a\x1b]0;owned\x07\nb").write_bytes(b"")
        done = edgedigits("inspect", bundle_copy)
        assert done.returncode == 1
        assert "\x1b" not in done.stdout
        assert len(done.stdout.splitlines()) == 3


def test_bundles_of_other_models(own_bundles: dict[str, Path]) -> None:
    assert not any(map(problems, own_bundles.values()))
    lines = {name: contract_lines(Bundle(path).manifest) for name, path in own_bundles.items()}
    assert lines["softmax"] == [
        "input     float32 [28, 28, 1], values from 0 to 1, mean 0.5",
        "pictures  plain, gray 28x28, rows, divided by 255",
        "output    softmax probabilities of 3 classes",
    ]
    assert lines["sigmoid"][1:] == ["pictures  none", "output    one sigmoid, the probability of spam"]
    assert "class 19 and 280 more\n" in inspect_text(Bundle(own_bundles["many"]))
