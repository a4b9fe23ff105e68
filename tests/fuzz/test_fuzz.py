"""Generated bad inputs for every reader: refused, or read for what they are; no traceback, no hang."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from random import Random
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS

SECONDS = 20  # for one input, on a busy machine
# Hypothesis alone draws mostly small numbers; a seeded generator draws all of them alike.
TAPES = st.binary(min_size=24, max_size=120) | st.integers(0, 2**32).map(
    lambda seed: b"\1" + Random(seed).randbytes(119)
)


def hangs(number: int, frame: FrameType | None) -> None:
    raise AssertionError(f"an input took more than {SECONDS} seconds")


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_bad_inputs(name: str, counted: Callable[[str], None]) -> None:
    target, seen = TARGETS[name], Counter[bool]()

    @settings(max_examples=target.examples, suppress_health_check=list(HealthCheck))
    @given(TAPES)
    def one(tape: bytes) -> None:
        content = target.input_of(tape)
        signal.alarm(SECONDS)
        try:
            seen[target.accepts(content)] += 1
        finally:
            signal.alarm(0)

    before = signal.signal(signal.SIGALRM, hangs)
    try:
        one()
    finally:
        signal.signal(signal.SIGALRM, before)
    counted(f"{seen.total():,} inputs: {seen[False]:,} refused, {seen[True]:,} read")
    assert seen.total() >= target.examples
