from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle import Bundle
from edgedigits.child import run_in_child
from edgedigits.endings import memory_share, memory_taken


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
    assert (outcome.status, outcome.message) == (
        "crashed",
        "ended with status 1: KeyError: 'batch'; `edgedigits doctor` says what works here",
    )


@pytest.mark.parametrize(
    ("name", "to_do"),
    [
        ("SIGKILL", "end what else runs, or use a smaller model"),
        ("SIGILL", "`edgedigits doctor` says what works here"),
        ("SIGABRT", "use one that you trust, or another --runtime"),
        ("SIGBUS", "use one that you trust, or another --runtime"),
    ],
)
def test_killed(
    request_for_logits: dict[str, Any], kill_next_child: Callable[..., None], name: str, to_do: str
) -> None:
    kill_next_child(signal.Signals[name])
    outcome = run_in_child("logits", request_for_logits, timeout=60)
    assert (outcome.status, outcome.signal) == ("crashed", name)
    assert outcome.message.startswith(f"the runtime died of {name}; ")
    assert outcome.message.endswith(to_do)


def test_stopped_for_good(request_for_logits: dict[str, Any], kill_next_child: Callable[..., None]) -> None:
    kill_next_child(signal.SIGSTOP)
    started = time.monotonic()
    outcome = run_in_child("logits", request_for_logits, timeout=1.0)
    assert outcome.status == "timeout"
    assert 1.0 <= time.monotonic() - started < 5.0


def test_what_it_may_take_of_memory(request_for_logits: dict[str, Any]) -> None:
    """Any runtime takes more than 5 MB, and this one answers in 100."""
    outcome = run_in_child("logits", request_for_logits, timeout=60, memory_bytes=5_000_000)
    assert outcome.status == "memory"
    assert outcome.message == (
        "took over 5 MB of memory and was ended; allow more with --memory-limit, if you trust the model"
    )
    assert run_in_child("logits", request_for_logits, timeout=60, memory_bytes=100_000_000).status == "ok"


def test_memory_is_what_was_touched() -> None:
    """Not what was only reserved, as 64-bit runtimes do."""
    before = memory_taken(os.getpid())
    reserved = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    assert before is not None
    assert (memory_taken(os.getpid()) or 0) - before < 20_000_000
    reserved[: 1 << 26] = bytes(1 << 26)
    assert (memory_taken(os.getpid()) or 0) - before > 60_000_000  # the kernel counts in batches
    reserved.close()


def test_shares() -> None:
    whole = memory_share()
    assert whole is not None
    assert whole < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_share(2) == max(256_000_000, whole // 2)
    assert memory_share(10**6) == 256_000_000


def test_too_slow(request_for_logits: dict[str, Any]) -> None:
    outcome = run_in_child("logits", request_for_logits, timeout=0.01)
    assert outcome.status == "timeout"
    assert outcome.message == "no answer within 0.01 s and ended; allow more with --timeout"
