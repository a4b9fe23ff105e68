"""The web page's latency in headless Chromium: from the load to the first answer, and from each stroke to its answer.

The page is the packaged robust bundle's, served from this machine, and the browser has loaded it before. It is ready
from when on it answers. A stroke's time is the one that the page shows, from the moved pointer to the answer, of every
move of every digit; the first of them is given apart.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from side_by_side import Row, at_most, markdown, run

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/export/targets/web/helpers"))

FIRST_LIMIT, STROKE_LIMIT = 50.0, 5.0  # milliseconds
# Notes what the page says of each answer's cost.
WATCH = """
const cost = document.getElementById('cost'); window.costs = [];
const note = () => cost.textContent && costs.push(parseFloat(cost.textContent));
new MutationObserver(note).observe(cost, {childList: true});
"""
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Not on the output."""


def measure(quick: bool) -> Row:
    from chromium import Browser
    from strokes import DIGITS
    from web_page import open_page

    from edgedigits.bundle.bundle import Bundle
    from edgedigits_export.targets.web.site import write_site

    ready, late, first, strokes = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        write_site(Bundle("robust"), site, {})
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = Browser(Path(folder) / "profile")
        try:
            for load in range(4 if quick else 21):
                open_page(browser, f"http://127.0.0.1:{server.server_port}/")
                ready.append(float(browser.run("document.body.dataset.ready")))
                late.append(max(ready[-1] - float(browser.run(LOADED)), 0))
                browser.run(WATCH)
                for drawn in DIGITS.values():
                    for stroke in drawn:
                        browser.draw(stroke)
                    browser.run("document.getElementById('clear').click()")
                costs = browser.run("costs")
                if load:  # the first page's files are not in the browser's cache
                    first.append(costs[0])
                    strokes += costs[1:]
            fresh, version = (ready.pop(0), late.pop(0)), browser.send("Browser.getVersion")["product"]
        finally:
            browser.close()
            server.shutdown()
            server.server_close()
    rows = [
        ("start of the navigation to ready", ready),
        ("load event to ready", late),
        ("answer to the first stroke", first),
        ("answer to a stroke", strokes),
    ]
    table = markdown(
        ("", "median, ms", "95 %, ms", "times"),
        ((name, f"{median(ms):.1f}", f"{sorted(ms)[len(ms) * 95 // 100]:.1f}", len(ms)) for name, ms in rows),
    )
    targets = [
        at_most("load event to the first answer, ms", median(late) + median(first), FIRST_LIMIT),
        at_most("answer to a stroke, ms", median(strokes), STROKE_LIMIT),
    ]
    return {"browser": version, "fresh_ms": fresh, **dict(rows), "table": table, "targets": targets}


if __name__ == "__main__":
    run("page", "The web page in Chromium: load and strokes", measure)
