"""Files and JSON within their limits, and what is refused before memory is taken for it."""

from __future__ import annotations

import json
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from edgedigits.system.limits import (
    MOST_DEPTH,
    MOST_VALUES,
    RefusedError,
    parse_json,
    printable,
    read_file,
    read_json,
    short,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"12345")
    return tmp_path / "file"


def test_a_file_within_and_beyond_its_limits(file: Path) -> None:
    assert read_file(file, 5) == read_file(file, 10, exactly=5) == b"12345"
    with pytest.raises(RefusedError, match="it has 5 bytes, more than the limit of 4"):
        read_file(file, 4)
    with pytest.raises(RefusedError, match="it has 5 bytes, not 6"):
        read_file(file, 10, exactly=6)


def test_a_huge_file_takes_no_memory(file: Path) -> None:
    os.truncate(file, 10**12)  # sparse: it has that size and takes no room
    tracemalloc.start()
    try:
        for exactly in (None, 5):
            with pytest.raises(RefusedError, match=r"1,000,000,000,000 bytes, more"):
                read_file(file, 10**9, exactly)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_neither_pipe_nor_device_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(RefusedError, match="it is a pipe or a device, not a file"):
            read_file(path, 100)


def test_a_file_that_grows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        facts = real(descriptor)
        with file.open("ab") as more:  # between its size and its bytes
            more.write(b"6")
        return facts

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(RefusedError, match="it changed while it was read"):
        read_file(file, 100)


def test_json_from_a_pipe_and_from_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b'{"a": 1}',))
    writer.start()
    assert read_json(tmp_path / "pipe") == {"a": 1}
    writer.join()
    with pytest.raises(RefusedError, match="it has more than 1,000 bytes"):
        read_json(Path("/dev/zero"), most=1000)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "a appears twice in one object"),
        ('{"b": {"\\u001b[2J": 1, "\\u001b[2J": 1}}', "\ufffd[2J appears twice in one object"),
        ("[NaN]", "NaN is not a number in JSON"),
        ("[-Infinity]", "-Infinity is not a number in JSON"),
        ("9" * 100_000, "it is not JSON (Exceeds the limit"),
        (nested(MOST_DEPTH + 1), "nested too deeply"),
        (nested(100_000), "nested too deeply"),
        (f"[{'[],' * MOST_VALUES}[]]", "more than 1,000,000 values"),
        ('{"a": \x00}', "it is not JSON"),
    ],
    ids=lambda text: str(text)[:20],
)
def test_json_that_is_refused(text: str, message: str) -> None:
    for content in (text, text.encode()):
        with pytest.raises(RefusedError) as caught:
            parse_json(content)
        assert message in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True, "x"]}, [], "text", 7, json.loads(nested(MOST_DEPTH))])
def test_json_that_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value)) == parse_json(json.dumps(value).encode()) == value


def test_what_is_shown() -> None:
    assert short("x" * 100) == "x" * 57 + "..."
    assert short({"a": 1}) == "..."
    assert printable("a\x1b[31m\nb") == "a\ufffd[31m b"
