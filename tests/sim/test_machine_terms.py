"""Peers that the mesh does not have: such as cannot be asked by number, such as stop for a while, and pushes."""

from __future__ import annotations

import random

import pytest
from mine import regtest_chain
from world import NOW, Ask, Peer, Reply, World, open_chain

from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.stored import StoredChain
from spvnode.following import Tip
from spvnode.sync import effects as fx
from spvnode.sync import events as ev
from spvnode.sync.machine import PUSHES
from spvnode.sync.source import Items
from spvnode.sync.table import State
from spvnode.sync.window import MAX_JOBS, JobKind, Window
from spvnode.types import Hash32, Height, Work

LENGTH = 3_000
HEADERS = regtest_chain(LENGTH)


def filled(headers: bytes) -> StoredChain:
    chain = open_chain()
    verdict = chain.plan(headers, NOW)
    chain.write(verdict, now=NOW, sync=False)
    chain.apply(verdict)
    return chain


HONEST = filled(HEADERS)


class Sequential(Peer):
    """Knows no numbers: answers a locator, and tells where its answer ended."""

    def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
        assert isinstance(ask, fx.FetchAfter)
        whole = self.honest(ask, locator)
        place = [header_hash(whole.items[-80:])] if whole.items else None
        return 0.05, Items(whole.start, whole.items, place=place)


class Limited(Peer):
    """Gives ``allowance`` headers in ten seconds: the rest of a reply is missing, and it says so."""

    allowance = 700

    def __init__(self, name: str, chain: StoredChain, world: World) -> None:
        super().__init__(name, chain)
        self.world = world
        self.given: list[tuple[float, int]] = []

    def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
        whole = self.honest(ask, locator)
        left = self.allowance - sum(n for at, n in self.given if at > self.world.now - 10)
        given = whole.items[: max(left, 0) * 80]
        self.given.append((self.world.now, len(given) // 80))
        return 0.05, Items(whole.start, given, limited=len(given) < len(whole.items))


def test_a_peer_that_knows_no_numbers_is_asked_one_reply_after_the_other() -> None:
    world = World(1, open_chain())
    peer = Sequential("a", HONEST)
    world.peers["a"] = peer
    world.post(ev.PeerTip("a", HONEST.tip, Height(0), ranged=False))
    world.run(until=60)
    assert world.chain.tip == HONEST.tip
    assert set(peer.asked) == {"FetchAfter"}
    assert peer.asked["FetchAfter"] == LENGTH // 500
    assert world.scores["a"] == 0


def test_the_next_reply_is_fetched_while_the_last_is_checked() -> None:
    world = World(1, open_chain())
    world.peers["a"] = Sequential("a", HONEST)
    world.post(ev.PeerTip("a", HONEST.tip, Height(0), ranged=False))
    busy = []
    world.run(until=60, done=lambda: bool(busy.append((world.machine.state, world.machine.window.in_flight()))))
    assert (State.VALIDATING, 1) in busy
    assert (State.COMMITTING, 1) in busy


def test_peers_with_numbers_do_not_ask_those_without() -> None:
    world = World(2, open_chain())
    world.join(Peer("mesh", HONEST))
    world.peers["wire"] = Sequential("wire", HONEST)
    world.post(ev.PeerTip("wire", HONEST.tip, Height(0), ranged=False))
    world.run(until=60)
    assert world.chain.tip == HONEST.tip
    assert world.scores.total() == 0


def test_a_limit_costs_no_score_and_loses_nothing() -> None:
    world = World(3, open_chain())
    peer = Limited("a", HONEST, world)
    world.join(peer)
    world.run(until=600)
    assert world.chain.tip == HONEST.tip
    assert world.scores["a"] == 0
    assert sum(n for _, n in peer.given) == LENGTH, "no header was asked for twice"


def test_what_one_peer_withholds_comes_from_another() -> None:
    world = World(4, open_chain())
    limited, whole = Limited("a", HONEST, world), Peer("b", HONEST)
    world.join(limited)
    world.join(whole)
    world.run(until=9)
    assert world.chain.tip == HONEST.tip
    assert limited.given
    assert world.scores.total() == 0


@pytest.mark.parametrize("state", ["validating", "committing"])
def test_a_push_waits_for_its_turn(state: str) -> None:
    world = World(5, filled(HEADERS[: (LENGTH - 2) * 80]))
    first, second = HEADERS[-160:-80], HEADERS[-80:]
    world.post(ev.Pushed("a", Height(LENGTH - 1), first))
    if state == "committing":
        world.run(done=lambda: world.machine.state is State.COMMITTING)
    world.post(ev.Pushed("b", Height(LENGTH - 1), first + second))
    world.run()
    assert world.chain.tip == HONEST.tip


def test_pushes_do_not_hold_off_a_better_chain() -> None:
    world = World(6, filled(HEADERS[: (LENGTH - 500) * 80]))
    known = HEADERS[(LENGTH - 501) * 80 : (LENGTH - 500) * 80]

    def push() -> None:
        for _ in range(PUSHES + 1):
            world.post(ev.Pushed("flood", Height(LENGTH - 500), known))
        world.at(0.001, push)

    push()
    world.join(Peer("a", HONEST))
    world.run(until=5, done=lambda: world.chain.tip == HONEST.tip)
    assert world.chain.tip == HONEST.tip


def test_a_split_job_keeps_its_place_and_its_bound() -> None:
    window = Window()
    first = window.add(JobKind.RANGE, Height(1), 100, peer="a")
    last = window.add(JobKind.RANGE, Height(101), 100)
    assert window.split(first, 40)
    one, rest, two = window
    assert (one, two) == (first, last)
    assert (first.count, rest.start, rest.count, rest.tried) == (40, 41, 60, {"a"})
    assert not window.split(rest, 0)
    assert not window.split(window.add(JobKind.BELOW, Height(0), 10), 5)
    while len(window) < MAX_JOBS:
        assert window.split(rest, rest.count - 1)
    assert not window.split(rest, 1)


class Short(Peer):
    """Claims more than it has, and says where it ends."""

    def claim(self) -> Tip:
        return Tip(Height(self.chain.tip.height + 700), Hash32(bytes(32)), Work(0))

    def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
        whole = self.honest(ask, locator)
        return 0.05, Items(whole.start, whole.items, ends=len(whole.items) < ask.count * 80)


def test_a_peer_that_ends_before_its_claim_is_not_scored_nor_asked_again() -> None:
    world = World(7, open_chain())
    peer = Short("a", HONEST)
    world.join(peer)
    world.run(until=60)
    assert world.chain.tip == HONEST.tip
    assert world.scores["a"] == 0
    assert world.machine.state is State.IDLE
    assert sum(peer.asked.values()) <= LENGTH // 500 + 2
