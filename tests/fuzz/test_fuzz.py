"""Bad inputs for every reader: refused, or read for what they are; no traceback, no hang."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from random import Random
from types import FrameType

import pytest
from targets import TARGETS

SECONDS = 20  # for one input, on a busy machine


def fail(number: int, frame: FrameType | None) -> None:
    raise AssertionError(f"an input took more than {SECONDS} seconds")


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_bad_inputs(name: str, counted: Callable[[str], None]) -> None:
    target, seen, valid = TARGETS[name], Counter[bool](), TARGETS[name].valid()
    assert any(target.accepts(content) for content in valid)
    before = signal.signal(signal.SIGALRM, fail)
    try:
        for seed in range(target.examples):
            random = Random(seed)
            content = target.change(random, random.choice(valid))
            signal.alarm(SECONDS)
            try:
                seen[target.accepts(content)] += 1
            except Exception as cause:
                raise AssertionError(f"seed {seed}: {content[:500]!r}") from cause
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    counted(f"{seen.total():,} inputs: {seen[False]:,} refused, {seen[True]:,} read")
    assert seen[False] > target.examples // 10
