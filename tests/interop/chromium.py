"""A real headless Chromium, driven by its own protocol (CDP) over a WebSocket."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

PATIENCE = 30.0
NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESKTOP = (390, 844), (1280, 900)
_LISTENS = re.compile(rb"DevTools listening on (ws://\S+)")


def executable() -> str | None:
    """Where it is; None where .ci/interop-setup could not install it."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab. ``requests`` are the URLs that it asked for, ``complaints`` what its console and policy had to say."""

    def __init__(self, socket: WebSocketConnection, session: str) -> None:
        self._socket = socket
        self._session = session
        self._ids = count(100)
        self._answers: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        while True:
            try:
                message = json.loads(await self._socket.get_message())
            except ConnectionClosed:
                return
            if (waiting := self._answers.pop(message.get("id", -1), None)) is not None:
                waiting.send_nowait(message)
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        sender, receiver = trio.open_memory_channel[dict[str, Any]](1)
        self._answers[number] = sender
        await self._socket.send_message(
            json.dumps({"id": number, "method": method, "params": params, "sessionId": self._session})
        )
        with trio.fail_after(PATIENCE):
            answer = await receiver.receive()
        assert "error" not in answer, (method, answer["error"])
        found: dict[str, Any] = answer["result"]
        return found

    async def open(self, url: str) -> None:
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        found = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, script: str) -> None:
        """Waits for an expression to be true."""
        with trio.move_on_after(PATIENCE):
            while not await self.run(script):  # noqa: ASYNC110 - the page is another program
                await trio.sleep(0.05)
            return
        raise AssertionError(f"never: {script}; the page says {await self.run('document.body.innerText')}")

    async def text(self, selector: str) -> str:
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def look(self, size: tuple[int, int], scheme: str, file: Path | None = None) -> bytes:
        """Takes on a size and a colour scheme; the whole page as PNG."""
        width, height = size
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=size == PHONE
        )
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        taken = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        picture = base64.b64decode(taken["data"])
        if file is not None:
            await trio.Path(file).write_bytes(picture)
        return picture

    async def key(self, key: str, *, shift: bool = False) -> None:
        """A key that is pressed and let go."""
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        await self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **common)


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """A browser with one empty tab and a profile of its own in ``folder``."""
    program = executable()
    assert program is not None, "make interop needs Chromium (Debian: chromium)"
    command = [program, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run",
               "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync",
               "--disable-component-update", "--disable-default-apps", "--hide-scrollbars", "about:blank"]  # fmt: skip
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # which root cannot have
    process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        said = b""
        with trio.fail_after(PATIENCE):
            while (match := _LISTENS.search(said)) is None:
                part = await process.stderr.receive_some()
                assert part, said
                said += part
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drain, process.stderr)
            async with open_websocket_url(match[1].decode(), max_message_size=64 << 20) as socket:
                page = Page(socket, await _attach(socket))
                nursery.start_soon(page.listen)
                for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
                    await page.send(f"{domain}.enable")
                yield page
                nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    async for _ in stream:
        pass


async def _attach(socket: WebSocketConnection) -> str:
    """The session of the tab that is open."""
    await socket.send_message('{"id": 1, "method": "Target.getTargets"}')
    while (found := json.loads(await socket.get_message())).get("id") != 1:
        pass
    target = next(one["targetId"] for one in found["result"]["targetInfos"] if one["type"] == "page")
    asked = {"id": 2, "method": "Target.attachToTarget", "params": {"targetId": target, "flatten": True}}
    await socket.send_message(json.dumps(asked))
    while (found := json.loads(await socket.get_message())).get("id") != 2:
        pass
    return str(found["result"]["sessionId"])
