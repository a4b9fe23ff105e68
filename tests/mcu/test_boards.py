"""The generated C on emulated boards, on all images, against the numpy runtime and TensorFlow Lite Micro itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from boards import BOARDS, build, flash_bytes, missing_tools, run

from edgedigits.bundle.bundle import Bundle
from edgedigits.parity.board import full_integer_artifact
from edgedigits.runtimes.oracle.arithmetic import NumpyAdapter
from edgedigits.runtimes.tensors import AnyArray
from edgedigits_export.targets.microcontroller.library import write_library

REQUIRED = os.environ.get("EDGEDIGITS_MCU") == "required"
MOST_FLASH, MOST_STACK = 12_500, 1_850
Case = tuple[Path, AnyArray, AnyArray]


@pytest.fixture(scope="module", params=["notebook", "robust"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A bundle's library, all its inputs (5000, 400) int8, and the logits of the kernel set ``reference``."""
    bundle, folder = Bundle(request.param), tmp_path_factory.mktemp(request.param) / "digits"
    write_library(bundle, folder, "digits")
    artifact = full_integer_artifact(bundle)
    x = artifact.input.quantize(bundle.inputs()[0])
    return folder, x, NumpyAdapter(bundle.read(artifact.file), "reference").run(x)


@pytest.mark.parametrize("name", BOARDS)
def test_every_logit_is_equal(case: Case, name: str, tmp_path: Path, counted: Callable[[str], None]) -> None:
    board, (library, x, expected) = BOARDS[name], case
    if why := missing_tools(board):
        assert not REQUIRED, f"EDGEDIGITS_MCU=required; {why}"
        pytest.skip(why)
    elf = build(board, sorted((library / "src").glob("*.c")), library / "src", tmp_path)
    found = run(board, elf, x, expected.shape[1])
    assert found.status == 0  # the self-test passed, among others
    wrong = found.answers[:, :-1] != expected
    counted(
        f"{board.core}: {wrong.any(axis=1).sum()} of {len(x)} images and {wrong.sum()} of {expected.size} logits differ"
        f", {found.flash} bytes of flash, {found.stack} of stack"
    )
    assert len(found.answers) == len(x)
    assert not wrong.any()
    assert np.array_equal(found.answers[:, -1], expected.argmax(axis=1))
    assert found.flash == flash_bytes(board, tmp_path / "digits.c.o") <= MOST_FLASH  # no static RAM either
    assert 1600 < found.stack <= MOST_STACK  # at least the list of the inputs


def test_tensorflow_lite_micro_gives_the_same_logits(case: Case) -> None:
    """Its own interpreter on this computer."""
    if find_spec("tflite_micro") is None:
        assert not REQUIRED, "EDGEDIGITS_MCU=required; pip install tflite-micro"
        pytest.skip("pip install tflite-micro")
    from tflite_micro import runtime

    library, x, expected = case
    bundle = Bundle(library.parent.name.rstrip("0123456789"))
    interpreter = runtime.Interpreter.from_bytes(bundle.read(full_integer_artifact(bundle).file))
    found = np.empty_like(expected)
    for row, logits in zip(x, found, strict=True):
        interpreter.set_input(row[None], 0)
        interpreter.invoke()
        logits[:] = interpreter.get_output(0)[0]
    assert np.array_equal(found, expected)
