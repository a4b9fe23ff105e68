from __future__ import annotations

import contextlib
import signal
import time
import weakref

import pytest

from edgedigits_export.interrupts import heard


class Dying:
    """Something to refer to weakly."""


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_in_the_callback_of_a_weak_reference() -> None:
    @heard()
    def let_die() -> None:
        dying = Dying()
        reference = weakref.ref(dying, lambda _: press())
        del dying
        time.sleep(20)
        assert reference() is None

    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        let_die()
    assert time.perf_counter() - started < 10


def test_made_another_error() -> None:
    @heard()
    def convert() -> None:
        try:
            press()
        except KeyboardInterrupt as error:
            raise ValueError("converter failed") from error

    with pytest.raises(KeyboardInterrupt):
        convert()


def test_swallowed() -> None:
    @heard()
    def swallow() -> None:
        with contextlib.suppress(BaseException):  # as a bare except in a library does
            press()

    with pytest.raises(KeyboardInterrupt):
        swallow()


def test_other_errors_pass_and_everything_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="as it is"), heard():
        raise ValueError("as it is")
    with heard():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_a_program_with_a_handler_of_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with heard():
            press()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
