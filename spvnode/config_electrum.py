"""``[electrum]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from spvnode.errors import InputError
from spvnode.inputs import Endpoint, parse_endpoint


class ElectrumConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[electrum]``: the Electrum protocol, for wallets and tools that speak it. Off unless an address is given."""

    bind: str = ""
    """``HOST:PORT`` for TCP; port 0 for any free one, which the log then tells. Empty: none."""
    tls_bind: str = ""
    """The same for TLS."""
    tls_cert: str = ""
    """PEM file of the certificate chain for it."""
    tls_key: str = ""
    """PEM file of its private key."""
    public: bool = False
    """Listen beyond loopback: the protocol has no credentials, so everybody who reaches it is answered."""
    network: str = ""
    """The network to serve, one of Bitcoin's kind; empty for the first such one of ``networks``."""
    connections: Annotated[int, Meta(ge=1, le=4_096)] = 64
    """Clients at once."""
    rate: Annotated[float, Meta(ge=0, le=1_000_000)] = 500
    """Units a second for each client (each address, beyond loopback); a call costs 1, 250 headers 1, a proof from a
    block 20. 0: no limit."""

    def __post_init__(self) -> None:
        for key, end in (("bind", self.endpoint), ("tls_bind", self.tls_endpoint)):
            if end is not None and not end.loopback and not self.public:
                problem = f"{end} is reachable from other machines, and the protocol has no credentials; "
                raise InputError(f"electrum.{key}", problem + "electrum.public = true where everybody may ask")
        if bool(self.tls_bind) != bool(self.tls_cert) or bool(self.tls_cert) != bool(self.tls_key):
            raise InputError("electrum.tls_bind", "goes together with electrum.tls_cert and electrum.tls_key")

    @property
    def enabled(self) -> bool:
        """Whether anything is listened on."""
        return bool(self.bind or self.tls_bind)

    @property
    def endpoint(self) -> Endpoint | None:
        """``bind``, parsed; None when it was not given."""
        return parse_endpoint(self.bind, "electrum.bind") if self.bind else None

    @property
    def tls_endpoint(self) -> Endpoint | None:
        """``tls_bind``, parsed; None when it was not given."""
        return parse_endpoint(self.tls_bind, "electrum.tls_bind") if self.tls_bind else None
