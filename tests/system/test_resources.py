from __future__ import annotations

import pytest

from edgedigits.system.resources import crash_signal


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (0, None),
        (1, None),
        (120, None),
        (-11, "SIGSEGV"),
        (-4, "SIGILL"),
        (0xC000001D, "STATUS_ILLEGAL_INSTRUCTION"),
        (0xC0000005 - (1 << 32), "STATUS_ACCESS_VIOLATION"),
        (0xC0000135, "status 0xC0000135"),
    ],
)
def test_crash_signal(status: int, name: str | None) -> None:
    assert crash_signal(status) == name
