"""The page: its sections, its charts, and that all text in it is escaped."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark.machine import MachineWarning
from edgedigits.benchmark.result import BenchmarkReport, SustainedPoint
from edgedigits.parity.result import ParityReport
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.report.page import render_page

Run = Callable[..., subprocess.CompletedProcess[str]]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&amp;{{ 7 * 7 }}{% endif %}"
SECTIONS = ["Warnings", "Parity", "Latency", "Windows", "Throughput by batch", "Threads", "Cold start", "Memory"]
SECTIONS += ["File sizes", "Sustained", "Machine and method"]


class Reader(HTMLParser):
    """The page's elements and text. Every element must be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag == "meta" else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open[-1:] == ["style"] else data


@pytest.fixture
def full(bench: BenchmarkReport) -> BenchmarkReport:
    """A benchmark that fills every section."""
    point = SustainedPoint("float32.tflite", "litert", 60.0, 1000, 9_900, 1_800_000, 51_500)
    crashed = replace(bench.rows[0], artifact="x.tflite", status="crashed", message="ended by SIGILL")
    return replace(
        bench,
        threats=(MachineWarning("the load is 3", "end it"),),
        rows=(*bench.rows, crashed),
        sustained=(point, replace(point, seconds=120.0)),
    )


def test_the_page_is_one_file_without_scripts_or_requests(full: BenchmarkReport, parity: ParityReport) -> None:
    text = render_page(full, parity)
    elements = Reader(text).elements
    forbidden = {"script", "link", "img", "iframe", "object", "embed", "a", "base", "form", "image", "use"}
    assert not forbidden & {tag for tag, _ in elements}
    names = {name for _, attributes in elements for name in attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "href", "xlink:href", "style"}
    assert not re.search(r"https?:|url\(|@import", text)
    policies = [a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def test_every_section(full: BenchmarkReport, parity: ParityReport) -> None:
    text = render_page(full, parity)
    assert text.startswith("<!doctype html>")
    assert re.findall(r"<h[12].*?>(.*?)</h[12]>", text) == [
        "Ship float32.tflite in litert: 10.0 µs per image.",
        *SECTIONS,
    ]
    shown = Reader(text).text
    row = full.rows[0]
    for number in (row.samples, row.p50_ns, row.p99_ns, row.bytes, *row.window_p50_ns):
        assert f"{number:,}" in shown
    for expected in (
        "The load is 3. To fix it: end it",
        "x.tflite in litert: crashed: ended by SIGILL",
        "3 of 5,000",
        "Flips of int8.tflite in litert: 1 flipped, 1 nearly flipped",
        "1,800",  # MHz
        "51.5",  # °C
    ):
        assert expected in shown


def test_sections_without_data_are_left_out(bench: BenchmarkReport) -> None:
    nothing: dict[str, Any] = {"histogram": (), "batch_ns": {}, "knee": None, "threads_p50_ns": {}, "p99_ns": None}
    rows = tuple(replace(row, **nothing) for row in bench.rows)
    text = render_page(replace(bench, rows=rows, starts=()))
    assert re.findall("<h2>(.*?)</h2>", text) == ["Parity", "Latency", "Windows", "File sizes", "Machine and method"]
    assert "no parity file was given" in text


def test_an_invalid_run_recommends_nothing(bench: BenchmarkReport, parity: ParityReport) -> None:
    for reason in ("the device was throttled", " ", "\u3000"):
        run = replace(bench, invalid=reason, cut_short=True, threats=(MachineWarning(reason, reason),))
        text = render_page(run, parity)
        assert '<h1 class="bad">INVALID' in text
        assert "recommended</span>" not in text
        assert "The run was interrupted" in text


def test_every_chart_is_described_for_screen_readers(full: BenchmarkReport) -> None:
    elements = Reader(render_page(full)).elements
    roles = [attributes["role"] for tag, attributes in elements if tag == "svg" and "role" in attributes]
    tags = [tag for tag, _ in elements]
    assert len(roles) > 10
    assert set(roles) == {"img"}
    assert tags.count("desc") == tags.count("title") - 1 == len(roles)


def test_a_histogram_shows_every_bin(bench: BenchmarkReport) -> None:
    histogram = tuple((round(1.02**n), 1) for n in range(500, 520))
    rows = (replace(bench.rows[0], histogram=histogram), *bench.rows[1:])
    svg = next(s for s in render_page(replace(bench, rows=rows)).split("<svg ") if "Latency of float32.tflite" in s)
    positions = [float(x) for x in re.findall(r'<rect x="([0-9.]+)%"', svg)]
    assert len(positions) > 5
    assert 0 <= min(positions) < max(positions) <= 100


@pytest.mark.parametrize("histogram", [((1, 1),), ((5, 3), (2**53, 1))], ids=["one sample", "wide"])
def test_extreme_values_give_finite_coordinates(bench: BenchmarkReport, histogram: tuple[tuple[int, int], ...]) -> None:
    rows = tuple(replace(row, histogram=histogram, batch_ns={"1": 0}, knee=1) for row in bench.rows)
    assert not re.search(r'"-?(nan|inf)', render_page(replace(bench, rows=rows)))


def hostile(value: Any) -> Any:
    """The same document with markup appended to every string but the status ``ok``."""
    if isinstance(value, dict):
        return {key + HOSTILE * (key == "numpy"): hostile(item) for key, item in value.items()}  # a package's name too
    if isinstance(value, list | tuple):
        return [hostile(item) for item in value]
    return value + HOSTILE if isinstance(value, str) and value != "ok" else value


def test_every_string_is_escaped(full: BenchmarkReport, parity: ParityReport, tmp_path: Path) -> None:
    """With markup in every string field the page has the same elements and attributes as without."""
    machine = full.machine | {"cpu_features": ["neon"]}
    before = {"raw": 1, "now": ["throttled"], "since_boot": []}
    full = replace(full, machine=machine, throttling={"before": before, "after": before})
    for name, report in (("bench.json", full), ("parity.json", parity)):
        (tmp_path / name).write_text(json.dumps(hostile(report.to_json())), encoding="utf-8")
    attacked, proved = load_benchmark(tmp_path / "bench.json"), load_parity(tmp_path / "parity.json")
    for invalid in (None, "throttled"):
        plain = Reader(render_page(replace(full, invalid=invalid), parity))
        text = render_page(replace(attacked, invalid=invalid and invalid + HOSTILE), proved)
        assert "<script" not in text
        read = Reader(text)
        assert [(tag, set(a)) for tag, a in read.elements] == [(tag, set(a)) for tag, a in plain.elements]
        assert read.text.count(HOSTILE) > 100


class TestCommand:
    def test_it_writes_one_file(self, edgedigits: Run, bench_file: Path, parity_file: Path, tmp_path: Path) -> None:
        done = edgedigits("report", bench_file, parity_file, "-o", "r.html")
        assert done.returncode == 0, done
        assert done.stdout.startswith("r.html: Ship ")
        assert [path.name for path in (tmp_path / "here").iterdir()] == ["r.html"]
        text = (tmp_path / "here" / "r.html").read_text(encoding="utf-8")
        assert text == render_page(load_benchmark(bench_file), load_parity(parity_file))

    def test_an_unwritable_output(self, edgedigits: Run, bench_file: Path) -> None:
        done = edgedigits("report", bench_file, "-o", "/proc/report.html")
        assert done.returncode == 2
        assert done.stderr.startswith("edgedigits: cannot write /proc/report.html")
        assert len(done.stderr.splitlines()) == 1

    def test_only_the_report_needs_jinja2(self, edgedigits: Run, hidden: Callable[..., Any], bench_file: Path) -> None:
        environment = hidden("jinja2", "markupsafe")
        assert edgedigits("compare", bench_file, bench_file, env=environment).returncode == 0
        done = edgedigits("report", bench_file, env=environment)
        assert done.returncode == 2
        assert done.stderr.startswith(
            "edgedigits: the report needs Jinja2 (No module named 'jinja2'); `pip install Jinja2`"
        )
        assert len(done.stderr.splitlines()) == 1
