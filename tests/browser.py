"""A real browser for tests: headless Chromium through its own DevTools protocol, over loopback.

    with browser(tmp_path) as page:
        page.open(url)
        page.type("#question", "Olá\\n")
        page.wait("document.querySelector('.text').textContent.length > 0")

Source: chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import websocket

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip


class Page:
    """One tab. `console` collects what scripts complain of, `fetched` the address of every request."""

    def __init__(self, address: str):
        self.wire = websocket.create_connection(address, timeout=30, suppress_origin=True)
        self.numbers = itertools.count(1)
        self.console: list[str] = []
        self.fetched: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params):
        """One command of the protocol and its result; events that come before are noted."""
        number = next(self.numbers)
        self.wire.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self.wire.recv())
            if told.get("id") == number:
                assert "error" not in told, told["error"]
                return told["result"]
            if told.get("method") == "Runtime.exceptionThrown":
                self.console.append(told["params"]["exceptionDetails"].get("text", ""))
            if told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.console.append(told["params"]["entry"]["text"])
            if told.get("method") == "Network.requestWillBeSent":
                self.fetched.append(told["params"]["request"]["url"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str):
        """The value of a JavaScript expression, awaited."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, script: str, seconds: float = 20.0) -> None:
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean(document.body && ({script}))"):
            assert time.monotonic() < end, f"never came: {script}; on the page: {self.text('body')[-600:]}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """The visible text of the first element, or "" where there is none."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def press(self, key: str, modifiers: int = 0) -> None:
        """One real key press: "Enter", "Tab", " ", "Escape"."""
        codes = {
            "Enter": ("Enter", 13, "\r"),
            "Tab": ("Tab", 9, ""),
            " ": ("Space", 32, " "),
            "Escape": ("Escape", 27, ""),
        }
        code, number, text = codes[key]
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Text into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path


@contextlib.contextmanager
def browser(folder: Path, width: int = 1000, height: int = 760) -> Iterator[Page]:
    """A fresh Chromium with its profile in `folder`, and one tab of it."""
    profile = folder / "profile"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        note = profile / "DevToolsActivePort"
        end = time.monotonic() + 30
        while not (note.is_file() and note.read_text().count("\n")):
            assert time.monotonic() < end and process.poll() is None, "Chromium did not start"
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{note.read_text().split()[0]}/json/list") as answer:
            tab = next(one for one in json.load(answer) if one["type"] == "page")
        page = Page(tab["webSocketDebuggerUrl"])
        yield page
        page.wire.close()
    finally:
        process.terminate()
        process.wait(20)
