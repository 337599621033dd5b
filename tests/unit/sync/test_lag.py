"""When being behind is worth a word."""

from __future__ import annotations

from spvnode.following import Tip
from spvnode.sync.lag import BEHIND, GRACE_S, Lag
from spvnode.sync.peers import PeerTable
from spvnode.types import Hash32, Height, Work


def tip(height: int) -> Tip:
    return Tip(Height(height), Hash32(height.to_bytes(32, "big")), Work(0))


def test_the_next_blocks_get_a_time_of_grace_and_no_more() -> None:
    lag, peers, ours = Lag(), PeerTable(), tip(100)
    peers.claim("a", ours, Height(0))
    lag.note(peers, ours, 0.0)
    assert not lag.matters(peers, ours, 0.0)
    peers.claim("a", tip(100 + BEHIND), Height(0))
    lag.note(peers, ours, 10.0)
    assert not lag.matters(peers, ours, 10.0 + GRACE_S)
    assert lag.matters(peers, ours, 10.1 + GRACE_S)
    lag.note(peers, tip(101), 12.0)  # one of them has come: the other is owed since the same time
    assert lag.matters(peers, tip(101), 10.1 + GRACE_S)
    lag.note(peers, tip(100 + BEHIND), 20.0)
    assert not lag.matters(peers, tip(100 + BEHIND), 20.0)


def test_more_than_the_next_blocks_matter_at_once() -> None:
    lag, peers, ours = Lag(), PeerTable(), tip(100)
    peers.claim("a", ours, Height(0))
    lag.note(peers, ours, 0.0)
    peers.claim("a", tip(101 + BEHIND), Height(0))
    lag.note(peers, ours, 10.0)
    assert lag.matters(peers, ours, 10.0)


def test_who_had_never_caught_up_gets_no_grace() -> None:
    lag, peers, ours = Lag(), PeerTable(), tip(0)
    lag.note(peers, ours, 0.0)  # nobody is there to say that there is more
    peers.claim("a", tip(1), Height(0))
    lag.note(peers, ours, 1.0)
    assert lag.matters(peers, ours, 1.0)
