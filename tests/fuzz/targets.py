"""What strangers' bytes reach first, each as one function: it must parse them, or refuse them in its own way, and
nothing else. An exception that is not the room's own refusal is a finding.

Used by ``python -m tests.fuzz`` (coverage-guided, endless) and by the tests (a few thousand random mutations each).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from proof_targets import PROOF_TARGETS, proof_seeds

from merkle.bundle import decode as decode_header_bundle
from merkle.bundle import from_json
from merkle.errors import ProofError
from merkle.patricia import verify_proof
from merkle.rlp import decode as decode_rlp
from p2p.beacon import messages as beacon
from p2p.beacon.codec import payload, response_chunk
from p2p.beacon.reading import parse
from p2p.beacon.snappy import decode_block
from p2p.bitcoin import payloads
from p2p.bitcoin.framing import Decoder
from p2p.bitcoin.v2 import V2Transport
from p2p.discv5 import messages as discv5
from p2p.discv5 import packet
from p2p.discv5.enr import EnrError
from p2p.discv5.enr import decode as decode_enr
from p2p.faults import Malformed, RemoteFault
from p2p.mesh import codec as mesh
from spvnode.electrum.errors import ElectrumError
from spvnode.electrum.messages import Call, parse_line
from spvnode.electrum.methods import cost
from spvnode.ethereum.bundle import decode as decode_beacon_bundle
from spvnode.ethereum.containers import LightClientBootstrap, LightClientFinalityUpdate, LightClientUpdate
from spvnode.ethereum.containers import decode as decode_ssz
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.items import count, cut, split
from spvnode.ethereum.networks import ETHEREUM
from spvnode.ethereum.received import decode_item

ENR = (
    "f884b8407098ad865b00a582051940cb9cf36836572411a47278783077011599ed5cd16b76f2635f4e234738f30813a89eb9137e3e3df5266e3a"
    "1f11df72ecf1145ccb9c01826964827634826970847f00000189736563703235366b31a103ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf4"
    "00769cc1400f3258cd31388375647082765f"
)
"""The example of EIP-778."""
MAGIC = bytes.fromhex("f9beb4d9")
Target = Callable[[bytes], object]


def bitcoin_v1(data: bytes) -> object:
    """A session's bytes, in two pieces: the cut is the first byte's choice."""
    decoder, at = Decoder(MAGIC, "peer", "bitcoin"), data[0] if data else 0
    found = [*decoder.feed(data[1:at]), *decoder.feed(data[at:])] if at else decoder.feed(data[1:])
    assert all(not isinstance(one, RemoteFault) for one in found[:-1]), "a fault is the last thing said"
    return found


def bitcoin_payload(data: bytes) -> object:
    """A message of the command that the first byte chooses."""
    commands = sorted(payloads.SPECS)
    return payloads.decode(commands[data[0] % len(commands)], data[1:]) if data else None


def bitcoin_v2(data: bytes) -> object:
    transport = V2Transport(MAGIC, initiator=False, secret=bytes(31) + b"\1", randomness=bytes(32), garbage=b"")
    return transport.feed(data)


def beacon_chunk(data: bytes) -> object:
    return parse(response_chunk(lambda digest: (0, 30_000) if digest[:1] < b"\x80" else None, True), data)


def beacon_request(data: bytes) -> object:
    return parse(payload((0, 128)), data)


def beacon_messages(data: bytes) -> object:
    """Of the sizes that the reader lets pass."""
    sizes = (
        (beacon.decode_status, 84),
        (beacon.decode_status, 92),
        (beacon.decode_uint64, 8),
        (beacon.decode_range, 16),
    )
    return [decode(data[:size].ljust(size, b"\0")) for decode, size in sizes]


def gossip_block(data: bytes) -> object:
    return decode_block(data, 16_384)


def mesh_frame(data: bytes) -> object:
    prefix = mesh.decode_prefix(data[: mesh.PREFIX_SIZE].ljust(mesh.PREFIX_SIZE, b"\0"))
    if isinstance(prefix, Malformed):
        return prefix
    body = data[mesh.PREFIX_SIZE :].ljust(prefix.payload_size, b"\0")  # the reader waits for all of it
    return mesh.decode_payload(prefix.type, body[: prefix.payload_size])


def discv5_packet(data: bytes) -> object:
    try:
        return packet.decode(data, bytes(32))
    except packet.PacketError as error:
        return error


def discv5_message(data: bytes) -> object:
    try:
        return discv5.decode(data)
    except discv5.MessageError as error:
        return error


def enr(data: bytes) -> object:
    try:
        return decode_enr(data)
    except EnrError as error:
        return error


def refusing(call: Callable[[bytes], object]) -> Target:
    """Of the proofs: refused by ``ProofError`` and nothing else."""

    def target(data: bytes) -> object:
        try:
            return call(data)
        except ProofError as error:
            return error

    return target


def trie(data: bytes) -> object:
    """Nodes of up to 255 bytes, each behind its length; the root is the first byte's repetition."""
    nodes, at = [], 1
    while at < len(data):
        size = data[at]
        nodes.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return verify_proof(data[:1] * 32, bytes(32), nodes)


