"""Generated bad inputs for every reader: refused, or read for what they are; no traceback, no hang, nothing let in."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS, AcceptedError

SECONDS = 20  # for one input, on a machine that does other work as well


# Hypothesis alone draws mostly small numbers; a seeded generator draws all of them alike.
TAPES = st.binary(min_size=24, max_size=120) | st.integers(0, 2**32).map(
    lambda seed: b"\1" + Random(seed).randbytes(119)
)


class HangError(Exception):
    """An input took too long."""


def _hangs(number: int, frame: FrameType | None) -> None:
    raise HangError


def test_there_are_enough() -> None:
    assert sum(target.examples for target in TARGETS.values()) >= 20_000


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_bad_inputs(name: str, counted: Callable[[str], None]) -> None:
    target, seen = TARGETS[name], Counter[str]()
    started = time.perf_counter()

    @settings(
        max_examples=target.examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(TAPES)
    def one(tape: bytes) -> None:
        content = target.input_of(tape)
        signal.alarm(SECONDS)
        try:
            found = "read" if target.accepts(content) else "refused"
        except AcceptedError:
            found = "let in"
            raise
        except HangError:
            found = "hung"
            raise
        except Exception:
            found = "ended in a traceback"
            raise
        finally:
            signal.alarm(0)
            seen[found] += 1

    before = signal.signal(signal.SIGALRM, _hangs)
    try:
        one()
    finally:
        signal.signal(signal.SIGALRM, before)
        kinds = ("refused", "read", "let in", "hung", "ended in a traceback")
        counts = ", ".join(f"{seen[kind]:,} {kind}" for kind in kinds)
        counted(f"{seen.total():,} inputs in {time.perf_counter() - started:.1f} s: {counts}")
    assert seen.total() >= target.examples
    assert seen["read"] + seen["refused"] == seen.total()
