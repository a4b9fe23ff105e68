"""Several results in one page: which files belong together, and what the page says about them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from edgedigits.errors import InputError
from edgedigits.report.devices import find_devices, load_devices
from edgedigits.report.page import render_devices, render_page
from edgedigits.report.side_by_side import Cell, latency_lines, parity_lines, start_lines, summary

Run = Callable[..., subprocess.CompletedProcess[str]]
Save = Callable[..., Path]


@pytest.fixture
def save_benchmark(tmp_path: Path, bench_file: Path) -> Save:
    """Write the benchmark of another host, whose times are so many times as long."""

    def save(name: str, host: str | None, times: int = 1, **changes: Any) -> Path:
        facts = json.loads(bench_file.read_text(encoding="utf-8")) | changes
        facts["machine"]["host"] = host
        for row in facts["rows"]:
            row |= {"window_p50_ns": [times * 10_000] * 2, "noisy": False}
        return write(tmp_path / name, facts)

    return save


@pytest.fixture
def save_parity(tmp_path: Path, parity_file: Path) -> Save:
    def save(name: str, host: str | None, **changes: Any) -> Path:
        return write(tmp_path / name, json.loads(parity_file.read_text(encoding="utf-8")) | {"host": host} | changes)

    return save


def write(path: Path, facts: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts), encoding="utf-8")
    return path


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", page.partition("</style>")[2])).split())


def found(*paths: Path) -> list[tuple[str, bool, bool]]:
    """Each device's label, and whether it has a benchmark and a parity run."""
    return [(d.label, d.benchmark is not None, d.parity is not None) for d in find_devices(paths)[0]]


def test_files_of_one_device_are_found_in_any_order(save_benchmark: Save, save_parity: Save) -> None:
    a, b = save_benchmark("pi4/bench.json", None), save_benchmark("pi5/bench.json", None, 2)
    p, q = save_parity("pi4/parity.json", None), save_parity("pi5/parity.json", None, bundle="other")
    assert found(q, a, p, b) == [("pi4", True, True), ("pi5", True, True)]
    devices, remarks = find_devices([b, q, p, a])
    assert [device.parity is not None and device.parity.bundle == "other" for device in devices] == [True, False]
    assert remarks == []
    a, b = save_benchmark("bench-pi4.json", None), save_benchmark("bench-pi5.json", None, 2)
    p, q = save_parity("there/parity_pi5.json", None), save_parity("there/parity_pi6.json", None, bundle="other")
    assert found(a, b, p, q) == [("pi4", True, False), ("pi5", True, True), ("pi6", False, True)]
    assert find_devices([a, b, p, q])[1][0].startswith(f"{q}: no benchmark belongs to it; ")


def test_files_are_told_apart_by_host_and_never_mixed(save_benchmark: Save, save_parity: Save) -> None:
    a, b = save_benchmark("one.json", "pi"), save_benchmark("two.json", "jetson", 2)
    assert found(a, b, save_parity("x.json", "jetson")) == [("pi", True, False), ("jetson", True, True)]
    wrong = save_parity("parity-one.json", "elsewhere")
    assert found(a, b, wrong) == [("pi", True, False), ("jetson", True, False), ("elsewhere", False, True)]


def test_a_label_is_unique(save_benchmark: Save) -> None:
    folders = [save_benchmark(f"{name}/bench.json", "raspberrypi", n + 1) for n, name in enumerate(("a", "b"))]
    assert [label for label, *_ in found(*folders)] == ["raspberrypi (a)", "raspberrypi (b)"]
    names = [save_benchmark(f"{name}.json", "raspberrypi", n + 1) for n, name in enumerate(("old", "new"))]
    assert [label for label, *_ in found(*names)] == ["raspberrypi (old)", "raspberrypi (new)"]
    assert summary(find_devices(names)[0])[0] == "None of 2 runs has a row to ship."
    again = [device.label for device in load_devices([("pi", names[0], None), ("pi", names[0], None)])]
    assert again == ["pi (1)", "pi (2)"]


def test_the_same_result_is_shown_once(save_benchmark: Save, bench_file: Path, parity_file: Path) -> None:
    copy = save_benchmark("copy.json", "pi")
    devices, remarks = find_devices([copy, copy])
    assert len(devices) == 1
    assert remarks == [f"{copy} is the same result as {copy}; it is shown once"]
    timed, proved = (json.loads(path.read_text(encoding="utf-8")) for path in (bench_file, parity_file))
    rows = [proved["rows"][0] | row for row in timed["rows"]]
    both = write(copy, proved | timed | {"rows": rows})  # as a web page writes it
    (device,), remarks = find_devices([both, both])
    assert remarks == []
    assert device.benchmark is not None
    assert device.parity is not None
    assert len(device.benchmark.rows) == len(device.parity.rows) == len(rows)


def test_one_benchmark_and_one_parity_run_give_the_page_of_one_device(bench_file: Path, parity_file: Path) -> None:
    devices, remarks = find_devices([parity_file, bench_file])
    (device,) = devices
    assert device.benchmark is not None
    page = render_page(device.benchmark, device.parity)
    assert page == render_devices(devices, remarks) == render_devices(load_devices([("pi", bench_file, parity_file)]))


