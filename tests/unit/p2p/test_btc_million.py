"""Both transports' codecs over a million cases each (``SPVNODE_TEST_PROFILE=fuzz``; five thousand otherwise): any cut
of a stream gives the same, and out of any bytes come messages, and at most one fault, at the end."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from btc_messages import FUZZ, MAGIC, SPOKEN
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.bitcoin import ellswift, framing, payloads
from p2p.bitcoin import messages as m
from p2p.bitcoin.framing import Decoder
from p2p.bitcoin.payloads import SPECS
from p2p.bitcoin.v2 import V2Transport
from p2p.faults import FaultReason, RemoteFault

SETS = 2_000 if FUZZ else 10
EACH = 500
"""Cases of each set of messages."""
SETS_OF_MESSAGES = st.lists(SPOKEN, min_size=1, max_size=8)
SEEDS = st.integers(0, 2**64)


def decoder() -> Decoder:
    made = Decoder(MAGIC, "peer", "bitcoin")
    made.large = True
    return made


def frame(command: str, payload: bytes) -> bytes:
    return framing.HEADER.pack(MAGIC, command.encode(), len(payload), framing.checksum(payload)) + payload


def cut(rng: random.Random, stream: bytes) -> list[bytes]:
    """In a few pieces; now and then byte by byte."""
    places = [0, *sorted(rng.choices(range(len(stream) + 1), k=rng.randint(1, 6))), len(stream)]
    pieces = list(range(len(stream) + 1)) if rng.random() < 0.1 else places
    return [stream[a:b] for a, b in pairwise(pieces)]


@pytest.mark.fuzz
@settings(max_examples=SETS, deadline=None)
@given(SETS_OF_MESSAGES, SEEDS)
def test_streams_of_v1_give_the_same_however_they_are_cut(messages: list[m.Spoken], seed: int) -> None:
    """Whole, byte by byte, in random pieces; sound, cut short, with bytes changed and with bytes put in."""
    rng = random.Random(seed)
    frames = [framing.encode(message, MAGIC) for message in messages]
    for _ in range(EACH):
        stream = bytearray(b"".join(rng.choices(frames, k=rng.randint(1, 3))))
        match rng.randrange(4):
            case 0:
                del stream[rng.randrange(len(stream)) :]
            case 1:
                stream[rng.randrange(len(stream))] = rng.randrange(256)
            case 2:
                at = rng.randrange(len(stream))
                stream[at:at] = rng.randbytes(rng.randint(1, 30))
        expected = decoder().feed(bytes(stream))
        assert not any(isinstance(item, RemoteFault) for item in expected[:-1])
        other = decoder()
        assert [item for piece in cut(rng, bytes(stream)) for item in other.feed(piece)] == expected


@pytest.mark.fuzz
@settings(max_examples=SETS, deadline=None)
@given(SETS_OF_MESSAGES, SEEDS)
def test_damaged_payloads_are_a_message_or_a_fault(messages: list[m.Spoken], seed: int) -> None:
    """Under a right checksum, so that the payload's own codec has to tell."""
    rng = random.Random(seed)
    sound = [(message.command, payloads.encode(message)) for message in messages]
    for _ in range(EACH):
        command, payload = rng.choice(sound)
        damaged = bytearray(payload)
        for _ in range(rng.randint(1, 3) if damaged else 0):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged) + 1) :]
        if rng.random() < 0.2:
            command = rng.choice(sorted(SPECS))
        (fed,) = decoder().feed(frame(command, bytes(damaged)))
        if isinstance(fed, RemoteFault):
            assert fed.reason in (FaultReason.BAD_FRAME, FaultReason.OVERSIZED)
        else:
            assert fed.command == command


def sessions(rng: random.Random) -> tuple[V2Transport, V2Transport]:
    """Two ends that have shaken hands."""
    first, second = (
        V2Transport(
            MAGIC,
            initiator=initiator,
            secret=ellswift.new_secret(),
            randomness=rng.randbytes(32),
            garbage=rng.randbytes(rng.randrange(100)),
            peer="peer",
            network="bitcoin",
        )
        for initiator in (True, False)
    )
    second.feed(first.outgoing())
    first.feed(second.outgoing())
    second.feed(first.outgoing())
    first.large = second.large = True
    return first, second


@pytest.mark.fuzz
@settings(max_examples=SETS, deadline=None)
@given(SETS_OF_MESSAGES, SEEDS)
def test_a_session_of_v2_gives_the_same_however_it_is_cut(messages: list[m.Spoken], seed: int) -> None:
    """Over two changes of its keys, with decoys between."""
    rng = random.Random(seed)
    first, second = sessions(rng)
    for _ in range(EACH // 4):
        sent = rng.choices(messages, k=4)
        stream = b"".join((first.decoy() if rng.random() < 0.1 else b"") + first.encode(one) for one in sent)
        assert [item for piece in cut(rng, stream) for item in second.feed(piece)] == sent


@pytest.mark.fuzz
@settings(max_examples=SETS, deadline=None)
@given(SETS_OF_MESSAGES, SEEDS)
def test_a_damaged_session_of_v2_ends_with_one_fault(messages: list[m.Spoken], seed: int) -> None:
    """Up to the damage all is read, behind it nothing."""
    rng = random.Random(seed)
    first, second = sessions(rng)
    sent = rng.choices(messages, k=EACH)
    packets = [first.encode(one) for one in sent]
    hit = rng.randrange(EACH)
    stream = bytearray(b"".join(packets))
    before = sum(map(len, packets[:hit]))
    stream[before + rng.randrange(len(packets[hit]))] ^= 1 << rng.randrange(8)
    fed = [item for piece in cut(rng, bytes(stream)) for item in second.feed(piece)]
    assert fed[:hit] == sent[:hit]
    # A length that was changed may wait for more than there is.
    assert [type(item) for item in fed[hit:]] in ([RemoteFault], [])
