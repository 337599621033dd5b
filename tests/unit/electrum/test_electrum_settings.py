"""From flags, environment and file to the server's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spvnode.cli.run import FLAG_NAMES
from spvnode.config import Config
from spvnode.config_sources import load_config
from spvnode.errors import InputError


def load(tmp_path: Path, flags: dict[str, Any] | None = None, file: str = "", **environ: str) -> Config:
    (tmp_path / "spvnode.toml").write_text(file)
    environ["SPVNODE_DATADIR"] = str(tmp_path)
    return load_config(environ=environ, flags=flags or {}, flag_names=FLAG_NAMES)


def test_it_is_off_until_an_address_is_given(tmp_path: Path) -> None:
    assert not load(tmp_path).electrum.enabled
    assert load(tmp_path, {"electrum": {"bind": "127.0.0.1:50001"}}).electrum.endpoint is not None
    assert load(tmp_path, SPVNODE_ELECTRUM__BIND="127.0.0.1:1").electrum.enabled
    assert load(tmp_path, file='[electrum]\nbind = "[::1]:50001"\nconnections = 5').electrum.connections == 5


def test_it_serves_the_first_network_of_its_kind_or_the_one_that_is_named(tmp_path: Path) -> None:
    on = '[electrum]\nbind = "127.0.0.1:1"\n'
    assert load(tmp_path, file='networks = ["ethereum", "signet", "bitcoin"]\n' + on).electrum_network == "signet"
    named = 'networks = ["signet", "bitcoin"]\n' + on + 'network = "bitcoin"'
    assert load(tmp_path, file=named).electrum_network == "bitcoin"


@pytest.mark.parametrize(
    ("networks", "network", "words"),
    [
        ('["ethereum"]', "", "no network of Bitcoin's kind"),
        ('["bitcoin", "ethereum"]', "ethereum", "no network of Bitcoin's kind"),
        ('["bitcoin"]', "signet", "names signet, which is not among networks"),
    ],
)
def test_a_network_that_it_cannot_serve_is_told(tmp_path: Path, networks: str, network: str, words: str) -> None:
    file = f'networks = {networks}\n[electrum]\nbind = "127.0.0.1:1"\nnetwork = "{network}"'
    with pytest.raises(InputError, match="network") as caught:
        load(tmp_path, file=file)
    assert words in caught.value.problem


def test_an_address_beyond_loopback_is_named_as_its_source_spells_it(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, {"electrum": {"bind": "0.0.0.0:50001"}})
    assert caught.value.field == "--electrum"
    assert "electrum.public" in caught.value.problem
