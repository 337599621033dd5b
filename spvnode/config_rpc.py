"""``[rpc]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from spvnode.config_middleware import AnyMiddleware, check_middleware
from spvnode.errors import InputError
from spvnode.inputs import Endpoint, bounded, parse_endpoint, parse_http_url, parse_network

MAX_HOSTS = 16
"""Names in ``rpc.hosts``; each request's is looked up among them."""
MAX_WEBHOOKS = 16
"""Receivers; each has a task and a connection."""
MAX_CHOSEN = 64
"""Networks or kinds that one of them names."""
Rate = Annotated[float, Meta(ge=0, le=1_000_000)]


class RatesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[rpc.rates]``: units a second, by how a caller is known. A look costs 1 unit, a proof 5, an import 500; five
    seconds' worth may come at once. 0: no limit. The unix socket has none."""

    operator: Rate = 20_000
    """For all who show the cookie; more than one core can answer."""
    token: Rate = 1_000
    """For each token subject."""
    anonymous: Rate = 500
    """For each connection without credentials (each address, where the RPC listens beyond loopback)."""


class WebhookConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[rpc.webhook]]``: a receiver of events, as Standard Webhooks has it."""

    name: str
    """Names its files in ``<datadir>/webhooks``: the cursor, and the dead letters."""
    url: str
    """Where events are posted to."""
    secret_file: str
    """The secret that signs them, 32 bytes or more; mode 600."""
    networks: tuple[str, ...] = ()
    """Whose events; empty for all."""
    kinds: tuple[str, ...] = ()
    """Which events; empty for all."""
    filter: str = ""
    """A ``[[plugin]]`` that they go through; empty for none."""

    def __post_init__(self) -> None:
        parse_network(self.name, "rpc.webhook.name")  # the same letters: it names files
        parse_http_url(self.url, "rpc.webhook.url")
        for key in ("networks", "kinds"):
            if len(getattr(self, key)) > MAX_CHOSEN:
                raise InputError(f"rpc.webhook.{key}", f"{len(getattr(self, key))} entries, at most {MAX_CHOSEN}")


class RpcConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[rpc]``: the TCP address beside the unix socket. Beyond loopback only with TLS and a token key, or where
    ``insecure`` says that something in front takes care of both."""

    bind: str = "127.0.0.1:8342"
    """``HOST:PORT``; port 0 for any free one, which the log then tells."""
    tls_cert: str = ""
    """PEM file of the certificate chain; with it TCP speaks TLS only."""
    tls_key: str = ""
    """PEM file of its private key."""
    insecure: bool = False
    """Listen beyond loopback even without TLS or without a token key: a proxy in front has both."""
    hosts: tuple[str, ...] = ()
    """Names under which clients reach a listener beyond loopback; bare addresses always do."""
    token_key_file: str = ""
    """Keys of the tokens, one a line, 64 or more hex digits; empty for ``token.key`` in the data directory, which
    `spvnode token create` makes."""
    connections: Annotated[int, Meta(ge=4, le=8_192)] = 64
    """TCP connections at once."""
    subscriptions: Annotated[int, Meta(ge=1, le=8_192)] = 32
    """Event streams and waiting calls at once, over TCP; each also counts as a connection."""
    rates: RatesConfig = RatesConfig()
    webhook: tuple[WebhookConfig, ...] = ()
    middleware: tuple[AnyMiddleware, ...] = ()
    """Steps that requests go through besides the built-in ones, in this order."""

    def __post_init__(self) -> None:
        if not self.endpoint.loopback and not self.insecure and not self.tls_cert:
            raise InputError(
                "rpc.bind",
                f"{self.bind} is reachable from other machines; only loopback is allowed without TLS (rpc.tls_cert) "
                "and a token key",
            )
        if bool(self.tls_cert) != bool(self.tls_key):
            raise InputError("rpc.tls_cert", "goes together with rpc.tls_key")
        if len(self.hosts) > MAX_HOSTS:
            raise InputError("rpc.hosts", f"{len(self.hosts)} names, at most {MAX_HOSTS}")
        if len(self.webhook) > MAX_WEBHOOKS:
            raise InputError("rpc.webhook", f"{len(self.webhook)} entries, at most {MAX_WEBHOOKS}")
        if len({one.name for one in self.webhook}) < len(self.webhook):
            raise InputError("rpc.webhook", "two have the same name")
        check_middleware(self.middleware, "rpc.middleware")
        for i, name in enumerate(self.hosts):
            if not bounded(name, f"rpc.hosts[{i}]") or name != name.lower() or set(name) & set(":/@ "):
                raise InputError(f"rpc.hosts[{i}]", "must be a name in lower case, without scheme or port")

    @property
    def endpoint(self) -> Endpoint:
        """``bind``, parsed."""
        return parse_endpoint(self.bind, "rpc.bind")
