"""What tests do on the page in a browser."""

from __future__ import annotations

from pathlib import Path

from chromium import Browser


def text(browser: Browser, element: str) -> str:
    """The text of the element of that name."""
    found: str = browser.run(f"document.getElementById('{element}').textContent")
    return found


def open_page(browser: Browser, address: str) -> None:
    """Load the page and wait until it answers, or says why it cannot."""
    browser.open(address)
    browser.wait("document.body.dataset.ready || document.getElementById('state').className === 'bad'")


def prove(browser: Browser, folder: Path) -> Path:
    """Press the button, wait for the verdict, and save the JSON."""
    browser.run("document.getElementById('prove').click()")
    browser.wait("['good', 'bad'].includes(document.getElementById('result').className)")
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)
    browser.run("document.getElementById('save').click()")
    name: str = browser.wait_for_event("Browser.downloadWillBegin")["suggestedFilename"]
    browser.wait_for_event("Browser.downloadProgress", state="completed")
    return folder / name
