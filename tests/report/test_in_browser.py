"""The report in a real browser: headless Chromium, light and dark, on a desktop and on a phone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.report.page import page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("EDGEDIGITS_BROWSER") == "required"
pytestmark = pytest.mark.skipif(
    BROWSER is None and not REQUIRED, reason="no chromium; Debian: apt-get install --no-install-recommends chromium"
)
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--no-first-run", "--allow-file-access-from-files"]
DARK, LIGHT = 0, 1
# A window of Chromium is at least 500 px wide, so a phone is a frame in one; the script is in this page, not in ours.
FRAME = """<!doctype html><style>body {{ margin: 0 }} iframe {{ border: 0; display: block }}</style>
<iframe src="{src}" width="{width}" height="{height}"></iframe>
<script>onload = () => {{
  const inside = frames[0].document, root = inside.documentElement;
  document.body.dataset.seen = [root.clientWidth, root.scrollWidth, inside.body.scrollWidth].join(" ");
}}</script>"""


@pytest.fixture(scope="module")
def report(bench_file: Path, parity_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(load_benchmark(bench_file), load_parity(parity_file)), encoding="utf-8")
    return path


@pytest.fixture
def chromium(tmp_path: Path) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        assert BROWSER is not None, "EDGEDIGITS_BROWSER=required, and there is no chromium"
        command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def framed(tmp_path: Path) -> Callable[[Path, int, int], str]:
    def write(page: Path, width: int, height: int = 900) -> str:
        path = tmp_path / f"frame{width}.html"
        path.write_text(FRAME.format(src=page.as_uri(), width=width, height=height), encoding="utf-8")
        return path.as_uri()

    return write


def widths(dom: str) -> list[int]:
    """Of the framed page: what is seen of it, what its root scrolls over, and its body."""
    found = re.search(r'data-seen="([0-9 ]+)"', dom)
    assert found, "the page was not measured"
    return [int(number) for number in found[1].split()]


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1200])
def test_the_page_never_scrolls_sideways(
    chromium: Callable[..., str], framed: Callable[..., str], report: Path, width: int
) -> None:
    assert widths(chromium("--dump-dom", framed(report, width))) == [width, width, width]


def test_a_page_that_does_is_found(
    chromium: Callable[..., str], framed: Callable[..., str], report: Path, tmp_path: Path
) -> None:
    wide = tmp_path / "wide.html"
    wide.write_text(report.read_text(encoding="utf-8").replace("overflow-x: auto;", ""), encoding="utf-8")
    assert widths(chromium("--dump-dom", framed(wide, 360)))[1] > 360


def test_the_policy_stops_scripts_and_requests(chromium: Callable[..., str], report: Path, tmp_path: Path) -> None:
    attacked = tmp_path / "attacked.html"
    script = "<script>document.title = 'it ran'</script></body>"
    attacked.write_text(report.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    assert "<title>it ran</title>" not in chromium("--dump-dom", attacked.as_uri())
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", attacked.read_text(encoding="utf-8"))
    attacked.write_text(free, encoding="utf-8")
    assert "<title>it ran</title>" in chromium("--dump-dom", attacked.as_uri())


def test_the_browser_reads_it_as_it_was_written(chromium: Callable[..., str], report: Path) -> None:
    dom, written = chromium("--dump-dom", report.as_uri()), report.read_text(encoding="utf-8")
    for kind in ("section", "table", "tr", "td", "svg", "rect", "line", "circle", "text", "li", "dd"):
        assert dom.count(f"<{kind}") == written.count(f"<{kind}") > 0, kind
    assert "<script" not in dom


@pytest.mark.parametrize(("width", "height"), [(1200, 1000), (390, 844)], ids=["desktop", "phone"])
def test_light_and_dark(
    chromium: Callable[..., str],
    framed: Callable[..., str],
    report: Path,
    tmp_path: Path,
    width: int,
    height: int,
) -> None:
    seen = {}
    for scheme in (LIGHT, DARK):
        file = tmp_path / f"{width}-{scheme}.png"
        options = [f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={max(width, 500)},{height}"]
        chromium(*options, f"--screenshot={file}", framed(report, width, height))
        with Image.open(file) as picture:
            seen[scheme] = np.asarray(picture.convert("L"))[:, :width]
    light, dark = seen[LIGHT].astype(float), seen[DARK].astype(float)
    assert light.mean() > 200
    assert dark.mean() < 80
    for picture in (light, dark):
        ink = np.abs(picture - np.median(picture)) > 90
        assert 0.01 < ink.mean() < 0.4  # words and lines on one ground
        assert ink[: height // 2].any(axis=1).mean() > 0.25  # the verdict, at the top
        assert not ink[:, -8:].any()  # the margin on the right is free
