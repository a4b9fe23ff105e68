"""Headless Chromium over its DevTools pipe, with the standard library only."""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# An answer that has not come after so many seconds never will.
PATIENCE = 120.0
OPTIONS = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
]
OPTIONS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
# The browser reads from descriptor 3 and writes to 4; a shell cannot put there a pipe whose number has two digits.
START = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One browser with one page.

    Protocol: https://chromedevtools.github.io/devtools-protocol, as JSON messages that end in a zero byte.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None, "EDGEDIGITS_BROWSER=required, but there is no chromium"
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        start = [sys.executable, "-c", START, str(theirs_in), str(theirs_out)]
        command = [*start, CHROMIUM, *OPTIONS, f"--user-data-dir={profile}"]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), **silent)  # type: ignore[call-overload]
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._session: str | None = None
        threading.Thread(target=self._receive, daemon=True).start()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def _receive(self) -> None:
        rest = b""
        while chunk := os.read(self._read, 1 << 20):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                (self._answers if "id" in message else self._events).put(message)
        self._answers.put({"error": "the browser ended"})

    def send(self, method: str, **parameters: Any) -> Any:
        """Call a method and return its result; RuntimeError if it fails."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self._answers.get(timeout=PATIENCE)
        if "result" not in answer:
            raise RuntimeError(f"{method}: {answer.get('error')}")
        return answer["result"]

    def wait_for_event(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The parameters of the next event of that kind which has these values; earlier events are dropped."""
        while True:
            event = self._events.get(timeout=PATIENCE)
            if event["method"] == method and parameters.items() <= event["params"].items():
                found: dict[str, Any] = event["params"]
                return found

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, condition: str) -> Any:
        """The first value of an expression that is not false, looked at after each change of the document."""
        look = f"const value = {condition}; if (value) resolve(value); else requestAnimationFrame(look);"
        return self.run(f"new Promise(resolve => {{ const look = () => {{ {look} }}; look(); }})")

    def open(self, address: str) -> None:
        """Load a page to its end."""
        self.send("Page.navigate", url=address)
        self.wait_for_event("Page.loadEventFired")

    def draw(self, stroke: list[list[float]]) -> None:
        """Draw on the page's canvas with the mouse; points as shares of its width and height."""
        left, top, side = self.run(
            "(box => [box.x, box.y, box.width])(document.getElementById('page').getBoundingClientRect())"
        )
        kinds = ["mousePressed", *["mouseMoved"] * (len(stroke) - 1)]
        places = [(left + x * side, top + y * side) for x, y in stroke]
        for kind, (x, y) in zip([*kinds, "mouseReleased"], [*places, places[-1]], strict=True):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self, width: int, height: int, scheme: str = "light") -> bytes:
        """A PNG of the page at that size of the window."""
        self.resize(width, height)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def resize(self, width: int, height: int) -> None:
        """The size of the window in CSS pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        """End the browser."""
        self._session = None
        os.write(self._write, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
