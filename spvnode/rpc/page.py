"""The dashboard at ``/``: five files of ``spvnode/web``, as they are.

They tell nothing of this node and are open to everybody; what the page shows it asks of the paths that everybody else
asks, with a token. The token comes in the fragment of the link that ``spvnode web`` prints, which browsers do not send,
or is pasted; the page keeps it in the tab's session storage, which belongs to this very origin with its port, and
sends it as ``Authorization: Bearer``. There is no cookie on purpose: browsers send those to every port of a host, and
along with what other pages ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from spvnode.rpc.response import Response
from spvnode.rpc.route import STRING, About, about

_HTML, _CSS, _SCRIPT = (b"text/html; charset=utf-8", b"text/css; charset=utf-8", b"text/javascript; charset=utf-8")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
"""Nothing but our own files, nothing inline, no request elsewhere, no form that leaves, no frame around it, and no
string that becomes markup."""
_GUARDS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
PAGE_COST = 5
"""Off the rate, for each of the files."""


@about(About(replies={_HTML: STRING}))
def index() -> Response:
    """The dashboard, for people; it asks for a token of the scopes `read` and `proofs`, as `spvnode web` makes them."""
    return _file("index.html", _HTML)


@about(About(replies={_CSS: STRING}))
def style() -> Response:
    """The dashboard's style sheet."""
    return _file("style.css", _CSS)


@about(About(replies={_SCRIPT: STRING}))
def script() -> Response:
    """The dashboard's script."""
    return _file("app.js", _SCRIPT)


@about(About(replies={_SCRIPT: STRING}))
def writer() -> Response:
    """What the dashboard's script writes with."""
    return _file("text.js", _SCRIPT)


@about(About(replies={_SCRIPT: STRING}))
def verifier() -> Response:
    """The dashboard's verifier of header proofs, which stands alone."""
    return _file("verify.js", _SCRIPT)


PAGES: Final[Mapping[str, Callable[[], Response]]] = {
    "/": index,
    "/style.css": style,
    "/app.js": script,
    "/text.js": writer,
    "/verify.js": verifier,
}
"""``GET`` paths of the dashboard."""


def _file(name: str, kind: bytes) -> Response:
    return Response(200, _content(name), kind, headers=_GUARDS)


@cache
def _content(name: str) -> bytes:
    return (files("spvnode") / "web" / name).read_bytes()
