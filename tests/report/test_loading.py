"""Loading results: what was written is read, and anything else is refused in one line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark import machine
from edgedigits.benchmark.result import MACHINE
from edgedigits.errors import InputError
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.system.text import to_json

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bench(bench_file: Path) -> Any:
    return json.loads(bench_file.read_text(encoding="utf-8"))


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., str]:
    """The one line with which a file of this content is refused."""

    def read(content: bytes | str | Any, load: Callable[[Path], object] = load_benchmark) -> str:
        path = tmp_path / "bad.json"
        text = content if isinstance(content, bytes | str) else json.dumps(content)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(InputError) as caught:
            load(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert message.isprintable()
        assert len(message) < len(str(path)) + 300
        return message.removeprefix(f"{path}: ")

    return read


def put(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    changed = json.loads(json.dumps(document))
    inside = changed
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = value
    return changed


def test_files_are_read_as_they_were_written(bench_file: Path, parity_file: Path) -> None:
    assert to_json(load_benchmark(bench_file).to_json()) == bench_file.read_text(encoding="utf-8")
    assert to_json(load_parity(parity_file).to_json()) == parity_file.read_text(encoding="utf-8")


def test_the_verdict_of_a_parity_file_is_computed_again(parity_file: Path, tmp_path: Path) -> None:
    facts = json.loads(parity_file.read_text(encoding="utf-8"))
    facts["rows"][0]["mismatches"] = 7
    (tmp_path / "p.json").write_text(json.dumps(facts), encoding="utf-8")
    assert load_parity(parity_file).passed
    assert not load_parity(tmp_path / "p.json").passed


def test_all_that_describes_a_machine_is_read() -> None:
    assert list(MACHINE.types) == list(machine.describe())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_a_windows_shell_redirects_is_read(tmp_path: Path, bench_file: Path, encoding: str) -> None:
    (tmp_path / "b.json").write_text(bench_file.read_text(encoding="utf-8"), encoding=encoding)
    assert load_benchmark(tmp_path / "b.json") == load_benchmark(bench_file)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is not JSON"),
        (b"[]", "it is a list, not an object"),
        (b"{}", "schema is missing, expected 1"),
        (b'{"schema": 2}', "schema is 2"),
        (b'{"schema": "\\u001b[31m\\ud800"}', "schema is "),
        (b'{"schema": 1}', "bundle is missing"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_benchmark_is_refused(refusal: Callable[..., str], content: bytes, expected: str) -> None:
    message = refusal(content)
    assert expected in message
    assert message.endswith("expected the output of `edgedigits benchmark --json FILE`")


@pytest.mark.parametrize("name", ["none.json", "folder", "no/such/folder.json"])
def test_what_cannot_be_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*; `edgedigits benchmark --json FILE` makes one"):
        load_benchmark(tmp_path / name)


@pytest.mark.parametrize(
    ("at", "value", "expected"),
    [
        (("rows",), {}, "rows is an object, not a list"),
        (("rows", 0, "p50_ns"), -1, "rows[0].p50_ns is -1, expected "),
        (("rows", 0, "window_p50_ns"), [0], "rows[0].window_p50_ns[0] is 0, expected 1 to "),
        (("rows", 0, "window_p50_ns"), [], "has no samples or windows"),
        (("rows", 0, "window_p50_ns"), [1] * 1001, "has 1,001 items, expected 0 to 1,000"),
        (("rows", 0, "histogram", 0), [1], "rows[0].histogram[0] has 1 items, not 2"),
        (("rows", 0, "batch_ns"), {"ten": 1}, "a batch size or thread count that is not a number"),
        (("rows", 0, "threads_p50_ns"), {"²": 1}, "a batch size or thread count that is not a number"),
        (("machine", "cores"), "2", "machine.cores is a string, not a whole number"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(
    refusal: Callable[..., str], bench: Any, at: tuple[Any, ...], value: Any, expected: str
) -> None:
    assert expected in refusal(put(bench, at, value))


def test_one_kind_given_for_the_other(refusal: Callable[..., str], bench_file: Path, parity_file: Path) -> None:
    assert "schema is missing" in refusal(parity_file.read_bytes())
    assert "images is missing; expected the output of `edgedigits parity" in refusal(
        bench_file.read_bytes(), load_parity
    )


@pytest.mark.parametrize("command", [("compare", "bad.json", "bad.json"), ("report", "bad.json")], ids=lambda c: c[0])
def test_the_user_sees_one_line(edgedigits: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "bad.json").write_bytes(b'{"schema": 1, "bundle": "\\n\\ud800"}')
    done = edgedigits(*command)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "edgedigits: bad.json: machine is missing; expected the output of `edgedigits benchmark --json FILE`"
    ]
    assert not (tmp_path / "here" / "report.html").exists()
