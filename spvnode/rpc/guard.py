"""From which names a request may come: ``Host`` and ``Origin``, on every path.

Against DNS rebinding: a web page whose name was made to resolve to this machine still sends that name. Against other
pages: what a browser sends across origins carries ``Origin``, and ours is the only one that is let in; where it leaves
that out, as of images and of ``fetch`` in the mode ``no-cors``, it says ``Sec-Fetch-Site`` (W3C Fetch Metadata). Such a
page could read nothing, but would hold streams and connections.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping

_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]/@?#\\\s]+)(:[0-9]{1,5})?\Z")

_ELSEWHERE = (b"cross-site", b"same-site")
"""``same-site`` is also a page of another port on this machine."""


def refusal(headers: Mapping[bytes, bytes], *, remote: bool, names: Collection[str]) -> tuple[str, str] | None:
    """Why a request may not come in, as (word for the metrics, text); None when it may. ``remote``: the listener can
    be reached from other machines, where ``names`` and bare addresses are ours too."""
    host = headers.get(b"host")
    if not (host_is_local(host) or (remote and host is not None and _is_ours(host, names))):
        names_here = "its other names belong into rpc.hosts" if remote else "here that is localhost, 127.0.0.1 or [::1]"
        return "host", f"Host header names no address of this node; {names_here}"
    origin = headers.get(b"origin")
    if origin is not None and not same_origin(origin, host):
        return "origin", "Origin: pages of other sites may not ask"
    if headers.get(b"sec-fetch-site") in _ELSEWHERE and not _follows_link(headers):
        return "origin", "Sec-Fetch-Site: pages of other sites may not ask"
    return None


def _follows_link(headers: Mapping[bytes, bytes]) -> bool:
    """Whether somebody followed a link from elsewhere: then the whole page becomes ours."""
    return headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"


def host_is_local(value: bytes | None) -> bool:
    """True unless a ``Host`` header names something other than this machine. HTTP/1.0 clients may send none; browsers
    always do."""
    if value is None:
        return True
    host = _name(value)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_origin(origin: bytes, host: bytes | None) -> bool:
    """Whether a page of ``origin`` (``scheme://host[:port]``, or ``null``) was served under this ``Host``."""
    scheme, separator, place = origin.strip().lower().partition(b"://")
    return host is not None and bool(separator) and scheme in (b"http", b"https") and place == host.strip().lower()


def _is_ours(value: bytes, names: Collection[str]) -> bool:
    """A configured name; or an address, which no page of a foreign name can have sent."""
    host = _name(value)
    if host in names:
        return True
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _name(value: bytes) -> str:
    """The host without its port, in lower case; empty for what is none."""
    match = _HOST.match(value.decode("latin-1").strip())
    return "" if match is None else match["host"].strip("[]").lower()
