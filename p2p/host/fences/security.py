"""Which handshakes a connection may use."""

from __future__ import annotations

from typing import Any

from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport


def noise_only(keys: Any) -> dict[Any, Any]:
    """Noise XX, which proves both identities; its own key is new for each process."""
    return {NOISE: NoiseTransport(keys, noise_privkey=create_new_key_pair().private_key)}


def noise_and_plaintext(keys: Any) -> dict[Any, Any]:
    """What upstream's ``new_host`` offers when nobody says otherwise, as far as a downgrade goes."""
    from libp2p.security.insecure.transport import (  # noqa: PLC0415 - a node that proves identities never loads it
        PLAINTEXT_PROTOCOL_ID,
        InsecureTransport,
    )

    return noise_only(keys) | {PLAINTEXT_PROTOCOL_ID: InsecureTransport(keys)}
