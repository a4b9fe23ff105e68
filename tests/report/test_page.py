"""The page: its sections, its charts, and that all text in it is escaped."""

from __future__ import annotations

import json
import math
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
HEADINGS = ["Ship float32.tflite in litert: 10.0 µs per image from Python.", "Warnings", "Parity", "Latency", "Windows"]
HEADINGS += ["Throughput by batch", "Threads", "Cold start", "Memory", "File sizes", "Sustained", "Machine and method"]


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
    points = tuple(SustainedPoint("a", "r", seconds, 1000, 9_900, 1_800_000, 51_500) for seconds in (60.0, 120.0))
    rows = (*bench.rows, replace(bench.rows[0], artifact="x.tflite", status="crashed", message="ended by SIGILL"))
    return replace(bench, rows=rows, sustained=points, threats=(MachineWarning("the load is 3", "end it"),))


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
    assert re.findall(r"<h[12].*?>(.*?)</h[12]>", text) == HEADINGS
    shown = Reader(text).text
    row = full.rows[0]
    expected = [f"{number:,}" for number in (row.samples, row.p50_ns, row.p99_ns, row.bytes, *row.window_p50_ns)]
    expected += ["3 of 5,000", "Flips of int8.tflite in litert: 1 flipped, 1 nearly flipped", "1,800", "51.5"]
    expected += ["The load is 3. To fix it: end it", "x.tflite in litert: crashed: ended by SIGILL"]
    assert [text for text in expected if text not in shown] == []


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
    text = render_page(full)
    charts = text.count('<svg width="100%"')
    assert charts > 10
    assert text.count("<desc>") == text.count("<title>") - 1 == text.count('role="img"') == charts


@pytest.mark.parametrize("ns", [(1,), (5, 2**53), tuple(math.ceil(1.02**n) for n in range(500, 520))])
def test_histograms_stay_inside_the_chart(bench: BenchmarkReport, ns: tuple[int, ...]) -> None:
    histogram = tuple((value, 1) for value in ns)
    rows = tuple(replace(row, histogram=histogram, batch_ns={"1": 0}, knee=1) for row in bench.rows)
    text = render_page(replace(bench, rows=rows))
    bars = [float(x) for x in re.findall(r'<rect x="([0-9.-]+)%"[^>]* class="bar"', text.split("<h2>Windows")[0])]
    assert len(bars) == len(ns) * len(rows)
    assert 0 <= min(bars) <= max(bars) <= 100
    assert not re.search(r'"-?(nan|inf)', text)


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


def test_the_command_writes_one_file(edgedigits: Run, bench_file: Path, parity_file: Path, tmp_path: Path) -> None:
    done = edgedigits("report", bench_file, parity_file, "-o", "r.html")
    assert done.returncode == 0, done
    assert done.stdout.startswith("r.html: Ship ")
    (written,) = (tmp_path / "here").iterdir()
    assert written.read_text(encoding="utf-8") == render_page(load_benchmark(bench_file), load_parity(parity_file))


def test_the_page_on_standard_output(edgedigits: Run, bench_file: Path, parity_file: Path) -> None:
    done = edgedigits("report", bench_file, parity_file, "-o", "-")
    assert (done.returncode, done.stdout[:15].lower(), done.stdout.count("</html>")) == (0, "<!doctype html>", 1)
    assert done.stderr.startswith("-: ")


def test_only_the_report_needs_jinja2(edgedigits: Run, hidden: Callable[..., Any], bench_file: Path) -> None:
    environment = hidden("jinja2", "markupsafe")
    assert edgedigits("compare", bench_file, bench_file, env=environment).returncode == 0
    done = edgedigits("report", bench_file, env=environment)
    assert done.returncode == 2
    assert re.fullmatch(r"edgedigits: the report needs Jinja2 \(.*\); `pip install Jinja2`, or .*\n", done.stderr)
