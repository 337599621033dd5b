"""The dashboard's files, as they are served. What they do in a browser is in tests/interop."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import trio
from rpc_live import live

from spvnode.rpc.page import PAGES

FOLDER = Path(__file__).parents[3] / "spvnode" / "web"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "",
}


@pytest.mark.parametrize("path", PAGES)
def test_everybody_gets_the_files_and_their_fences(path: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with live(tmp_path) as server:
            for method in ("GET", "HEAD"):
                status, headers, body = await server.request(path=path, method=method, auth=False)
                assert status == 200
                assert (body == b"") == (method == "HEAD")
                found = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
                assert found == POLICY
                assert headers["x-content-type-options"] == "nosniff"
                assert "set-cookie" not in headers
                assert not [name for name in headers if name.startswith("access-control-")]
            assert (await server.request(path=path, auth=False, headers=("Host: evil.example",)))[0] == 403
            origin = ("Origin: http://evil.example",)
            assert (await server.request(path=path, auth=False, headers=origin))[0] == 403
            status, headers, _ = await server.request(b"", path=path, method="PUT", auth=False)
            assert (status, headers["allow"]) == (405, "GET, HEAD, POST" if path == "/" else "GET, HEAD")

    trio.run(main)


class Parts(HTMLParser):
    """What a page holds: ids, what is inline, what it loads, labels and what they are for."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.inline: list[str] = []
        self.loads: list[str] = []
        self.labels: set[str] = set()
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in given) else []
        self.loads += [given[name] for name in ("src", "href") if name in given]
        self.labels |= {given["for"]} if "for" in given else set()
        self.headings += [tag] if re.fullmatch("h[1-6]", tag) else []


def test_the_page_needs_nothing_inline_and_nothing_from_elsewhere() -> None:
    parts = Parts()
    parts.feed((FOLDER / "index.html").read_text())
    assert parts.inline == []
    assert {one.partition(":")[0] for one in parts.loads if ":" in one} == {"data"}
    assert {f"/{one}" for one in parts.loads if ":" not in one and not one.startswith("#")} <= set(PAGES)
    assert len(parts.ids) == len(set(parts.ids))
    assert parts.labels <= set(parts.ids)
    assert parts.headings == ["h1", "h2", "h2", "h2", "h2", "h2"]


def test_the_script_names_what_is_there_and_writes_text_only() -> None:
    parts = Parts()
    parts.feed((FOLDER / "index.html").read_text())
    script = (FOLDER / "app.js").read_text()
    assert set(re.findall(r'\bat\("([a-z-]+)"\)', script)) <= set(parts.ids)
    for name in ("app.js", "text.js", "verify.js"):
        text = (FOLDER / name).read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://", text
        )
    assert (FOLDER / "verify.js").read_text().count("\n") <= 250
