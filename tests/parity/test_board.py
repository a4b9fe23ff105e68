"""Parity over a serial line: the generated sketch, compiled for this computer, behind a pseudo-terminal."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from host import REQUIRED, PluggedIn, compile_sketch, needs_gcc

from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import ModelError, RuntimeUnavailableError
from edgedigits.parity.board import Board, full_integer_artifact
from edgedigits.parity.check import check_parity
from edgedigits.report.loading import load_parity
from edgedigits.runtimes.tensors import AnyArray
from edgedigits_export.targets.microcontroller.library import write_library

if not REQUIRED:
    pytest.importorskip("serial", reason="pip install pyserial")
pytestmark = needs_gcc
SKETCH = "examples/parity/parity.ino"
ARTIFACT = full_integer_artifact(Bundle())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "digits"
    write_library(Bundle(), folder, "digits")
    return folder


@pytest.fixture(scope="module")
def sketch(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_sketch(library / SKETCH, library, tmp_path_factory.mktemp("sketch") / "board")


@pytest.fixture(scope="module")
def images() -> AnyArray:
    return ARTIFACT.input.quantize(Bundle().inputs()[0][:50])


def test_all_images_over_the_line(
    sketch: Path, edgedigits: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    with PluggedIn(sketch) as line:
        done = edgedigits("parity", "--serial", line.port, "--json", tmp_path / "parity.json")
    assert done.returncode == 0, done.stderr
    assert "us per image by the board's own clock" in done.stdout
    (row,) = json.loads((tmp_path / "parity.json").read_text())["rows"]
    assert (row["runtime"], row["kernels"], row["arithmetic"]) == ("c", "reference", "reference")
    assert (row["status"], row["mismatches"], row["images"], row["errors"]) == ("ok", 0, 5000, 18)
    assert row["us_per_image"] > 0
    assert load_parity(tmp_path / "parity.json").passed


def test_a_board_joins_the_rows_of_named_runtimes(sketch: Path) -> None:
    with PluggedIn(sketch) as line:
        report = check_parity(Bundle(), serial=line.port, runtimes=["numpy"], kernels=["ruy"], batch=5000)
    assert report.passed
    assert {(row.runtime, row.kernels) for row in report.rows[:-1]} == {("numpy", "ruy")}
    assert (report.rows[-1].runtime, report.rows[-1].arithmetic) == ("c", "reference")


def test_a_wrong_weight_fails(library: Path, tmp_path: Path) -> None:
    """The model's name is right, its weights are not: the self-test and the logits both say so."""
    source = library / "src/digits.c"
    original = source.read_text()
    first = original.index("weights1[") + original[original.index("weights1[") :].index("{") + 1
    number = original[first:].split(",")[0]
    source.write_text(original[:first] + f" {int(number) ^ 64}" + original[first + len(number) :])
    try:
        program = compile_sketch(library / SKETCH, library, tmp_path / "board")
    finally:
        source.write_text(original)
    with PluggedIn(program) as line:
        report = check_parity(Bundle(), serial=line.port)
    assert not report.passed
    assert report.rows[0].status == "error"
    assert "the self-test failed on the board" in report.rows[0].message


def test_a_bad_line_is_no_mismatch(sketch: Path, images: AnyArray) -> None:
    """Of the pieces that arrive, both ways, every eleventh has a bit flipped."""
    pieces = itertools.count()

    def damage(line: PluggedIn, to_board: bool, data: bytes) -> bytes:
        number = next(pieces)
        at = number % len(data)
        return data if number % 11 else data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    with PluggedIn(sketch) as clean, PluggedIn(sketch, damage) as noisy:
        with Board(clean.port, ARTIFACT) as board:
            expected = [board.predict(x).logits.tolist() for x in images]
        with Board(noisy.port, ARTIFACT) as board:
            assert [board.predict(x).logits.tolist() for x in images] == expected
            assert board.damaged_frames > 0


def test_a_silent_board() -> None:
    with PluggedIn(None) as line, pytest.raises(ModelError, match="does not answer; flash the sketch"):
        Board(line.port, ARTIFACT, seconds=0.2)


def test_another_model(sketch: Path) -> None:
    with (
        PluggedIn(sketch) as line,
        pytest.raises(ModelError, match=f"holds the model {ARTIFACT.sha256[:16]}, expected"),
    ):
        Board(line.port, full_integer_artifact(Bundle("robust")))


@pytest.mark.parametrize(("event", "message"), [("reset", "reset during the run"), ("unplug", "lost the board on")])
def test_a_board_that_goes_away(sketch: Path, images: AnyArray, event: str, message: str) -> None:
    seen = 0

    def happens(line: PluggedIn, to_board: bool, data: bytes) -> bytes:
        nonlocal seen
        seen += len(data)
        if seen > 20_000:
            seen = -1_000_000
            getattr(line, event)()
        return data

    with PluggedIn(sketch, happens) as line:
        board = Board(line.port, ARTIFACT)
        with board, pytest.raises(ModelError, match=message):
            list(map(board.predict, images))


def test_a_port_that_cannot_be_opened() -> None:
    with pytest.raises(RuntimeUnavailableError, match="cannot open /dev/no-such-port"):
        Board("/dev/no-such-port", ARTIFACT)


def test_without_pyserial(
    edgedigits: Callable[..., subprocess.CompletedProcess[str]], hidden: Callable[..., dict[str, str]]
) -> None:
    done = edgedigits("parity", "--serial", "/dev/ttyACM0", env=hidden("serial"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install pyserial" in done.stderr
