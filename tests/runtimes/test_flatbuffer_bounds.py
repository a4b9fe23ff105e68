"""Damaged .tflite files are refused before the runtime that would crash on them opens them."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import flatbuffers
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.runtimes import flatbuffer_bounds
from edgedigits.runtimes.flatbuffer_bounds import check_bounds

FILES = [(bundle, file) for bundle in ("notebook", "robust") for file in ("float32.tflite", "int8.tflite")]
FUZZ = Path(__file__).with_name("fuzz_classic.py")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The smallest of the hostile models, which are well-formed."""
    folder = tmp_path_factory.mktemp("hostile")
    subprocess.run([sys.executable, str(Path(__file__).with_name("hostile_models.py")), str(folder)], check=True)
    for path in folder.iterdir():
        check_bounds(path.read_bytes())
    return (folder / "large.tflite").read_bytes()


@pytest.mark.parametrize(("bundle", "file"), FILES)
def test_whole_files_pass(bundle: str, file: str) -> None:
    check_bounds(Bundle(bundle).read(file))


def test_truncated_files(small: bytes) -> None:
    """The last 3 bytes may be padding."""
    for length in range(len(small) - 3):
        with pytest.raises(ValueError, match="tflite"):
            check_bounds(small[:length])


@pytest.mark.parametrize("value", [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x01\x00"])
def test_offsets_out_of_the_file(small: bytes, value: bytes) -> None:
    """Wherever such an offset is written, only ValueError is raised."""
    refused = 0
    for at in range(0, len(small), 4):
        try:
            check_bounds(small[:at] + value + small[at + 4 :])
        except ValueError:
            refused += 1
    assert refused > len(small) // 4 // 3


def test_a_vector_longer_than_the_file(small: bytes) -> None:
    at = small.index(struct.pack("<3I", 8, 10_000_000, 1))  # the length of a buffer, then TILE's multiples
    with pytest.raises(ValueError, match="a vector at"):
        check_bounds(small[:at] + struct.pack("<I", len(small)) + small[at + 4 :])


def test_a_model_without_a_graph() -> None:
    builder = flatbuffers.Builder()
    builder.StartObject(0)
    builder.Finish(builder.EndObject(), b"TFL3")
    with pytest.raises(ValueError, match="it has no graph"):
        check_bounds(bytes(builder.Output()))


def test_shared_parts_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """3000 graphs that share one list of 3000 operators: nine million reads if each graph's list were followed."""
    count, builder = 3000, flatbuffers.Builder()

    def table(**slots: int) -> int:
        builder.StartObject(4)
        for slot, offset in slots.items():
            builder.PrependUOffsetTRelativeSlot(int(slot[1:]), offset, 0)
        return int(builder.EndObject())

    def vector(offsets: list[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in offsets:
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    operators = vector([table()] * count)
    builder.Finish(table(_2=vector([table(_3=operators) for _ in range(count)])), b"TFL3")
    reads, references = Counter[str](), flatbuffer_bounds._references

    def counted(data: bytes, at: int, kind: str) -> list[tuple[int, str]]:
        reads[kind] += 1
        return references(data, at, kind)

    monkeypatch.setattr(flatbuffer_bounds, "_references", counted)
    check_bounds(bytes(builder.Output()))
    assert reads == {"Model": 1, "[SubGraph]": 1, "SubGraph": count, "[Operator]": 1, "Operator": 1}


@pytest.mark.skipif(find_spec("tflite_runtime") is None, reason="tflite-runtime has no wheel for this Python")
def test_tflite_runtime_survives_damaged_files() -> None:
    """Without the check it crashes on a third of these."""
    paths = [str(Bundle(bundle).path / file) for bundle, file in FILES]
    done = subprocess.run([sys.executable, str(FUZZ), *paths], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "{0: 150}"
