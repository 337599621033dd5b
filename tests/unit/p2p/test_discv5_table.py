"""What is kept of other nodes (table, lookups, candidates, the file), what is believed about addresses, and rates."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from p2p.discv5 import Enr, book, endpoint
from p2p.discv5.candidates import AGAIN_S, MAX_FOUND, MAX_FOUND_PER_SUBNET, Candidates
from p2p.discv5.distance import distance, log_distance
from p2p.discv5.endpoint import (
    MAX_CACHED,
    Endpoint,
    endpoint_of,
    host_of,
    is_one_machine,
    machine,
    packed_host,
    relayable,
    subnet,
)
from p2p.discv5.enr import decode
from p2p.discv5.fence import ALL_BURST, ALL_RATE, MACHINE_BURST, MACHINE_RATE, MAX_ANSWER_PACKETS, MAX_MACHINES, Fence
from p2p.discv5.messages import FindNode, Nodes
from p2p.discv5.neighbours import MAX_STALE, Neighbours
from p2p.discv5.own import MAX_VOTES, VOTES_NEEDED, OwnRecord
from p2p.discv5.serving import answers
from p2p.discv5.table import (
    BUCKET_SIZE,
    MAX_FAILURES,
    MAX_PER_SUBNET,
    MAX_PER_SUBNET_IN_BUCKET,
    MAX_REPLACEMENTS,
    Node,
    Table,
)
from p2p.discv5.walk import ALPHA, MAX_ASKED, MAX_CANDIDATES, MAX_WALK_PER_SUBNET, Walk
from tests.support.discv5_nodes import FORK, OTHER_FORK, beacon, node, record, secret

NOW = 1_000.0
OWN = record(0).node_id
CROWD = [node(n, f"10.{n // 250}.{n % 250}.1") for n in range(1, 401)]
"""Nodes in networks of their own."""
FAR = [one for one in CROWD if log_distance(OWN, one.node_id) == 256]
ONE_NETWORK = [node(n, f"203.0.113.{n % 250 + 1}", 9_000 + n) for n in range(1_000, 1_060)]


def table_of(nodes: list[Node]) -> Table:
    table = Table(OWN)
    for one in nodes:
        table.alive(one, NOW)
    return table


# The table.


def test_buckets_are_bounded_and_the_first_stay() -> None:
    table = table_of(CROWD)
    by_distance: dict[int, list[Node]] = {}
    for one in CROWD:
        by_distance.setdefault(log_distance(OWN, one.node_id), []).append(one)
    assert set(table.nodes()) == {one for level in by_distance.values() for one in level[:BUCKET_SIZE]}
    assert len(table) == len(table.nodes())
    kept = [one for one in FAR if table.get(one.node_id) is not None]
    assert len(FAR) > BUCKET_SIZE + MAX_REPLACEMENTS
    assert kept == FAR[:BUCKET_SIZE] + FAR[-MAX_REPLACEMENTS:]


def test_one_network_gets_few_places() -> None:
    table = table_of(ONE_NETWORK)
    levels = {log_distance(OWN, one.node_id) for one in ONE_NETWORK}
    for level in levels:
        assert len(table.at_distances([level], 100)) <= MAX_PER_SUBNET_IN_BUCKET
    assert len(table) == min(MAX_PER_SUBNET, MAX_PER_SUBNET_IN_BUCKET * len(levels))


def test_replacements_count_for_their_network() -> None:
    table = table_of(FAR[:BUCKET_SIZE])
    far = [one for one in ONE_NETWORK if log_distance(OWN, one.node_id) == 256]
    assert [table.alive(one, NOW) for one in far[:3]] == [True, True, False]
    assert len(table) == BUCKET_SIZE


def test_the_dead_give_way_to_the_newest_replacement() -> None:
    table = table_of(FAR[: BUCKET_SIZE + 3])
    for _ in range(MAX_FAILURES):
        assert table.get(FAR[0].node_id) == FAR[0]
        table.failed(FAR[0], NOW)
    assert table.get(FAR[0].node_id) is None
    assert set(table.nodes()) == set(FAR[1:BUCKET_SIZE]) | {FAR[BUCKET_SIZE + 2]}
    assert table.alive(FAR[0], NOW), "its network's place is free again"


def test_an_answer_undoes_a_failure() -> None:
    table = table_of(CROWD[:1])
    for _ in range(3 * MAX_FAILURES):
        table.failed(CROWD[0], NOW)
        table.alive(CROWD[0], NOW)
    assert table.nodes() == CROWD[:1]


def test_a_failure_at_another_endpoint_says_nothing() -> None:
    table = table_of(CROWD[:1])
    for _ in range(MAX_FAILURES):
        table.failed(Node(CROWD[0].enr, Endpoint("192.0.2.99", 9_000)), NOW)
        table.failed(CROWD[1], NOW)
    assert table.nodes() == CROWD[:1]


def test_a_newer_record_moves_a_node_and_an_older_one_does_not() -> None:
    table = table_of([node(1, "203.0.113.1")])
    moved = record(1, "198.51.100.1", seq=2)
    assert table.alive(Node(moved, Endpoint("198.51.100.1", 9_000)), NOW)
    assert table.nodes() == [Node(moved, Endpoint("198.51.100.1", 9_000))]
    assert not table.alive(node(1, "203.0.113.1"), NOW)
    assert table.nodes()[0].enr.seq == 2
    same_host = record(1, "198.51.100.1", 9_001, seq=3)
    assert table.alive(Node(same_host, Endpoint("198.51.100.1", 9_001)), NOW)
    assert [one.at.port for one in table.nodes()] == [9_001]


def test_we_are_not_in_our_own_table() -> None:
    table = Table(OWN)
    assert not table.alive(node(0, "192.0.2.1"), NOW)
    assert len(table) == 0
    assert table.longest_unchecked() is None


def test_the_longest_unchecked_comes_first() -> None:
    table = Table(OWN)
    for n, one in enumerate(CROWD[:5]):
        table.alive(one, NOW + n)
    assert table.longest_unchecked() == (CROWD[0], NOW)
    table.failed(CROWD[0], NOW + 10)
    assert table.longest_unchecked() == (CROWD[1], NOW + 1)


def test_nodes_are_told_by_distance() -> None:
    table = table_of(CROWD)
    assert {log_distance(OWN, one.node_id) for one in table.at_distances([256, 256], 100)} == {256}
    assert len(table.at_distances([256, 256], 100)) == BUCKET_SIZE
    assert len(table.at_distances([256, 255, 254], 16)) == 16
    assert table.at_distances([0], 16) == []
    nearest = sorted(table.nodes(), key=lambda one: distance(one.node_id, OWN))
    assert table.closest(OWN, 5) == nearest[:5]


# Lookups.


def test_a_lookup_finds_the_nearest_of_a_network_that_answers() -> None:
    """Each node knows its own table of the crowd, and we know one."""
    crowd = {one.node_id: one for one in CROWD}
    target = random.Random(1).randbytes(32)
    walk = Walk(target, OWN, CROWD[:1])
    while not walk.done:
        one = walk.next()
        assert one is not None
        known = Table(one.node_id)
        for other in crowd.values():
            known.alive(other, NOW)
        levels = [log_distance(one.node_id, target) + step for step in (0, 1, -1)]
        walk.answered(one, known.at_distances(levels, BUCKET_SIZE))
    truly = sorted(CROWD, key=lambda one: distance(one.node_id, target))
    assert walk.closest()[:8] == truly[:8]
    assert walk.asked <= MAX_ASKED


def test_a_lookup_asks_few_at_a_time() -> None:
    walk = Walk(OWN, OWN, CROWD[:20])
    asked = [walk.next() for _ in range(ALPHA + 2)]
    assert [one is not None for one in asked] == [True] * ALPHA + [False] * 2
    assert not walk.done
    assert asked[0] is not None
    walk.failed(asked[0])
    assert walk.next() is not None


def test_a_lookup_of_made_up_nodes_ends() -> None:
    """Every answer names 16 nodes nearer than all before, each in a network of its own."""
    walk = Walk(OWN, OWN, CROWD[:1])
    told = 0
    while not walk.done:
        one = walk.next()
        assert one is not None
        answer = []
        for _ in range(16):
            told += 1
            nearer = (int.from_bytes(OWN, "big") ^ (1 << 250) - told).to_bytes(32, "big")
            plain = node(told, f"10.{told // 250}.{told % 250}.1")
            answer.append(Node(replace(plain.enr, node_id=nearer), plain.at))
        walk.answered(one, answer)
        assert len(walk._candidates) <= MAX_CANDIDATES
    assert walk.asked == MAX_ASKED


def test_a_lookup_listens_to_few_of_one_network() -> None:
    walk = Walk(OWN, OWN, CROWD[:1])
    one = walk.next()
    assert one is not None
    walk.answered(one, ONE_NETWORK)
    asked = 0
    while (nearer := walk.next()) is not None:
        asked += 1
        walk.failed(nearer)
        walk.heard(ONE_NETWORK)
    assert asked == MAX_WALK_PER_SUBNET
    assert walk.done
    assert walk.closest() == [one]


def test_a_lookup_does_not_ask_us() -> None:
    walk = Walk(OWN, OWN, [node(0, "192.0.2.1")])
    assert walk.next() is None
    assert walk.done


# Candidates.


def candidates() -> tuple[Candidates, list[Enr]]:
    found: list[Enr] = []
    return Candidates(OWN, lambda digest: digest == FORK[:4], found.append), found


def test_a_beacon_node_of_our_network_is_handed_on_once() -> None:
    known, found = candidates()
    one = beacon(1, "8.8.8.8")
    assert known.heard(one, "1.1.1.1", NOW)
    assert not known.heard(one, "1.1.1.1", NOW + 1)
    assert known.heard(beacon(1, "8.8.8.8", seq=2), "1.1.1.1", NOW + 1), "its record has changed"
    assert not known.heard(one, "1.1.1.1", NOW + 2), "an old record is no news"
    assert known.heard(beacon(1, "8.8.8.8", seq=2), "1.1.1.1", NOW + 1 + AGAIN_S)
    assert [enr.seq for enr in found] == [1, 2, 2]
    assert known.handed_on == 3


def test_nothing_is_asked_of_subnets_or_custody() -> None:
    known, found = candidates()
    plain = beacon(1, "8.8.8.8")
    assert {b"attnets", b"syncnets", b"cgc"}.isdisjoint(plain.pairs)
    assert known.heard(plain, "1.1.1.1", NOW)
    assert found == [plain]


@pytest.mark.parametrize(
    ("enr", "told_by"),
    [
        pytest.param(record(1, "8.8.8.8", tcp=b"\x23\x28"), "1.1.1.1", id="no eth2 field"),
        pytest.param(record(1, "8.8.8.8", eth2=FORK), "1.1.1.1", id="no tcp port"),
        pytest.param(record(1, tcp=b"\x23\x28", eth2=FORK), "1.1.1.1", id="no address"),
        pytest.param(beacon(1, "8.8.8.8", fork=OTHER_FORK), "1.1.1.1", id="another network"),
        pytest.param(beacon(1, "8.8.8.8", fork=FORK[:8]), "1.1.1.1", id="a short eth2 field"),
        pytest.param(beacon(0, "8.8.8.8"), "1.1.1.1", id="ourselves"),
        pytest.param(beacon(1, "192.168.1.1"), "1.1.1.1", id="our LAN, told from outside"),
        pytest.param(beacon(1, "127.0.0.1"), "1.1.1.1", id="our machine, told from outside"),
        pytest.param(beacon(1, "127.0.0.1"), "192.168.1.7", id="our machine, told from the LAN"),
    ],
)
def test_others_are_not_handed_on(enr: Enr, told_by: str) -> None:
    known, found = candidates()
    assert not known.heard(enr, told_by, NOW)
    assert found == []
    assert len(known) == 0


def test_one_network_hands_on_few() -> None:
    known, found = candidates()
    for n in range(1, 100):
        known.heard(beacon(n, f"8.8.8.{n}"), "1.1.1.1", NOW)
        known.heard(beacon(n, f"8.8.8.{n}", seq=2), "1.1.1.1", NOW)
    assert len({enr.node_id for enr in found}) == MAX_FOUND_PER_SUBNET
    moved = beacon(1, "9.9.9.9", seq=3)
    assert known.heard(moved, "1.1.1.1", NOW), "who moves is not held to his old network"
    assert known.heard(beacon(50, "8.8.8.50"), "1.1.1.1", NOW), "and leaves a place there"


def test_what_is_remembered_of_candidates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.discv5.candidates.MAX_FOUND", 50)
    assert MAX_FOUND > 50
    known, found = candidates()
    for n in range(1, 120):
        assert known.heard(beacon(n, f"8.8.{n}.8"), "1.1.1.1", NOW)
    assert len(known) == 50
    assert len(found) == 119


# Newer records.


def test_a_newer_record_is_asked_for_once_and_the_list_is_bounded() -> None:
    table = table_of(CROWD[: MAX_STALE + 20])
    neighbours = Neighbours(table, candidates()[0])
    for one in table.nodes():
        neighbours.has_seq(one.node_id, one.at, 1)
        neighbours.has_seq(one.node_id, Endpoint("192.0.2.77", 1), 2)
    assert neighbours.next_stale() is None, "no newer number, or not from where the node is"
    for one in table.nodes():
        neighbours.has_seq(one.node_id, one.at, 2)
        neighbours.has_seq(one.node_id, one.at, 2)
    assert len(table) > MAX_STALE
    assert sum(1 for _ in iter(neighbours.next_stale, None)) == MAX_STALE


def test_a_node_that_is_elsewhere_than_its_record_says_is_no_neighbour() -> None:
    table = Table(OWN)
    neighbours = Neighbours(table, candidates()[0])
    neighbours.opened(record(1, "192.0.2.1"), Endpoint("192.0.2.1", 9_001), NOW)
    neighbours.opened(record(2), Endpoint("192.0.2.2", 9_000), NOW)
    assert len(table) == 0
    neighbours.opened(record(1, "192.0.2.1"), Endpoint("192.0.2.1", 9_000), NOW)
    assert neighbours.record_of(record(1).node_id) == record(1, "192.0.2.1")
    assert neighbours.record_of(record(2).node_id) is None


def test_nobody_outside_is_told_of_our_own_network() -> None:
    ours = record(0, "8.8.8.8")
    table = table_of([node(1, "192.168.1.1"), node(2, "9.9.9.9"), node(3, "127.0.0.1")])
    levels = tuple(sorted({log_distance(OWN, one.node_id) for one in table.nodes()}))
    asked = FindNode(b"\x01", levels)
    told = {}
    for host in ("1.1.1.1", "192.168.1.9", "127.0.0.9"):
        [answer] = answers(asked, record(50).node_id, Endpoint(host, 9_000), ours, table)
        assert isinstance(answer, Nodes)
        told[host] = {decode(one).ip for one in answer.records}
    assert told == {
        "1.1.1.1": {"9.9.9.9"},
        "192.168.1.9": {"9.9.9.9", "192.168.1.1"},
        "127.0.0.9": {"9.9.9.9", "192.168.1.1", "127.0.0.1"},
    }


# Ourselves.


def own() -> OwnRecord:
    return OwnRecord(secret(0), 9_000, FORK, lambda: 1_700_000_000.0)


def test_our_record_says_what_we_know() -> None:
    one = own()
    assert one.enr.eth2 == FORK
    assert one.enr.seq == 1_700_000_000_000
    assert one.enr.multiaddr() is None
    one.set_eth2(FORK)
    assert one.enr.seq == 1_700_000_000_000, "nothing has changed"
    one.set_eth2(OTHER_FORK)
    assert (one.enr.eth2, one.enr.seq) == (OTHER_FORK, 1_700_000_000_001)
    one.set_endpoint(Endpoint("8.8.8.8", 9_100))
    one.set_endpoint(Endpoint("2001:4860::8", 9_200))
    assert one.enr.udp_endpoints() == [Endpoint("8.8.8.8", 9_100), Endpoint("2001:4860::8", 9_200)]
    assert one.enr.tcp_endpoints() == [Endpoint("8.8.8.8", 9_000), Endpoint("2001:4860::8", 9_000)]


def test_a_node_that_does_not_listen_says_no_port() -> None:
    one = OwnRecord(secret(0), None, FORK, lambda: 0.0)
    one.set_endpoint(Endpoint("8.8.8.8", 9_100))
    assert one.enr.tcp_endpoints() == []
    assert one.enr.seq == 2, "a clock that stands still does not hold it"


def test_our_address_is_what_several_networks_agree_on() -> None:
    one, told = own(), Endpoint("8.8.8.8", 9_100)
    for n in range(VOTES_NEEDED - 1):
        one.vote(f"20.0.{n}.1", told)
        one.vote(f"20.0.{n}.2", told)
    assert one.enr.ip is None, "a network has one voice"
    one.vote("20.0.99.1", told)
    assert one.enr.udp_endpoints() == [told]
    assert one.enr.tcp_endpoints() == [Endpoint("8.8.8.8", 9_000)]


def test_a_minority_does_not_move_us() -> None:
    one = own()
    for n in range(MAX_VOTES):
        one.vote(f"20.0.{n}.1", Endpoint("8.8.8.8", 9_100))
    for n in range(MAX_VOTES // 2 - 1):
        one.vote(f"20.1.{n}.1", Endpoint("9.9.9.9", 9_100))
    assert one.enr.ip == "8.8.8.8"
    for n in range(3):
        one.vote(f"20.2.{n}.1", Endpoint("9.9.9.9", 9_100))
    assert one.enr.ip == "9.9.9.9"


def test_who_is_many_but_not_most_does_not_move_us() -> None:
    one = own()
    for n in range(VOTES_NEEDED + 1):
        one.vote(f"20.0.{n}.1", Endpoint(f"8.8.{n}.8", 9_100))
    for n in range(VOTES_NEEDED):
        one.vote(f"20.1.{n}.1", Endpoint("9.9.9.9", 9_100))
    assert one.enr.ip is None
    for n in range(2):
        one.vote(f"20.2.{n}.1", Endpoint("9.9.9.9", 9_100))
    assert one.enr.ip == "9.9.9.9"


@pytest.mark.parametrize("said", ["127.0.0.1", "192.168.1.1", "0.0.0.0", "224.0.0.1"])  # noqa: S104
def test_nobody_outside_tells_us_an_address_inside(said: str) -> None:
    one = own()
    for n in range(MAX_VOTES):
        one.vote(f"20.0.{n}.1", Endpoint(said, 9_100))
        one.vote(f"20.1.{n}.1", Endpoint("8.8.8.8", 0))
    assert one.enr.ip is None


def test_what_is_configured_is_not_voted_on() -> None:
    one = own()
    one.set_endpoint(Endpoint("8.8.8.8", 9_100))
    for n in range(MAX_VOTES):
        one.vote(f"20.0.{n}.1", Endpoint("9.9.9.9", 9_100))
        one.vote(f"20.0.{n}.1", Endpoint("2001:4860::8", 9_100))
    assert one.enr.udp_endpoints() == [Endpoint("8.8.8.8", 9_100), Endpoint("2001:4860::8", 9_100)]


# Addresses.


def test_endpoints_are_canonical() -> None:
    assert endpoint_of("::ffff:192.0.2.1", 1) == Endpoint("192.0.2.1", 1)
    assert endpoint_of("2001:DB8:0::1", 1) == Endpoint("2001:db8::1", 1)
    assert endpoint_of("fe80::1%eth0", 1) == Endpoint("fe80::1", 1)
    assert host_of(packed_host("192.0.2.1")) == "192.0.2.1"
    assert host_of(packed_host("::ffff:192.0.2.1")) == "192.0.2.1"
    assert host_of(bytes(4)) is None
    assert host_of(bytes(16)) is None


def test_networks() -> None:
    assert subnet("192.0.2.1") == subnet("192.0.2.254") != subnet("192.0.3.1")
    assert subnet("2001:db8:1::1") == subnet("2001:db8:2::1") != subnet("2001:db9::1")
    assert machine("192.0.2.1") != machine("192.0.2.2")
    assert machine("2001:db8::1") == machine("2001:db8::2:1") != machine("2001:db8:0:1::1")


def test_networks_remembered_are_bounded() -> None:
    for n in range(MAX_CACHED + 100):
        assert subnet(f"10.{n // 250}.{n % 250}.7") == f"10.{n // 250}.{n % 250}.0/24"
    assert endpoint._network.cache_info().currsize == MAX_CACHED


def test_who_may_tell_of_whom() -> None:
    inside_out = ["127.0.0.1", "192.168.1.1", "8.8.8.8"]
    for n, told_by in enumerate(inside_out):
        assert [relayable(told_by, host) for host in inside_out] == [m >= n for m in range(3)]
    assert not relayable("8.8.8.8", "0.0.0.0")  # noqa: S104
    assert not is_one_machine("240.0.0.1")
    assert not is_one_machine("ff02::1")
    assert is_one_machine("2001:4860::8")


# Rates.


def test_one_machine_has_a_rate() -> None:
    fence = Fence(NOW)
    passed = sum(fence.lets_in(Endpoint("192.0.2.1", port), NOW + port / 1_000) for port in range(4_000))
    assert MACHINE_BURST <= passed <= MACHINE_BURST + 4 * MACHINE_RATE + 1
    assert fence.dropped == 4_000 - passed
    assert fence.lets_in(Endpoint("192.0.2.2", 1), NOW + 4), "another one is not held back"


def test_all_machines_together_have_a_rate_and_a_bound() -> None:
    fence = Fence(NOW)
    senders = [f"10.{n // 65_536}.{n // 256 % 256}.{n % 256}" for n in range(6_000)]
    passed = sum(fence.lets_in(Endpoint(host, 1), NOW + n / 2_000) for n, host in enumerate(senders))
    assert ALL_BURST <= passed <= ALL_BURST + 3 * ALL_RATE + 1
    for n, host in enumerate(senders):
        fence.lets_in(Endpoint(host, 1), NOW + 10 + n / ALL_RATE)
    assert fence.machines == MAX_MACHINES


def test_a_flood_does_not_silence_whom_we_asked() -> None:
    fence, asked = Fence(NOW), Endpoint("192.0.2.1", 9_000)
    fence.expect(asked)
    for n in range(2_000):
        fence.lets_in(Endpoint(f"192.0.2.{n % 200}", 1), NOW)
    assert [fence.lets_in(asked, NOW) for _ in range(MAX_ANSWER_PACKETS + 1)] == [True] * MAX_ANSWER_PACKETS + [False]
    fence.expect(asked)
    assert fence.lets_in(asked, NOW), "a second request brings its own answer"
    fence.forget(asked)
    fence.forget(asked)
    assert not fence.lets_in(asked, NOW)


# The file.


def test_nodes_come_back_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "discv5.json"
    assert book.load(path) == []
    known = [record(n, "192.0.2.1") for n in range(book.MAX_SAVED + 20)]
    book.save(path, known)
    assert book.load(path) == known[: book.MAX_SAVED]
    assert path.stat().st_size < 1 << 19


def test_what_is_damaged_in_the_file_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "discv5.json"
    book.save(path, [record(1), record(2)])
    content = json.loads(path.read_text())
    content["nodes"][0] = content["nodes"][0][:-4] + "AAAA"
    path.write_text(json.dumps(content))
    assert book.load(path) == [record(2)]
    path.write_text("{")
    assert book.load(path) == []
    assert (tmp_path / "discv5.json.damaged-1").exists()
