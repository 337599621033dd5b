"""What of the RPC's settings may change while it runs: read anew for each request, replaced as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spvnode.config_rpc import RatesConfig, RpcConfig
from spvnode.errors import InputError
from spvnode.places import REVOKED_NAME, TOKEN_KEY_NAME
from spvnode.rpc.caller import Kind
from spvnode.rpc.limits import MAX_CONNECTIONS, MAX_SUBSCRIPTIONS
from spvnode.rpc.pipeline.chosen import chosen
from spvnode.rpc.pipeline.step import Step
from spvnode.rpc.tokens import Keyring, load_keyring

_DEFAULT_RATES = RatesConfig()
_NO_KEYS = Keyring()


@dataclass(frozen=True, slots=True)
class Settings:
    """See ``RpcConfig`` for their meaning."""

    connections: int = MAX_CONNECTIONS
    subscriptions: int = MAX_SUBSCRIPTIONS
    hosts: frozenset[str] = frozenset()
    rates: RatesConfig = _DEFAULT_RATES
    keyring: Keyring = _NO_KEYS
    steps: tuple[Step, ...] = ()
    """What ``rpc.middleware`` adds to the chain."""

    def rate(self, kind: Kind) -> float:
        """Units a second for callers of that kind; 0 for no limit."""
        table = {Kind.OPERATOR: self.rates.operator, Kind.TOKEN: self.rates.token, Kind.ANONYMOUS: self.rates.anonymous}
        return table.get(kind, 0.0)


@dataclass(slots=True)
class Desk:
    """Where the running server finds its settings, and a reload puts new ones."""

    now: Settings = field(default_factory=Settings)


def load_settings(config: RpcConfig, datadir: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of ``config``, its key and revocation files read. Raises InputError."""
    named = bool(config.token_key_file)
    key_file = Path(config.token_key_file).expanduser() if named else datadir / TOKEN_KEY_NAME
    keyring = load_keyring(key_file, datadir / REVOKED_NAME, environ, named=named)
    if not config.endpoint.loopback and not config.insecure and not keyring.keys:
        raise InputError(
            "rpc.bind",
            f"{config.bind} is reachable from other machines, and there is no token key: `spvnode token create` makes "
            "one (rpc.insecure, or --rpc-insecure, where a proxy in front authenticates)",
        )
    hosts, steps = frozenset(config.hosts), chosen(config.middleware)
    return Settings(config.connections, config.subscriptions, hosts, config.rates, keyring, steps)
