"""``spvnode web``: a link that lets in, to look and to check, for a time."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from daemons import Daemon, spvnode


def ask(url: str, method: str) -> int:
    """HTTP status of a call with the link's token."""
    parts = urlsplit(url)
    token = parse_qs(parts.fragment)["token"][0]
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method})
    connection.request("POST", parts.path, body, {"authorization": f"Bearer {token}"})
    found = connection.getresponse().status
    connection.close()
    return found


def test_the_link_lets_in_until_it_is_revoked(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "node", "regtest")
    place = ("--datadir", str(daemon.folder))
    absent = spvnode("web", *place)
    assert absent.returncode != 0
    assert "no daemon answers" in absent.stderr
    assert not (daemon.folder / "token.key").exists()
    daemon.start("--no-mesh")
    try:
        daemon.wait_answer()
        link = spvnode("web", *place).stdout.strip()
        assert link.startswith("http://127.0.0.1:")
        assert [ask(link, method) for method in ("getsyncinfo", "stop")] == [200, 403]
        made = json.loads(spvnode("web", "--hours", "1", "--json", *place).stdout)
        assert ask(made["url"], "getpeerinfo") == 200
        listed = json.loads(spvnode("token", "list", "--json", *place).stdout)["tokens"]
        spans = [(one["subject"], one["scopes"], one["expires"] - one["issued"]) for one in listed]
        assert spans == [("web", ["read", "proofs"], hours * 3600) for hours in (12, 1)]
        assert spvnode("token", "revoke", made["id"], *place).returncode == 0
        assert [ask(url, "uptime") for url in (link, made["url"])] == [200, 401]
        assert spvnode("web", "--hours", "0", *place).returncode == 2
    finally:
        daemon.kill()
