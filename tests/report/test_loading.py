"""Results read back: what was written is read, and nothing else brings more than one clear line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedigits.benchmark import machine
from edgedigits.benchmark.compare import compare
from edgedigits.benchmark.result import MACHINE
from edgedigits.benchmark.text import comparison_text
from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import InputError
from edgedigits.parity.check import check_parity
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.report.page import render_page
from edgedigits.system.limits import MOST_JSON_BYTES
from edgedigits.system.text import to_json

Run = Callable[..., subprocess.CompletedProcess[str]]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([2**53 + 1, -1, 0, "ok"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


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


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a document, but only the first two items of a list."""
    found = [at] if at else []
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in inside:
        found += places(item, (*at, key))
    return found


def one_line(error: InputError) -> None:
    assert str(error).isprintable()


def put(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    changed = json.loads(json.dumps(document))
    inside = changed
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = value
    return changed


def test_a_benchmark_is_read_as_it_was_written(bench_file: Path) -> None:
    assert to_json(load_benchmark(bench_file).to_json()) == bench_file.read_text(encoding="utf-8")


def test_parity_is_read_as_it_was_written(parity_file: Path) -> None:
    assert to_json(load_parity(parity_file).to_json()) == parity_file.read_text(encoding="utf-8")
    assert load_parity(parity_file).passed


def test_a_failed_parity_fails_when_read(tmp_path: Path) -> None:
    report = check_parity(Bundle(), artifacts=["int8"], runtimes=["litert"], kernels=["default"], batch=5000)
    facts = report.to_json()
    facts["rows"][0]["mismatches"] = 7
    (tmp_path / "p.json").write_text(to_json({**facts, "passed": True}), encoding="utf-8")
    assert not load_parity(tmp_path / "p.json").passed


def test_all_that_describes_a_machine_is_read() -> None:
    assert list(MACHINE.types) == list(machine.describe())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_a_windows_shell_redirects_is_read(tmp_path: Path, bench_file: Path, encoding: str) -> None:
    (tmp_path / "b.json").write_text(bench_file.read_text(encoding="utf-8"), encoding=encoding)
    assert load_benchmark(tmp_path / "b.json") == load_benchmark(bench_file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is not JSON"),
        (b'{"schema": NaN}', "NaN is not a number"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * (MOST_JSON_BYTES + 1), "more than 16,000,000 bytes"),
        (b'{"schema": ' + b"9" * 6000 + b"}", "a number of 6,000 digits"),
        (b'{"schema": ' + b"9" * 60 + b"}", "schema about 1e"),
        (b"[]", "it holds a list, not an object"),
        (b"{}", "it has no schema, expected schema 1"),
        (b'{"schema": 2}', "it has schema 2"),
        (b'{"schema": true}', "it has schema True"),
        (b'{"schema": "\\u001b[31m\\ud800"}', "it has schema"),
        (b'{"schema": 1}', "bundle is missing"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_benchmark_is_refused(refusal: Callable[..., str], content: bytes, said: str) -> None:
    message = refusal(content)
    assert said in message
    assert message.endswith("expected the output of `edgedigits benchmark --json FILE`")


@pytest.mark.parametrize("name", ["none.json", "folder", "no/such/folder.json"])
def test_what_cannot_be_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*; `edgedigits benchmark --json FILE` makes one"):
        load_benchmark(tmp_path / name)


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (("rows",), {}, "rows is an object, not a list"),
        (("rows", 0, "p50_ns"), "9", "rows[0].p50_ns is a string, not a whole number"),
        (("rows", 0, "p50_ns"), -1, "rows[0].p50_ns is -1, expected "),
        (("rows", 0, "p50_ns"), 2**53 + 1, "rows[0].p50_ns is about 1e"),
        (("rows", 0, "window_p50_ns"), [0], "a window of 0 ns"),
        (("rows", 0, "window_p50_ns"), [], "has no samples or a window"),
        (("rows", 0, "window_p50_ns"), [1] * 1001, "has 1,001 items, expected 0 to 1,000"),
        (("rows", 0, "histogram", 0), [1], "rows[0].histogram[0] has 1 items, not 2"),
        (("rows", 0, "histogram", 0), [0, 1], "an empty bin, or one at 0 ns"),
        (("rows", 0, "batch_ns"), {"ten": 1}, "a batch size or thread count that is not a number"),
        (("rows", 0, "threads_p50_ns"), {"²": 1}, "a batch size or thread count that is not a number"),
        (("machine", "cores"), "2", "machine.cores is a string, not a whole number"),
        (("machine", "packages"), {"numpy": 1}, "machine.packages.numpy is a number, not a string"),
        (("threats",), ["hot"], "threats[0] is a string, not an object"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(
    refusal: Callable[..., str], bench: Any, at: tuple[Any, ...], value: Any, said: str
) -> None:
    assert said in refusal(put(bench, at, value))


def test_a_number_too_large_for_a_float(refusal: Callable[..., str], bench_file: Path) -> None:
    text = bench_file.read_text(encoding="utf-8").replace('"min_seconds": 0.1', '"min_seconds": 1e999')
    assert "method.min_seconds is inf, expected " in refusal(text)


def test_a_row_twice(refusal: Callable[..., str], bench: Any) -> None:
    bench["rows"].append(bench["rows"][0])
    assert "repeats float32.tflite in litert" in refusal(bench)


def test_one_kind_given_for_the_other(refusal: Callable[..., str], bench_file: Path, parity_file: Path) -> None:
    assert "it has no schema" in refusal(parity_file.read_bytes())
    assert "images is missing; expected the output of `edgedigits parity" in refusal(
        bench_file.read_bytes(), load_parity
    )


@pytest.mark.parametrize("kind", ["benchmark", "parity"])
@given(data=st.data())
def test_junk_anywhere_is_refused_or_shown(
    data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory, bench_file: Path, parity_file: Path
) -> None:
    """Any value anywhere: one clear line, or a comparison and a page without further ado."""
    document = json.loads((bench_file if kind == "benchmark" else parity_file).read_text(encoding="utf-8"))
    changed = put(document, data.draw(st.sampled_from(places(document))), data.draw(JUNK))
    path = tmp_path_factory.mktemp("junk", numbered=True) / "junk.json"
    path.write_text(json.dumps(changed), encoding="utf-8")
    bench = load_benchmark(bench_file)
    try:
        if kind == "benchmark":
            report = load_benchmark(path)
            comparison_text(compare(bench, report))
            render_page(report).encode()
        else:
            render_page(bench, load_parity(path)).encode()
    except InputError as error:
        one_line(error)


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