def bundle_json(data: bytes) -> object:
    return from_json(data)


def container(data: bytes) -> object:
    """SSZ of the class and fork that the first byte chooses."""
    kinds = (LightClientBootstrap, LightClientUpdate, LightClientFinalityUpdate)
    forks = [fork for fork in Fork if fork in LAYOUTS and fork is not Fork.PHASE0]
    choice = data[0] if data else 0
    fork = LAYOUTS[forks[choice // len(kinds) % len(forks)]]
    return decode_ssz(ETHEREUM.preset, fork, kinds[choice % len(kinds)], data[1:])  # type: ignore[type-var]


def items(data: bytes) -> object:
    held = count(data)
    assert cut(data, held) == data
    assert cut(data, 0) == b""
    try:
        return [decode_item(ETHEREUM, item) for item in split(data)]
    except ValueError as error:
        return error


def electrum(data: bytes) -> object:
    """A line, and what its calls cost."""
    try:
        line = parse_line(data)
    except ElectrumError as error:
        return error
    return [cost(call) for call in line.calls if isinstance(call, Call)]


TARGETS: Mapping[str, Target] = {
    "bitcoin-v1": bitcoin_v1,
    "bitcoin-v2": bitcoin_v2,
    "bitcoin-payload": bitcoin_payload,
    "beacon-chunk": beacon_chunk,
    "beacon-request": beacon_request,
    "beacon-messages": beacon_messages,
    "gossip-block": gossip_block,
    "mesh-frame": mesh_frame,
    "discv5-packet": discv5_packet,
    "discv5-message": discv5_message,
    "enr": enr,
    "rlp": refusing(decode_rlp),
    "trie": refusing(trie),
    "bundle-bitcoin": refusing(decode_header_bundle),
    "bundle-bitcoin-json": refusing(bundle_json),
    "bundle-beacon": refusing(decode_beacon_bundle),
    "ssz": refusing(container),
    "items": items,
    "electrum": electrum,
    **PROOF_TARGETS,
}
"""Every one by name."""


def seeds() -> dict[str, list[bytes]]:
    """Well-formed inputs to begin from, where they are easily made."""
    return {
        "bundle-bitcoin-json": [json.dumps({"version": 1}).encode()],
        "rlp": [bytes.fromhex("c88363617483646f67"), b"\x80", b"\xc0"],
        "beacon-request": [bytes.fromhex("10ff060000734e6150705901140000"), b"\x00"],
        "gossip-block": [bytes.fromhex("0310616263"), b"\x00"],
        "electrum": [
            b'{"jsonrpc":"2.0","id":1,"method":"blockchain.block.headers","params":[0,2016,0]}',
            b'[{"id":"a","method":"server.version","params":{"protocol_version":["1.4","1.6"]}},5]',
        ],
        "enr": [bytes.fromhex(ENR)],
        **proof_seeds(),
    }
