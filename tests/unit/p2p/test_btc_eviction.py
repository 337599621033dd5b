"""Who makes room when all places of those that dial us are taken."""

from __future__ import annotations

import random
from collections import Counter

from p2p.bitcoin.eviction import SPARED_GROUPS, SPARED_NEAR, SPARED_NEWS, Candidate, choose
from p2p.bitcoin.lines import MAX_INBOUND

KEY = bytes(range(16))


def crowd(count: int, group: bytes, *, began: float = 0.0, ping_s: float | None = None) -> list[Candidate]:
    return [Candidate(f"{group.hex()}-{n}", group, began + n, ping_s) for n in range(count)]


def evicted(candidates: list[Candidate], count: int, key: bytes = KEY) -> list[str]:
    """Whoever would go, one after the other."""
    left, gone = list(candidates), list[str]()
    for _ in range(count):
        chosen = choose(left, key)
        if chosen is None:
            break
        gone.append(chosen)
        left = [one for one in left if one.peer != chosen]
    return gone


def test_who_holds_every_place_from_one_network_gives_his_youngest() -> None:
    attacker = crowd(MAX_INBOUND, b"evil", ping_s=0.001)
    assert choose(attacker, KEY) == attacker[-1].peer
    assert choose(list(reversed(attacker)), KEY) == attacker[-1].peer


def test_honest_newcomers_get_in_and_stay_while_the_attacker_comes_back_each_time() -> None:
    """He is near, came first, and dials again at once; they are far away and bring nothing yet."""
    rng = random.Random(1)
    for trial in range(50):
        key = rng.randbytes(16)
        held, now = crowd(MAX_INBOUND, b"evil", ping_s=0.001), 1_000.0
        honest: set[str] = set()
        for number in range(8):
            for newcomer in (
                Candidate(f"honest-{number}", rng.randbytes(4), now, 0.2),
                Candidate(f"again-{number}", b"evil", now + 1, 0.001),
            ):
                chosen = choose(held, key)
                assert chosen is not None
                held = [one for one in held if one.peer != chosen] + [newcomer]
            honest.add(f"honest-{number}")
            now += 10
        assert honest <= {one.peer for one in held}, trial


def test_an_attacker_of_many_networks_does_not_push_out_who_has_earned_his_place() -> None:
    """Old ones, near ones, and those who told of blocks first outlive any number of newcomers from anywhere."""
    rng = random.Random(2)
    near = [Candidate(f"near-{n}", bytes((n,)), 500.0, 0.005 + n / 1e4) for n in range(SPARED_NEAR)]
    told = [Candidate(f"told-{n}", bytes((n, 1)), 500.0, 0.5, 900.0 + n) for n in range(SPARED_NEWS)]
    old = [Candidate(f"old-{n}", bytes((n, 2)), 10.0 + n, 0.5) for n in range(8)]
    held, now = [*near, *told, *old], 1_000.0
    for number in range(500):
        if len(held) >= MAX_INBOUND:
            chosen = choose(held, KEY)
            assert chosen is not None
            assert chosen.startswith("evil")
            held = [one for one in held if one.peer != chosen]
        held.append(Candidate(f"evil-{number}", rng.randbytes(4), now, 0.05))
        now += 1


def test_each_virtue_spares_so_many() -> None:
    """All of one network otherwise, and equally old: who is left to go is known by counting."""
    for count, virtue in (
        (SPARED_NEAR, [Candidate(f"x{n}", b"g", 50.0, 0.01) for n in range(SPARED_NEAR + 1)]),
        (SPARED_NEWS, [Candidate(f"x{n}", b"g", 50.0, None, 1.0) for n in range(SPARED_NEWS + 1)]),
    ):
        gone = evicted([*crowd(20, b"g"), *virtue], 60)
        assert sum(peer.startswith("x") for peer in gone) == len(virtue) - count


def test_groups_are_drawn_by_the_key() -> None:
    """One of each of some groups is spared, and which groups those are nobody can foretell."""
    pairs = [Candidate(f"{n}-{age}", bytes((n,)), float(age)) for n in range(16) for age in range(2)]
    drawn = Counter[str]()
    for seed in range(200):
        stay = {one.peer for one in pairs} - set(evicted(pairs, 64, random.Random(seed).randbytes(16)))
        eldest = {peer for peer in stay if peer.endswith("-0")}
        assert len(eldest) >= SPARED_GROUPS
        drawn.update(eldest)
    assert len(drawn) == 16
    assert max(drawn.values()) < 150


def test_nobody_goes_where_everybody_is_worth_keeping() -> None:
    assert choose([], KEY) is None
    assert choose(crowd(1, b"a") + crowd(1, b"b"), KEY) is None
    few = crowd(SPARED_NEAR, b"a", ping_s=0.1)
    assert choose(few, KEY) is None
