from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle import Bundle
from edgedigits.child import run_in_child


@pytest.fixture
def request_for_logits(tmp_path: Path, x: Any) -> dict[str, Any]:
    np.save(tmp_path / "inputs.npy", x[:3])
    return {
        "bundle": str(Bundle().path),
        "artifact": "float32.tflite",
        "runtime": "litert",
        "kernels": "default",
        "batch": 1,
        "inputs": str(tmp_path / "inputs.npy"),
        "out": str(tmp_path / "logits.npy"),
    }


def test_answer(request_for_logits: dict[str, Any]) -> None:
    outcome = run_in_child("logits", request_for_logits, timeout=60)
    assert (outcome.status, outcome.message, outcome.signal) == ("ok", "", None)
    logits = np.load(request_for_logits["out"])
    np.testing.assert_allclose(logits, Bundle().golden()[:3], rtol=0, atol=1e-4)


def test_our_own_error_is_its_message(request_for_logits: dict[str, Any]) -> None:
    outcome = run_in_child("logits", {**request_for_logits, "artifact": "int4"}, timeout=60)
    assert outcome.status == "error"
    assert outcome.message.partition(": ")[2].startswith("no artifact 'int4'; choose one of float32.tflite, ")


def test_unexpected_end(request_for_logits: dict[str, Any]) -> None:
    del request_for_logits["batch"]
    outcome = run_in_child("logits", request_for_logits, timeout=60)
    assert (outcome.status, outcome.message) == ("crashed", "ended with status 1: KeyError: 'batch'")


def test_killed(request_for_logits: dict[str, Any], kill_next_child: Callable[[], None]) -> None:
    kill_next_child()
    outcome = run_in_child("logits", request_for_logits, timeout=60)
    assert (outcome.status, outcome.signal) == ("crashed", "SIGKILL")
    assert outcome.message == "the runtime died of SIGKILL"


def test_too_slow(request_for_logits: dict[str, Any]) -> None:
    outcome = run_in_child("logits", request_for_logits, timeout=0.01)
    assert outcome.status == "timeout"
    assert outcome.message == "no answer within 0.01 s and ended; allow more with --timeout"
