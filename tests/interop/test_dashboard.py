"""The dashboard in a real Chromium. With SPVNODE_TEST_PICTURES=FOLDER the screenshots are kept there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio
from beacon_view import followed
from event_node import live_events
from small_node import vector

from spvnode.rpc.caller import Scope
from tests.interop.chromium import DESKTOP, PHONE, Page
from tests.interop.dashboard import READER, Shown, shown, sign_in, token
from tests.support.proof_maker import MADE_AT

pytestmark = pytest.mark.interop


def picture(name: str) -> Path | None:
    folder = os.environ.get("SPVNODE_TEST_PICTURES")
    return Path(folder) / f"{name}.png" if folder else None


def test_what_it_shows(tmp_path: Path) -> None:
    async def main() -> None:
        async with shown(tmp_path) as (server, page):
            origin = await sign_in(server, page)
            assert await page.run("location.href") == origin  # the token is out of the address bar
            assert await page.run("document.cookie") == ""
            cards = await page.text("#cards")
            for part in ("bitcoin", "Not ready", "the tip is 14 years old", "2,999", "41,250.5 headers/s", "header 3"):
                assert part in cards
            for part in ("ethereum", "Finalized slot", f"{followed().finalized.beacon.slot:,}", "Ready", "config"):
                assert part in cards
            peers = await page.text("#peer-rows")
            assert "<script>alert(1)</script>" in peers  # as text
            assert "beacon.example:5052" in peers
            line = await page.text("#events")
            assert "4 undone and 6 applied above 0" in line
            assert "bad-header from /ip4/203.0.113.9/tcp/8343 <b>bold</b>" in line
            assert "new headers" not in line
            await page.run("document.querySelector('#steps').click()")
            await page.until("document.querySelector('#events').innerText.includes('new headers')")
            unready = f" {origin}readyz"  # 503, which the console calls an error
            assert [one for one in page.complaints if not one.endswith(unready)] == []
            assert all(url.startswith((origin, "data:")) for url in page.requests), page.requests

    trio.run(main)


def test_it_is_live(tmp_path: Path) -> None:
    async def main() -> None:
        node = Shown()
        async with shown(tmp_path, node) as (server, page):
            await sign_in(server, page)
            await page.run("globalThis.setInterval = null")
            node.commit(vector("mainnet_0-32259")[80 * 3_000 : 80 * 3_100], "bitcoin")
            node.happen("bitcoin", "fault", detail="told while you look")
            await page.until("document.querySelector('#events li').innerText.includes('told while you look')")
            await page.until("document.querySelector('#cards').innerText.includes('3,099')")
            node.not_ready = {}
            await page.until("document.querySelector('#live').innerText === 'Connected. Ready.'")

    trio.run(main)


def test_who_is_not_signed_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with shown(tmp_path) as (server, page):
            origin = f"http://127.0.0.1:{server.port}/"
            await page.open(origin)
            await page.until("document.querySelector('#cards').innerText.includes('Not ready')")
            assert not await page.run("document.querySelector('#login').hidden")
            assert await page.run("document.querySelector('#peers').hidden")
            for given, problem in ((token(Scope.READ, expires=MADE_AT), "expired"), ("nonsense", "token")):
                await page.run(f"document.querySelector('#token').value = {given!r}")
                await page.run("document.querySelector('#login-form button').click()")
                await page.until(f"document.querySelector('#login-problem').innerText.includes({problem!r})")
                assert await page.run("sessionStorage.length") == 0
            await page.run(f"document.querySelector('#token').value = {token(Scope.PROOFS)!r}")
            await page.run("document.querySelector('#login-form button').click()")
            await page.until("document.querySelector('#live').innerText.includes('wants the scope read')")
            await page.run("document.querySelector('#logout').click()")
            await page.run(f"document.querySelector('#token').value = {READER!r}")
            await page.run("document.querySelector('#login-form button').click()")
            await page.until("document.querySelectorAll('#peer-rows tr').length === 3")
            await page.open(origin)  # a reload keeps it, in this tab
            await page.until("document.querySelectorAll('#peer-rows tr').length === 3")
            await page.run("document.querySelector('#logout').click()")
            await page.until("!document.querySelector('#login').hidden && document.querySelector('#peers').hidden")
            assert await page.run("sessionStorage.length") == 0

    trio.run(main)


def test_other_pages_get_nothing(tmp_path: Path) -> None:
    """A page of another port of the same host, and the same server under a name that was made to lead to it."""

    two = tmp_path / "two"
    two.mkdir()

    async def main() -> None:
        async with shown(tmp_path) as (server, page), live_events(Shown(), two) as other:
            origin = await sign_in(server, page)
            await page.open(f"http://127.0.0.1:{other.port}/livez")
            assert await page.run("document.cookie") == ""
            asked = f"fetch({origin + 'readyz'!r}).then((reply) => reply.text()).catch((error) => error.name)"
            assert await page.run(asked) == "TypeError"
            posted = f"fetch({origin!r}, {{method: 'POST', mode: 'no-cors', body: '{{}}'}}).then((reply) => reply.type)"
            assert await page.run(posted) == "opaque"
            status, _, body = await server.request(headers=("Host: evil.example",), path="/", auth=False)
            assert (status, b"Host" in body) == (403, True)
            headers = (f"Origin: http://127.0.0.1:{other.port}", f"Authorization: Bearer {READER}")
            assert (await server.request(b"{}", headers=headers, auth=False))[0] == 403
            frame = f"Object.assign(document.createElement('iframe'), {{src: {origin!r}, onload: done}})"
            await page.run(f"new Promise((done) => document.body.append({frame}))")
            tree = (await page.send("Page.getFrameTree"))["frameTree"]
            (child,) = tree["childFrames"]
            assert (child["frame"]["url"], child["frame"]["mimeType"]) == (origin, "text/plain"), "the refusal, no page"

    trio.run(main)


def test_it_verifies(tmp_path: Path) -> None:
    """What is pasted, dropped as a file, changed, and of the other kind."""

    async def main() -> None:
        async with shown(tmp_path) as (server, page):
            origin = f"http://127.0.0.1:{server.port}/"
            await page.open(origin)  # nobody has signed in
            found = await server.call("getheaderproof", 170)
            await judged(page, found["hex"], "It holds together, on its maker's word alone")
            asked = len(page.requests)
            other = found["root"].replace("0", "1")
            await judged(page, json.dumps(found["bundle"]), "Refused", "not the one", root=other)
            await judged(page, json.dumps(found["bundle"]), "It holds\n", root=found["root"])
            assert not [url for url in page.requests[asked:] if not url.endswith(("/readyz", "/events"))]
            await judged(page, found["hex"][:-2] + "00", "Refused", "do not give the root")
            beacon = (await server.call("getbeaconheaderproof"))["hex"]
            await judged(page, beacon, "sign in")
            await sign_in(server, page)
            await judged(page, found["hex"], "It holds\n")
            await judged(page, beacon, "It holds\n")
            await judged(page, beacon[:-2] + "00", "Refused")
            data = f"Uint8Array.from({list(bytes.fromhex(found['hex']))})"
            await page.run(DROP % data)
            await page.until("document.querySelector('#bundle').value.startsWith('0107')")
            await page.until("document.querySelector('#verdict').innerText.startsWith('It holds\\n')")

    trio.run(main)


async def judged(page: Page, bundle: str, *words: str, root: str = "") -> None:
    """Pastes, presses the button, waits for the words."""
    await page.run("document.querySelector('#verdict').replaceChildren()")
    for field, text in (("bundle", bundle), ("root", root)):
        await page.run(f"document.querySelector('#{field}').value = {json.dumps(text)}")
    await page.run("document.querySelector('#verify-form button').click()")
    await page.until("document.querySelector('#verdict').innerText !== ''")
    said = await page.text("#verdict")
    assert all(word in said for word in words), said


DROP = """(() => {
    const dropped = new DataTransfer();
    dropped.items.add(new File([%s], "proof.bundle"));
    const where = document.querySelector("#bundle");
    where.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
})()"""


def test_keyboard_and_screen_reader(tmp_path: Path) -> None:
    async def main() -> None:
        async with shown(tmp_path) as (server, page):
            await sign_in(server, page)
            await page.look(DESKTOP, "light")
            seen = []
            for _ in range(9):
                await page.key("Tab")
                seen.append(await page.run(f"{ACTIVE}.id || {ACTIVE}.className || {ACTIVE}.innerText"))
                assert await page.run(f"getComputedStyle({ACTIVE}).outlineStyle !== 'none'"), seen
            assert seen[:6] == ["skip", "bundle", "root", "file", "Verify", "scroll"]
            assert {"steps", "logout"} <= set(seen)
            nodes = (await page.send("Accessibility.getFullAXTree"))["nodes"]
            told = [node for node in nodes if not node["ignored"]]
            known = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in told}
            roles = [role for role, _ in known]
            assert {"banner", "main", "contentinfo", "table", "status"} <= set(roles)
            for name in ("Networks", "Verify a proof", "Timeline"):
                assert ("region", name) in known
            assert ("article", "bitcoin") in known
            assert ("columnheader", "Client") in known
            assert ("textbox", "Root that you trust (optional)") in known
            unnamed = [role for role, name in known if role in ("button", "textbox", "checkbox", "link") and not name]
            assert unnamed == []
            await page.look(PHONE, "light")
            nodes = (await page.send("Accessibility.getFullAXTree"))["nodes"]
            assert sum(node["role"]["value"] == "row" for node in nodes if not node["ignored"]) == 4

    trio.run(main)


def test_nothing_inline_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with shown(tmp_path) as (server, page):
            await sign_in(server, page)
            script = "Object.assign(document.createElement('script'), {text: 'globalThis.ran = 1'})"
            await page.run(f"try {{ document.body.append({script}) }} catch (error) {{ }}")
            assert await page.run("globalThis.ran ?? 0") == 0
            written = "try { document.body.innerHTML = '<i>x</i>'; 'written' } catch (e) { e.name }"
            assert await page.run(written) == "TypeError"
            assert await page.run("fetch('https://192.0.2.1/').catch((error) => error.name)") == "TypeError"
            assert any("Content Security Policy" in complaint for complaint in page.complaints)

    trio.run(main)


def test_pictures(tmp_path: Path) -> None:
    """Phone and desktop, light and dark: nothing is wider than the page, and the colours differ."""

    async def main() -> None:
        async with shown(tmp_path) as (server, page):
            await sign_in(server, page)
            bundle = json.dumps((await server.call("getheaderproof", 170))["bundle"])
            await page.run(f"document.querySelector('#bundle').value = {json.dumps(bundle)}")
            await page.run("document.querySelector('#verify-form button').click()")
            await page.until("document.querySelector('#verdict').innerText.includes('It holds')")
            for name, size in (("phone", PHONE), ("desktop", DESKTOP)):
                seen = []
                for scheme in ("light", "dark"):
                    seen.append(await page.look(size, scheme, picture(f"{name}-{scheme}")))
                    wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
                    assert await page.run(wide), await page.run(OVERFLOWING)
                    assert await page.run(CONTRAST) == []
                assert seen[0] != seen[1]

    trio.run(main)


ACTIVE = "document.activeElement"
OVERFLOWING = """[...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth)
    .map((one) => one.tagName + "#" + one.id + "." + one.className)"""
CONTRAST = """(() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
        .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
        .reduce((sum, one, i) => sum + one * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (one) => {
        for (; one; one = one.parentElement) {
            const [r, g, b, a = 1] = parse(getComputedStyle(one).backgroundColor);
            if (a === 1) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const one of document.querySelectorAll("body *")) {
        const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!text || !one.checkVisibility() || one.matches(".skip")) continue;
        const pair = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((a, b) => b - a);
        const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
        if (ratio < 4.5) poor.push(`${one.tagName}.${one.className} ${ratio.toFixed(2)}`);
    }
    return poor;
})()"""
