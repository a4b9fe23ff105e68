"""The reports in headless Chromium: light and dark, on a desktop and on a phone."""

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

from edgedigits.report.devices import load_devices
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.report.page import render_devices, render_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("EDGEDIGITS_BROWSER") == "required"
pytestmark = pytest.mark.skipif(
    BROWSER is None and not REQUIRED, reason="no chromium; Debian: apt-get install --no-install-recommends chromium"
)
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--no-first-run", "--allow-file-access-from-files"]
# Chromium's windows are at least 500 px wide, so a phone is a frame in one. The script is in the outer page only.
FRAME = """<!doctype html><style>body {{ margin: 0 }} iframe {{ border: 0; display: block }}</style>
<iframe src="{src}" width="{width}" height="{height}"></iframe>
<script>onload = () => {{
  const inside = frames[0].document, root = inside.documentElement;
  document.body.dataset.widths = [root.clientWidth, root.scrollWidth, inside.body.scrollWidth].join(" ");
}}</script>"""


@pytest.fixture(scope="module")
def report(bench_file: Path, parity_file: Path) -> str:
    return render_page(load_benchmark(bench_file), load_parity(parity_file))


@pytest.fixture(scope="module")
def devices(bench_file: Path, parity_file: Path) -> str:
    names = [f"pi-{n}.of.the.laboratory.example" for n in range(10)]
    return render_devices(load_devices([(name, bench_file, parity_file) for name in names]))


@pytest.fixture
def chromium(tmp_path: Path) -> Callable[..., str]:
    """Open a page, in a frame of this size if one is given; returns its DOM."""

    def run(page: str, *options: str, size: tuple[int, int] | None = None) -> str:
        assert BROWSER is not None, "EDGEDIGITS_BROWSER=required, but there is no chromium"
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        if size is not None:
            frame = FRAME.format(src=path.as_uri(), width=size[0], height=size[1])
            path = tmp_path / "frame.html"
            path.write_text(frame, encoding="utf-8")
        command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *(options or ["--dump-dom"])]
        done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_only_tables_scroll_sideways(chromium: Callable[..., str], report: str, devices: str) -> None:
    def widths(page: str, width: int) -> list[int]:
        found = re.search(r'data-widths="([0-9 ]+)"', chromium(page, size=(width, 900)))
        assert found
        return [int(number) for number in found[1].split()]

    for page, width in [(report, 320), (report, 390), (report, 768), (report, 1200), (devices, 320), (devices, 1200)]:
        assert widths(page, width) == [width, width, width]
    assert widths(report.replace("overflow-x: auto;", ""), 360)[1] > 360


def test_the_policy_stops_scripts(chromium: Callable[..., str], report: str) -> None:
    attacked = report.replace("</body>", "<script>document.title = 'it ran'</script></body>")
    assert "<title>it ran<" not in chromium(attacked)
    assert "<title>it ran<" in chromium(re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", attacked))


@pytest.mark.parametrize("size", [(1200, 1000), (390, 844)], ids=["desktop", "phone"])
def test_light_and_dark(chromium: Callable[..., str], report: str, tmp_path: Path, size: tuple[int, int]) -> None:
    file, pixels = tmp_path / "page.png", []
    for scheme in (1, 0):
        window = f"--window-size={max(size[0], 500)},{size[1]}"
        chromium(report, f"--blink-settings=preferredColorScheme={scheme}", window, f"--screenshot={file}", size=size)
        with Image.open(file) as image:
            pixels.append(np.asarray(image.convert("L"), float)[:, : size[0]])
    assert pixels[0].mean() > 200
    assert pixels[1].mean() < 80
    for picture in pixels:
        ink = np.abs(picture - np.median(picture)) > 90
        assert 0.01 < ink.mean() < 0.4
        assert ink[: size[1] // 2].any(axis=1).mean() > 0.25  # the headline
        assert not ink[:, -8:].any()  # the right margin
