"""`benchmark --watch`: one row without a pause, with the clock, the temperature and throttling as they change."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgedigits.benchmark.result import BenchmarkReport, SustainedPoint, thin_out
from edgedigits.benchmark.text import watch_line, watch_start, watch_summary
from edgedigits.benchmark.watch import watch
from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import InputError
from edgedigits.report.loading import load_benchmark
from edgedigits.report.page import render_page
from edgedigits.system.text import to_json

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-m", "edgedigits", "benchmark", "--watch"]
CLOCK, HEAT = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "sys/class/thermal/thermal_zone0/temp"
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchmarkReport, list[str]]:
    """A real run on a device whose sensors say that it becomes hot, ended by Ctrl-C, and the lines that it shows."""
    root = tmp_path_factory.mktemp("root")
    lines: list[str] = []
    known: dict[str, bool] = {}

    def write(name: str, text: str) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    def on_start(row: str, sensors: dict[str, bool]) -> None:
        known.update(sensors)
        lines.append(watch_start(row, sensors))

    def on_point(point: SustainedPoint) -> None:
        lines.append(watch_line(point, known))
        write(HEAT, "81500")
        write(THROTTLED, "throttled=0x40004")
        if len(lines) == 4:
            raise KeyboardInterrupt

    write(HEAT, "50000")
    write(THROTTLED, "throttled=0x0")
    report = watch(Bundle(), runtimes=["litert"], step_seconds=0.05, root=root, on_start=on_start, on_point=on_point)
    return report, lines


def test_the_sensors_are_followed(watched: tuple[BenchmarkReport, list[str]]) -> None:
    report, lines = watched
    assert lines[0] == "float32.tflite in litert, Ctrl-C ends it; not available here: clock"
    assert [re.sub("[1-9]|,", "0", line) for line in lines[1:]] == [
        re.sub("[1-9]|,", "0", f"0:00  p50 {point.p50_ns:,} ns  {heat} °C  {flag}")
        for point, heat, flag in zip(
            report.sustained, ("50.0", "81.5", "81.5"), ("not throttled", "THROTTLED", "THROTTLED"), strict=True
        )
    ]
    assert [point.throttling for point in report.sustained] == [(), ("throttled",), ("throttled",)]
    assert all(point.samples >= 256 and point.frequency_khz is None for point in report.sustained)
    assert report.invalid is not None
    assert not report.passed
    assert not report.cut_short  # Ctrl-C is how it ends
    summary = watch_summary(report)
    assert summary.endswith("; 50.0 to 81.5 °C; throttled first at 0 s")
    assert "MHz" not in summary


def test_the_report_draws_it(watched: tuple[BenchmarkReport, list[str]], tmp_path: Path) -> None:
    report, _ = watched
    (tmp_path / "w.json").write_text(to_json(report.to_json()), encoding="utf-8")
    assert to_json(load_benchmark(tmp_path / "w.json").to_json()) == (tmp_path / "w.json").read_text(encoding="utf-8")
    page = render_page(replace(report, invalid=None))
    assert re.search('<h1 class="doubt">Watched float32.tflite in litert: .* µs at first, .* µs after', page)
    assert page.count('class="throttled"') == 2
    assert re.findall("<h2>(.*?)</h2>", page) == ["Parity", "Sustained", "Machine and method"]
    assert "0, watched in steps of 0.05 s" in page
    many = [replace(report.sustained[n % 3], seconds=float(n), samples=1) for n in range(20_000)]
    steps = thin_out(many, 50)
    assert (len(steps), sum(step.samples for step in steps), steps[-1].seconds) == (50, 20_000, 19_999.0)
    assert {step.throttling for step in steps} == {("throttled",)}
    assert {step.temperature_millicelsius for step in steps} == {81_500}
    assert thin_out(report.sustained, 50) == list(report.sustained)
    assert len(render_page(replace(report, sustained=tuple(many)))) < 100_000


def test_a_runtime_that_crashes_is_a_row(kill_next_child: Callable[[], None]) -> None:
    kill_next_child()
    report = watch(Bundle(), runtimes=["numpy"])
    assert [(row.status, row.signal) for row in report.rows] == [("crashed", "SIGKILL")]
    assert watch_summary(report).startswith("float32.tflite in numpy: crashed: the runtime crashed (SIGKILL)")
    assert not report.passed


def test_a_runtime_that_hangs_is_stopped(kill_next_child: Callable[[int], None]) -> None:
    kill_next_child(signal.SIGSTOP)
    report = watch(Bundle(), runtimes=["numpy"], timeout=0.5)
    assert [row.status for row in report.rows] == ["timeout"]


def test_for_a_time_in_a_pipe(edgedigits: Run, tmp_path: Path) -> None:
    done = edgedigits("benchmark", "--watch", "--sustained", "0.01", "--runtime", "numpy", "--json", "-")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["rows"] == []
    assert facts["sustained"][-1]["seconds"] >= 0.6
    head, *points, summary = done.stderr.splitlines()
    assert head.startswith("float32.tflite in numpy, for 0.01 min")
    assert len(points) == len(facts["sustained"]) >= 1
    assert all(re.match(r"0:\d\d  p50 [\d,]+ ns", line) for line in points)
    assert re.match(r"\d s: p50 [\d,]+ ns at first, ", summary)


def test_until_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    """One line is replaced again and again. Ctrl-C, typed there, ends it with a summary, the JSON and status 0."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, "--runtime", "numpy", "--json", "w.json"]
    setup: dict[str, Any] = {"start_new_session": True, "preexec_fn": lambda: take_terminal(theirs)}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, **setup)
    os.close(theirs)
    shown = b""
    while len(re.findall(rb"\r\x1b\[K\d:\d\d  p50 ", shown)) < 2:
        shown += os.read(ours, 1000)
    os.write(ours, b"\x03")
    assert process.wait() == 0
    while b" at first, " not in shown:
        shown += os.read(ours, 1000)
    os.close(ours)
    assert shown.count(b"\n") <= 2  # the first line and the summary
    assert len(load_benchmark(tmp_path / "w.json").sustained) >= 2


def take_terminal(descriptor: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("minutes", [-1.0, float("nan"), float("inf")])
def test_a_time_that_makes_no_sense(minutes: float) -> None:
    with pytest.raises(InputError, match="0 or more minutes"):
        watch(Bundle(), minutes=minutes)


def test_options_of_the_other_rows_are_refused(edgedigits: Run) -> None:
    done = edgedigits("benchmark", "--watch", "--quick")
    assert done.returncode == 2
    assert done.stderr.startswith("edgedigits: --watch takes no --quick, ")
