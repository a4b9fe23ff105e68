"""The page: what it says first, what it holds, and that nothing in it is more than text."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark.machine import MachineWarning
from edgedigits.benchmark.result import BenchmarkReport, LatencyRow, SustainedPoint
from edgedigits.parity.result import Flip, ParityReport
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.report.page import page
from edgedigits.report.recommendation import duration, recommend, tied

Run = Callable[..., subprocess.CompletedProcess[str]]
FLOAT, INT8, ONNX = "float32.tflite", "int8.tflite", "float32.onnx"
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """The page's elements, its text, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def bench(bench_file: Path) -> BenchmarkReport:
    """The real run with windows that are known: float 10 µs, int8 20 µs, ONNX 30 µs, all steady."""
    medians = {FLOAT: 10_000, INT8: 20_000, ONNX: 30_000}
    report = replace(load_benchmark(bench_file), threats=())
    for artifact, ns in medians.items():
        report = alter(report, artifact, window_p50_ns=(ns - 100, ns, ns + 100), spread=200 / ns, noisy=False)
    return report


@pytest.fixture
def parity(parity_file: Path) -> ParityReport:
    """The real run, with three answers that int8 changes and the gate lets pass."""
    flip = Flip(image=2087, label=6, int8_label=4, lead_quanta=0.43, int8_lead_quanta=0, kind="tie")
    near = Flip(image=675, label=1, int8_label=1, lead_quanta=2.61, int8_lead_quanta=1, kind="near-tie")
    return failing(load_parity(parity_file), INT8, mismatches=3, allowed=3, ledger=(near, flip))


def alter(report: BenchmarkReport, artifact: str, **changes: Any) -> BenchmarkReport:
    rows = [replace(row, **changes) if row.artifact == artifact else row for row in report.rows]
    return replace(report, rows=tuple(rows))


def windows(report: BenchmarkReport, artifact: str, *ns: int) -> BenchmarkReport:
    return alter(report, artifact, window_p50_ns=ns)


def failing(report: ParityReport, artifact: str, kernels: str | None = None, **changes: Any) -> ParityReport:
    changes = changes or {"mismatches": 7, "allowed": 0}
    rows = [
        replace(row, **changes) if row.artifact == artifact and kernels in (None, row.kernels) else row
        for row in report.rows
    ]
    return replace(report, rows=tuple(rows))


def said(bench: BenchmarkReport, parity: ParityReport | None) -> str:
    verdict = recommend(bench, parity)
    return " ".join([verdict.headline, *verdict.reasons])


