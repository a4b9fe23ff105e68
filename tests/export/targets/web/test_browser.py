"""The page in headless Chromium: drawing, the proof of parity, its JSON, damaged files, offline use, phone widths."""

from __future__ import annotations

import http.server
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import CHROMIUM, Browser
from PIL import Image
from strokes import DIGITS
from web_page import open_page, prove, text

from edgedigits.bundle.bundle import Bundle
from edgedigits.parity.check import check_parity
from edgedigits.parity.result import ParityReport
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits_export.targets.web.site import write_site

REQUIRED = os.environ.get("EDGEDIGITS_BROWSER") == "required"
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not REQUIRED, reason="no chromium; Debian: apt-get install --no-install-recommends chromium"
)
Serve = Callable[[Path], http.server.ThreadingHTTPServer]
Run = Callable[..., Any]


@pytest.fixture
def page(browser: Browser, site: Path, serve: Serve) -> http.server.ThreadingHTTPServer:
    """The site in the browser, and the server that it came from."""
    server = serve(site)
    open_page(browser, f"http://127.0.0.1:{server.server_port}/")
    return server


def show_image(browser: Browser, index: int) -> None:
    browser.run("document.getElementById('clear').click()")
    given = f"Object.assign(document.getElementById('index'), {{value: {index}}})"
    browser.run(f"{given}.dispatchEvent(new Event('change'))")
    browser.wait("document.getElementById('verdict').textContent")


@pytest.mark.usefixtures("page")
def test_it_reads_digits_as_one_draws(browser: Browser) -> None:
    for digit, strokes in DIGITS.items():
        for stroke in strokes:
            browser.draw(stroke)
        assert text(browser, "digit") == digit, text(browser, "verdict")
        if digit == "4":
            browser.run("document.getElementById('undo').click()")
            assert text(browser, "digit") != digit
        browser.run("document.getElementById('page').focus()")
        browser.send("Input.dispatchKeyEvent", type="keyDown", key="Escape")
        assert text(browser, "digit") == text(browser, "verdict") == ""
    for stroke in (stroke for digit in "683" for stroke in DIGITS[digit]):  # over each other
        browser.draw(stroke)
    assert text(browser, "verdict").startswith("unsure: ")
    assert "more loops than a digit has" in text(browser, "verdict")


@pytest.mark.usefixtures("page")
def test_an_image_of_the_bundle_without_a_pointer(browser: Browser, y: Any) -> None:
    for index in (0, 1015):
        show_image(browser, index)
        assert text(browser, "digit") == str(y[index])