def test_ratios_are_to_the_slowest_valid_run(save_benchmark: Save) -> None:
    paths = [save_benchmark(f"{host}/b.json", host, times) for host, times in (("pi4", 4), ("pi5", 1))]
    paths.append(save_benchmark("bad/b.json", "bad", 100, invalid="the device was throttled"))
    devices, _ = find_devices(paths)
    for line in latency_lines(devices):
        slow, fast, bad = line.cells
        assert (slow.text, slow.note, fast.text, fast.note) == ("40.0 µs", "1.00×", "10.0 µs", "4.00×")
        assert bad == Cell("1.00 ms", "INVALID", "bad")
    assert [line.cells[2].kind for line in start_lines(devices)] == ["bad", "bad"]
    text = text_of(render_devices(devices))
    assert "None of 3 devices has a row to ship." in text
    assert "INVALID: this run does not support a recommendation. The device was throttled." in text


def test_without_parity_nothing_is_shipped_or_green(save_benchmark: Save, save_parity: Save, bench_file: Path) -> None:
    rows = json.loads(bench_file.read_text())["rows"]
    broken = [rows[0] | {"status": "crashed", "message": "ended by SIGILL"}, *rows[1:]]
    paths = [save_benchmark("a/b.json", "pi4", rows=broken), save_benchmark("b/b.json", "pi5")]
    devices, _ = find_devices([*paths, save_parity("a/parity.json", "pi4")])
    assert {(line.cells[0].text, line.cells[1].text) for line in parity_lines(devices)} == {("passes", "not checked")}
    text = text_of(render_devices(devices))
    assert "1 of 2 devices has a row to ship." in text
    assert "Fastest, but unproven: " in text
    assert "pi4 : float32.tflite in litert: crashed: ended by SIGILL" in text
    chosen = [[cell.kind for cell in line.cells].count("chosen") for line in latency_lines(devices)]
    assert sum(chosen) == 1
    assert Cell("crashed", kind="bad") in [line.cells[0] for line in latency_lines(devices)]


def test_different_models_are_never_in_one_line(save_benchmark: Save, bench_file: Path) -> None:
    rows = json.loads(bench_file.read_text())["rows"]
    other = [row | {"sha256": "ab" * 32} if row["artifact"] == "int8.tflite" else row for row in rows]
    old = [{key: value for key, value in row.items() if key != "sha256"} for row in rows]
    paths = [save_benchmark("a/b.json", "a"), save_benchmark("b/b.json", "b", 2, rows=other)]
    devices, _ = find_devices([*paths, save_benchmark("c/b.json", "c", 3, rows=old)])
    lines = [line for line in latency_lines(devices) if line.name == "int8.tflite"]
    assert [[cell.text != "-" for cell in line.cells] for line in lines] == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]
    assert all(cell.note == "" for line in lines for cell in line.cells)
    assert [line.detail.partition(", ")[2] for line in lines[1:]] == ["abababab…", "unknown checksum"]
    text = text_of(render_devices(devices))
    assert re.search(
        r"int8\.tflite is not the same file everywhere: SHA-256 \w{8}… on a; SHA-256 abababab… on b\.", text
    )
    assert "float32.onnx is not the same file" not in text


def test_a_parity_run_alone(edgedigits: Run, parity_file: Path, tmp_path: Path) -> None:
    done = edgedigits("report", parity_file, "-o", "r.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"r\.html: Not benchmarked; parity passes in (\d+) of \1 rows\.\n", done.stdout)


def test_the_command_takes_many_files(edgedigits: Run, save_benchmark: Save, save_parity: Save, tmp_path: Path) -> None:
    hosts = [f"pi{n}" for n in range(10)]
    paths = [save_benchmark(f"{host}/bench.json", host, n + 1) for n, host in enumerate(hosts)]
    paths += [save_parity(f"{host}/parity.json", host, bundle=host) for host in hosts]
    done = edgedigits("report", *paths, "-o", "r.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "r.html: 10 of 10 devices have a row to ship.\n", "")
    page = (tmp_path / "here" / "r.html").read_text(encoding="utf-8")
    assert re.findall(r"<h[12].*?>(.*?)</h[12]>", page)[0] == "10 of 10 devices have a row to ship."
    assert [host for host in hosts if f'<th scope="col">{host}</th>' not in page] == []


def test_a_file_of_another_schema_is_refused_by_name(save_benchmark: Save) -> None:
    paths = [save_benchmark("a.json", "a"), save_benchmark("b.json", "b", schema=2)]
    with pytest.raises(InputError, match=r"b\.json: schema is 2, expected 1; expected the output of"):
        find_devices(paths)


def test_another_result_is_refused(edgedigits: Run, tmp_path: Path) -> None:
    done = edgedigits("report", write(tmp_path / "i.json", {"healthy": True, "machine": {}}))  # as doctor writes it
    assert done.returncode == 2
    assert done.stderr.startswith(f"edgedigits: {tmp_path / 'i.json'}: it is neither a benchmark nor a parity run; ")
    assert done.stderr.endswith("`edgedigits benchmark --json FILE` or `edgedigits parity --json FILE`\n")


def test_a_device_without_results_has_a_column(bench_file: Path, parity_file: Path) -> None:
    text = text_of(render_devices(load_devices([("here", bench_file, parity_file), ("off <b>", None, None)])))
    assert "1 of 2 devices has a row to ship." in text
    assert "off <b> No result." in text
