"""Addresses of beacon nodes' REST interfaces, as an operator writes them. Standard library only.

Providers put keys into paths and user names, so an endpoint's ``name`` is its host alone: that is what logs, replies
and evidence show.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

MAX_URL = 1_024
"""Characters of an address. Providers' keys take about 100; an operator writes it."""
MAX_ENDPOINTS = 32
"""Addresses of one network. Each costs a connection, an event stream, and two polls a slot."""
API_ROOT = "/eth/v1"
MIN_SECRET = 6
"""Characters from which a part of a path may be a key. Providers' have 20 and more; a veiled ``lighthouse`` harms
nobody."""
_PORTS = {"http": 80, "https": 443}
_VEIL = "***"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``name``: ``host`` or ``host:port``. ``base``: the URL that routes are appended to; it ends with no slash."""

    name: str
    base: str = field(repr=False)
    authorization: str = field(default="", repr=False)
    """Value of the ``Authorization`` header; empty for none."""

    @property
    def secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.base.startswith("https:")

    def veiled(self, text: str) -> str:
        """``text``, which the server wrote, without parts of the address that may be keys: servers repeat in an error
        what they were asked for."""
        parts = {word for segment in self.base.split("/")[3:] for word in (segment, unquote(segment))}
        for part in sorted(parts, key=len, reverse=True):
            text = text.replace(part, _VEIL) if len(part) >= MIN_SECRET else text
        return text


def parse_endpoint(text: str) -> Endpoint:
    """``http[s]://[user:password@]host[:port][/path]``. ValueError says what is wrong, and never repeats the text."""
    if len(text) > MAX_URL:
        raise ValueError(f"longer than {MAX_URL} characters")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("holds characters that no URL has")
    parts = _split(text)
    if parts.scheme not in _PORTS:
        raise ValueError("must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError("names no host")
    if parts.query or parts.fragment:
        raise ValueError("must have no ? or # part")
    path = parts.path.rstrip("/")
    if API_ROOT in path:
        raise ValueError(f"must end before {API_ROOT}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port
    name = host if port is None or port == _PORTS[parts.scheme] else f"{host}:{port}"
    return Endpoint(name, f"{parts.scheme}://{name}{path}", _authorization(parts))


def parse_endpoints(texts: Iterable[str]) -> tuple[Endpoint, ...]:
    """Several of them. One host is one witness, so it may be named once: ValueError otherwise, and above
    ``MAX_ENDPOINTS``."""
    endpoints = tuple(parse_endpoint(text) for text in texts)
    if len(endpoints) > MAX_ENDPOINTS:
        raise ValueError(f"{len(endpoints)} endpoints, at most {MAX_ENDPOINTS}")
    names = [endpoint.name for endpoint in endpoints]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names {name} more than once")
    return endpoints


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        port = parts.port
        if parts.netloc.startswith("[") and parts.hostname:
            ipaddress.IPv6Address(parts.hostname)
    except ValueError:  # its own messages repeat the text, and with it a key
        raise ValueError("is no URL") from None
    if port == 0:
        raise ValueError("has port 0")
    return parts


def _authorization(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("would send its user name and password unencrypted; use https://")
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
