"""A page in Chromium, led through the DevTools protocol over pipes: real keys, pointer, screen sizes and pictures."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFFLINE = ["background-networking", "component-update", "sync", "default-apps", "extensions", "quic"]
_KEYS = {"Enter": ("\r", 13), "Tab": ("", 9), "ArrowRight": ("", 39), "ArrowLeft": ("", 37), " ": (" ", 32)}
_KEYS |= {"ArrowDown": ("", 40), "ArrowUp": ("", 38), "Escape": ("", 27)}
_PATIENCE_S = 60.0


class Browser:
    """A headless Chromium that reaches no host, with one page; `said` is what the page logs."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        mine, theirs = os.pipe(), os.pipe()
        command = [
            str(CHROMIUM),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--hide-scrollbars",
            *(f"--disable-{feature}" for feature in OFFLINE),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "--remote-debugging-pipe",
            "about:blank",
        ]

        def as_3_and_4() -> None:
            """The browser reads file 3 and writes file 4; both are copied first, as the numbers may be in use."""
            read, write = os.dup(theirs[0]), os.dup(mine[1])
            os.dup2(read, 3)
            os.dup2(write, 4)

        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, preexec_fn=as_3_and_4, close_fds=False, stdout=quiet, stderr=quiet, stdin=quiet
        )
        os.close(theirs[0])
        os.close(mine[1])
        self._in, self._out = os.fdopen(mine[0], "rb", 0), os.fdopen(theirs[1], "wb", 0)
        self._number, self._rest, self._session = 0, b"", ""
        self.said: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.size(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in.fileno(), 1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.consoleAPICalled":
            self.said += [str(each.get("value", each.get("description"))) for each in parameters["args"]]
        if message.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.said.append(str(details.get("exception", {}).get("description", details["text"])))
        if message.get("method") == "Log.entryAdded":
            self.said.append(parameters["entry"]["text"])
        return message

    def open(self, page: Path) -> float:
        """Open a page and wait until it is drawn; the seconds that took."""
        began = time.monotonic()
        self.ask("Page.navigate", url=page.resolve().as_uri())
        drawn = "document.body.dataset.ready === 'yes' || !document.getElementById('data')"
        self.until(f"location.protocol === 'file:' && document.readyState === 'complete' && ({drawn})")
        return time.monotonic() - began

    def value(self, script: str) -> Any:
        """What an expression of JavaScript gives, as JSON types; promises are awaited."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        self._wait(lambda: bool(self.value(script)), script)

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _PATIENCE_S
        while not done():
            assert time.monotonic() < end, f"waited in vain for {what}; the page said {self.said}"
            time.sleep(0.05)

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Another screen."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key, as a person does."""
        text, code = _KEYS.get(key, (key, ord(key[0])))
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                more = {"text": text} if text and kind == "keyDown" else {}
                self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the pointer at `start`, move it to `end` and release it."""
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        steps = [("mouseMoved", start), ("mousePressed", start), ("mouseMoved", middle), ("mouseMoved", end)]
        for kind, (x, y) in [*steps, ("mouseReleased", end)]:
            held = {"button": "left", "buttons": 1, "clickCount": 1} if kind != "mouseMoved" or x != start[0] else {}
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def click(self, x: float, y: float) -> None:
        """Click a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, element: str) -> bytes:
        """A PNG of an element, whole."""
        box = self.value(
            f"(() => {{ const b = document.querySelector({json.dumps(element)}).getBoundingClientRect();"
            " return [b.x + scrollX, b.y + scrollY, b.width, b.height]; })()"
        )
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])