class TestVerdict:
    def test_float_wins(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        verdict = recommend(bench, parity)
        assert verdict.headline == "Ship float32.tflite in litert: 10.0 µs an image."
        assert verdict.tone == "good"
        text = said(bench, parity)
        assert "It is the quickest of those whose parity passed" in text
        assert "Float wins here: int8 takes 2.00 times as long at best" in text
        assert "It answers as the trained model on every image, on all its kernel sets." in text

    def test_int8_wins(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = said(windows(bench, INT8, 4900, 5000, 5100), parity)
        assert text.startswith("Ship int8.tflite in litert: 5.00 µs an image.")
        assert "int8 wins here: float takes 2.00 times as long at best" in text
        assert "3 answers differ from the trained model's, which the parity run allowed." in text

    @pytest.mark.parametrize("kernels", [None, "reference"])
    def test_the_quickest_fails_parity(self, bench: BenchmarkReport, parity: ParityReport, kernels: str | None) -> None:
        text = said(windows(bench, INT8, 4900, 5000, 5100), failing(parity, INT8, kernels))
        assert text.startswith("Ship float32.tflite in litert")
        assert (
            "int8.tflite in litert was quicker, 5.00 µs, but is not recommended: its parity failed: 7 of 5,000" in text
        )
        assert "Float wins" not in text

    def test_a_crash_in_parity_fails_it(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = said(bench, failing(parity, FLOAT, status="crashed"))
        assert text.startswith("Ship int8.tflite in litert")
        assert "not recommended: it crashed in the parity run" in text

    def test_none_passes_parity(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        for artifact in (FLOAT, INT8, ONNX):
            parity = failing(parity, artifact)
        verdict = recommend(bench, parity)
        assert verdict.headline == "Ship none of these yet: no row that was timed has passed parity."
        assert verdict.row is None
        assert verdict.tone == "bad"

    def test_parity_of_another_version_proves_nothing(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = said(bench, failing(parity, FLOAT, version="0.1"))
        assert "parity was checked with litert 0.1, and" in text
        assert text.startswith("Ship int8.tflite")

    def test_parity_of_another_file_of_that_name_proves_nothing(
        self, bench: BenchmarkReport, parity: ParityReport
    ) -> None:
        assert {row.sha256 for row in parity.rows} == {row.sha256 for row in bench.rows} - {None}
        text = said(bench, failing(parity, FLOAT, sha256="0" * 64))
        assert "parity was checked on another float32.tflite" in text
        assert text.startswith("Ship int8.tflite")

    def test_without_parity(self, bench: BenchmarkReport) -> None:
        verdict = recommend(bench)
        assert verdict.headline.startswith("Ship float32.tflite in litert")
        assert verdict.tone == "doubt"
        assert "Its answers were not checked: give the report a file of edgedigits parity --json" in said(bench, None)

    def test_unseen_digits_prove_nothing(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        assert "Parity ran on unseen digits" in said(bench, replace(parity, unseen=True))

    def test_a_tie_goes_to_fewer_changed_answers(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = said(windows(bench, INT8, 9800, 9950, 10_200), parity)
        assert text.startswith("Ship float32.tflite in litert")
        assert "It ties with int8.tflite in litert (9.95 µs)" in text
        assert "A tie goes to the one that changes fewer answers." in text
        assert "int8 takes as long, within their spread," in text

    def test_a_tie_goes_to_float_where_no_answer_changes(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = said(windows(bench, INT8, 9800, 9950, 10_200), failing(parity, INT8, mismatches=0))
        assert text.startswith("Ship float32.tflite in litert")
        assert "A tie goes to float" in text

    def test_a_tie_goes_to_the_smaller_file(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = said(windows(bench, ONNX, 9900, 10_050, 10_200), parity)
        assert text.startswith("Ship float32.onnx in onnxruntime")
        assert "A tie goes to the smaller file." in text

    def test_one_wild_window_ties_with_nothing(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = said(windows(bench, FLOAT, 9900, 10_000, 90_000), parity)
        assert "ties with" not in text

    def test_invalid(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        verdict = recommend(replace(bench, invalid="the device was throttled during the run; cool it"), parity)
        assert verdict.headline == "INVALID: nothing can be recommended from this run."
        assert verdict.reasons[0] == "The device was throttled during the run; cool it."
        assert verdict.row is None

    def test_cut_short(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        cut = replace(windows(bench, FLOAT, 10_000), cut_short=True)
        assert "The run was cut short; this rests on 1 finished window of it." in said(cut, parity)
        assert recommend(cut, parity).tone == "doubt"

    def test_noise(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = said(alter(bench, FLOAT, noisy=True, spread=0.25), parity)
        assert "Its windows' medians differ by 25 %, which is noisy" in text

    def test_tensorflow_is_never_shipped(self, bench: BenchmarkReport) -> None:
        assert recommend(alter(bench, FLOAT, runtime="tensorflow")).headline.startswith("Ship int8.tflite")

    def test_nothing_ran(self, bench: BenchmarkReport) -> None:
        for artifact in (FLOAT, INT8, ONNX):
            bench = alter(bench, artifact, status="missing", message="not installed; pip install it")
        verdict = recommend(bench)
        assert verdict.headline == "Nothing was measured that a device could run."
        assert "not installed; pip install it." in verdict.reasons[0]
        assert "Ship" not in Reader(page(bench)).text

    @pytest.mark.parametrize("blank", [" ", "  ", "\u3000"])
    def test_a_reason_of_nothing_but_spaces(self, bench: BenchmarkReport, blank: str) -> None:
        assert recommend(replace(bench, invalid=blank)).tone == "bad"
        assert page(replace(bench, invalid=blank, threats=(MachineWarning(blank, blank),)))

    def test_ties_go_both_ways(self) -> None:
        def row(*ns: int) -> LatencyRow:
            return LatencyRow("a", "r", 1, "ok", 1, window_p50_ns=ns)

        assert tied(row(9, 10, 12), row(9, 11, 12))
        assert not tied(row(9, 10, 12), row(11, 12, 13))
        assert not tied(row(9, 10, 99), row(20, 21, 22))


@pytest.mark.parametrize(
    ("ns", "words"),
    [
        (0, "0.00 ns"),
        (70, "70.0 ns"),
        (999, "999 ns"),
        (999.6, "1.00 µs"),
        (9_735, "9.73 µs"),
        (1_191_820, "1.19 ms"),
        (999_600_000, "1.00 s"),
        (7_800_000_000, "7.80 s"),
        (3_600_000_000_000, "3,600 s"),
    ],
)
def test_duration(ns: float, words: str) -> None:
    assert duration(ns) == words


class TestPage:
    def test_it_is_whole_and_alone(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = page(bench, parity)
        read = Reader(text)
        kinds = {kind for kind, _ in read.elements}
        assert not kinds & {"script", "link", "img", "iframe", "object", "embed", "a", "base", "form", "image", "use"}
        names = {name for _, attributes in read.elements for name in attributes}
        assert not {name for name in names if name.startswith("on")} | names & {"src", "href", "xlink:href", "style"}
        assert not re.search(r"https?:|url\(|@import", text)
        policies = [a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]

    def test_the_verdict_is_first(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        read = Reader(page(bench, parity))
        order = [kind for kind, _ in read.elements if kind in ("h1", "h2", "table", "svg")]
        assert order[0] == "h1"
        assert order.count("h1") == 1
        assert read.text.index("Ship float32.tflite") < read.text.index("Parity")

    def test_every_section(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        point = SustainedPoint(FLOAT, "litert", 60.0, 1000, 9_900, 1_800_000, 51_500)
        full = replace(
            bench,
            threats=(MachineWarning("the load is 3", "end it"),),
            sustained=(point, replace(point, seconds=120.0)),
        )
        text = page(full, parity)
        heads = re.findall(r"<h2>(.*?)</h2>", text)
        assert heads == [
            "Warnings",
            "Parity",
            "Latency",
            "Windows",
            "Throughput by batch",
            "Threads",
            "Cold start",
            "Memory",
            "File sizes",
            "Sustained",
            "Machine and method",
        ]
        read = Reader(text)
        for number in (full.rows[0].p50_ns, full.rows[0].p99_ns, full.rows[0].bytes, *full.rows[0].window_p50_ns):
            assert f"{number:,}" in read.text
        assert "1,800" in read.text  # MHz
        assert "51.5" in read.text  # degrees
        assert "Flip ledger of int8.tflite in litert: 1 flipped, 1 nearly" in read.text

    def test_every_figure_is_told(self, bench: BenchmarkReport) -> None:
        read = Reader(page(bench))
        figures = [a for kind, a in read.elements if kind == "svg" and "role" in a]
        kinds = [kind for kind, _ in read.elements]
        assert len(figures) > 10
        assert all(a["role"] == "img" for a in figures)
        assert kinds.count("desc") == len(figures)
        assert kinds.count("title") == len(figures) + 1

    def test_every_sample_is_drawn(self, bench: BenchmarkReport) -> None:
        text = page(bench)
        row = bench.rows[0]
        figure = next(f for f in text.split("<svg ") if f"Latency of {row.artifact} in {row.runtime}" in f)
        places = [float(x) for x in re.findall(r'<rect x="([0-9.]+)%"', figure)]
        assert len(places) > 5
        assert 0 <= min(places) < max(places) <= 100

    def test_a_run_that_is_worth_nothing_is_red(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        text = page(replace(bench, invalid="the device was throttled", cut_short=True), parity)
        assert '<h1 class="bad">INVALID' in text
        assert "recommended</span>" not in text
        assert "The run was cut short" in text

    def test_nothing_is_more_than_text(self, bench: BenchmarkReport, parity: ParityReport) -> None:
        evil = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&amp;"
        machine = {key: evil if isinstance(value, str) else value for key, value in bench.machine.items()}
        machine["packages"] = {evil: evil}
        machine["cpu_features"] = (evil,)
        rows = [replace(row, artifact=f"{row.artifact}{evil}", runtime=evil) for row in bench.rows]
        broken = replace(rows[0], artifact="x", status="crashed", message=evil)
        starts = [replace(start, artifact=evil, runtime=evil) for start in bench.starts]
        attacked = replace(
            bench,
            bundle=f"/home/{evil}",
            machine=machine,
            threats=(MachineWarning(evil, evil),),
            rows=(*rows, broken),
            starts=tuple(starts),
        )
        proved = replace(
            parity,
            rows=tuple(replace(r, artifact=evil, runtime=evil, kernels=evil, message=evil) for r in parity.rows),
        )
        for shown in (page(attacked), page(attacked, proved), page(replace(attacked, invalid=evil), proved)):
            kinds = {kind for kind, _ in Reader(shown).elements}
            assert not kinds & {"script", "img"}
            assert evil in "".join(Reader(shown).words)

    def test_a_row_without_histogram_batches_or_starts(self, bench: BenchmarkReport) -> None:
        for artifact in (FLOAT, INT8, ONNX):
            bench = alter(bench, artifact, histogram=(), batch_ns={}, knee=None, threads_p50_ns={}, p99_ns=None)
        text = page(replace(bench, starts=()))
        assert "Throughput" not in text
        assert "Cold start" not in text

    @pytest.mark.parametrize("histogram", [((1, 1),), ((5, 3), (2**53, 1))], ids=["one", "wide"])
    def test_odd_histograms(self, bench: BenchmarkReport, histogram: Any) -> None:
        for artifact in (FLOAT, INT8, ONNX):
            bench = alter(bench, artifact, histogram=histogram, batch_ns={"1": 0}, knee=1)
        assert not re.search(r'"-?(nan|inf)', page(bench))


class TestCommand:
    def test_one_file(self, edgedigits: Run, bench_file: Path, parity_file: Path, tmp_path: Path) -> None:
        done = edgedigits("report", bench_file, parity_file, "-o", "r.html")
        assert done.returncode == 0, done
        assert done.stdout.startswith("r.html: Ship ")
        assert [path.name for path in (tmp_path / "here").iterdir()] == ["r.html"]
        text = (tmp_path / "here" / "r.html").read_text(encoding="utf-8")
        assert text == page(load_benchmark(bench_file), load_parity(parity_file))

    def test_where_it_cannot_be_written(self, edgedigits: Run, bench_file: Path) -> None:
        done = edgedigits("report", bench_file, "-o", "/proc/report.html")
        assert done.returncode == 2
        assert done.stderr.startswith("edgedigits: cannot write /proc/report.html")
        assert len(done.stderr.splitlines()) == 1