@pytest.mark.usefixtures("page")
def test_parity_holds_and_its_json_is_read(browser: Browser, tmp_path: Path, edgedigits: Run) -> None:
    saved = prove(browser, tmp_path)
    assert text(browser, "result").startswith("Parity holds: in all ")
    report, timed = load_parity(saved), load_benchmark(saved)
    ran = [row for row in report.rows if row.status == "ok"]
    tflite = {artifact.file for artifact in Bundle("robust").manifest.artifacts if artifact.format == "tflite"}
    assert {row.artifact for row in ran} == tflite
    assert all((row.runtime, row.kernels, row.mismatches) == ("js", "exact", 0) for row in ran)
    assert {row.artifact: row.arithmetic for row in ran} == {
        file: "exact" if "int8" in file else None for file in tflite
    }
    assert [row.status for row in report.rows if row.runtime == "litert.js"] == ["missing"] * len(tflite)
    assert report.passed
    assert timed.machine["cores"] >= 1
    assert any("Chrom" in package for package in timed.machine["packages"])
    assert all(row.samples == 5000 and not row.p50_ns for row in timed.rows if row.status == "ok")
    done = edgedigits("report", saved, saved, "-o", "report.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert "in js: " in done.stdout
    assert edgedigits("compare", saved, saved).returncode == 0
    only_the_table_scrolls_sideways(browser)
    light_and_dark(browser)


def only_the_table_scrolls_sideways(browser: Browser) -> None:
    for width in (320, 390, 768, 1600):
        browser.resize(width, 900)
        root = "document.documentElement"
        assert browser.run(f"[{root}.clientWidth, {root}.scrollWidth, document.body.scrollWidth]") == [width] * 3


def light_and_dark(browser: Browser) -> None:
    browser.draw(DIGITS["3"][0])
    brightness = {}
    for scheme in ("light", "dark"):
        with Image.open(BytesIO(browser.screenshot(1200, 1000, scheme))) as image:
            pixels = np.asarray(image.convert("L"), float)
        brightness[scheme] = np.median(pixels)
        drawn = "document.getElementById('page').getContext('2d').getImageData(0, 0, 512, 512).data"
        red = browser.run(f"{drawn}.filter((value, i, all) => i % 4 === 0 && all[i + 3] === 255)[0]")
        assert abs(red - brightness[scheme]) > 150  # the ink follows the scheme
        assert (np.abs(pixels - np.median(pixels)) > 90).mean() > 0.01
    assert brightness["light"] > 200
    assert brightness["dark"] < 60


def test_a_damaged_model_under_a_matching_hash_fails(
    browser: Browser, serve: Serve, replace_in_bundle: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    """With the very figures that the numpy runtime gives for it."""
    content = bytearray(Bundle().read("int8.tflite"))
    content[5000:7000] = bytes(2000)
    bundle = Bundle(replace_in_bundle("int8.tflite", bytes(content)))
    write_site(bundle, tmp_path / "site", {})
    open_page(browser, f"http://127.0.0.1:{serve(tmp_path / 'site').server_port}/")
    saved = prove(browser, tmp_path)
    assert text(browser, "result").startswith("PARITY FAILS in 1 of ")
    found = rows_by_artifact(load_parity(saved))
    expected: dict[str, Any] = {}
    for artifact in found:  # one row at a time, as near-ties depend on how far rows differ
        kernels = "exact" if "int8" in artifact else "reference"
        report = check_parity(bundle, artifacts=[artifact], runtimes=["numpy"], kernels=[kernels], batch=5000)
        expected |= rows_by_artifact(report)
    assert (found["int8.tflite"].mismatches or 0) > 10
    for name, row in found.items():
        for key in ("mismatches", "mismatched", "ties", "errors", "min_lead_quanta", "ledger", "passed"):
            assert getattr(row, key) == getattr(expected[name], key), (name, key)
        assert row.max_abs_diff == pytest.approx(expected[name].max_abs_diff, abs=1e-4)
        assert row.mean_abs_diff == pytest.approx(expected[name].mean_abs_diff, abs=1e-4)


def rows_by_artifact(report: ParityReport) -> dict[str, Any]:
    return {row.artifact: row for row in report.rows if row.status == "ok"}


@pytest.mark.parametrize("name", ["model/float32.tflite", "model/proof.f32"])
def test_a_cut_download_is_refused(browser: Browser, site: Path, serve: Serve, tmp_path: Path, name: str) -> None:
    shutil.copytree(site, tmp_path / "site")
    whole = (tmp_path / "site" / name).read_bytes()
    (tmp_path / "site" / name).write_bytes(whole[: len(whole) // 2])
    open_page(browser, f"http://127.0.0.1:{serve(tmp_path / 'site').server_port}/")
    if name == "model/proof.f32":
        browser.run("document.getElementById('prove').click()")
        browser.wait("document.getElementById('result').className === 'bad'")
    assert f"{name} is damaged: {len(whole) // 2} bytes" in text(browser, "state") + text(browser, "result")


def test_it_works_offline(browser: Browser, page: http.server.ThreadingHTTPServer) -> None:
    browser.wait("document.getElementById('offline').textContent.includes('works offline')")
    page.shutdown()
    page.server_close()
    open_page(browser, f"http://127.0.0.1:{page.server_port}/")
    browser.draw(DIGITS["3"][0])
    assert text(browser, "digit") == "3"
    show_image(browser, 1015)
    assert text(browser, "digit") == "2"


def test_a_single_file_from_a_disk(browser: Browser, tmp_path: Path) -> None:
    write_site(Bundle("robust"), tmp_path / "page.html", {})
    open_page(browser, (tmp_path / "page.html").as_uri())
    browser.draw(DIGITS["3"][0])
    assert text(browser, "digit") == "3"
    assert load_parity(prove(browser, tmp_path)).passed
    write_site(Bundle("robust"), tmp_path / "draw.html", {}, draw_only=True)
    open_page(browser, (tmp_path / "draw.html").as_uri())
    browser.draw(DIGITS["7"][0])
    assert text(browser, "digit") == "7"
    assert browser.run("document.getElementById('parity').hidden")


@pytest.mark.usefixtures("page")
def test_it_loads_nothing_from_elsewhere(browser: Browser) -> None:
    """Even if somebody adds a script that tries: the policy of the page stops it."""
    found = browser.run(
        "performance.getEntriesByType('resource').every(entry => new URL(entry.name).host === location.host)"
    )
    assert found
    assert browser.run("fetch('http://localhost:1/').catch(cause => String(cause))") == "TypeError: Failed to fetch"
    blocked = (
        "new Promise(resolve => addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective)"
    )
    assert browser.run(f"{blocked}), fetch('http://localhost:1/').catch(() => 0))") == "connect-src"
