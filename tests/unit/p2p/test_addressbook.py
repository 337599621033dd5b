"""Known peers: what is remembered, what is dialed next, and who can push whom out."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p import addressbook, statefile
from p2p.addressbook import AddressBook, Source
from p2p.addresses import AddressError, PeerAddress, Reach, host_of, parse_address
from p2p.memory import peer_id_of

T0 = 1.7e9


def addr(host: str, name: str = "", port: int = 4001) -> PeerAddress:
    return parse_address(f"/ip4/{host}/tcp/{port}/p2p/{peer_id_of(name or host)}")


def book(path: Path | None = None, seed: int = 1) -> AddressBook:
    return AddressBook(path, rng=random.Random(seed))


def test_an_address_is_tried_again_later_and_later_and_then_forgotten() -> None:
    known = book()
    one = addr("10.0.0.1")
    assert known.add(one, Source.MDNS, T0)
    assert not known.add(one, Source.IDENTIFY, T0)
    assert known.pick(T0) == one
    known.tried(one, T0)
    assert known.pick(T0) is None
    assert known.next_due() == T0 + addressbook.RETRY_FIRST_S
    known.failed(one, T0)
    assert known.next_due() == T0 + 2 * addressbook.RETRY_FIRST_S
    known.failed(one, T0 + 1_000)
    assert known.next_due() == T0 + 1_000 + 4 * addressbook.RETRY_FIRST_S
    known.failed(one, T0 + 2_000)
    assert len(known) == 0
    assert known.next_due() is None


def test_an_address_that_has_worked_is_kept_through_days_of_absence() -> None:
    known = book()
    one = addr("10.0.0.1")
    known.add(one, Source.MDNS, T0)
    known.succeeded(one, T0)
    now = T0
    while len(known):
        now = max(now, known.next_due() or 0)
        known.failed(one, now)
    assert now - T0 > 3 * 86_400


def test_a_success_makes_up_for_failures() -> None:
    known = book()
    one = addr("10.0.0.1")
    known.add(one, Source.MDNS, T0)
    for _ in range(10):
        known.failed(one, T0)
        known.failed(one, T0)
        known.succeeded(one, T0)
    assert known.next_due() == T0 + addressbook.RETRY_FIRST_S


def test_a_clock_set_back_makes_everything_due() -> None:
    known = book()
    one = addr("10.0.0.1")
    known.add(one, Source.MDNS, T0)
    known.failed(one, T0)
    assert known.pick(T0 - 86_400) == one


def test_peers_and_groups_in_use_are_avoided() -> None:
    known = book()
    one, two, three = addr("1.2.0.1"), addr("1.2.9.9"), addr("5.6.0.1")
    for each in (one, two, three):
        known.add(each, Source.IDENTIFY, T0)
    picks = {known.pick(T0, peers={one.peer}, groups={"1.2.0.0/16"}) for _ in range(50)}
    assert picks == {three}
    picks = {known.pick(T0, peers={one.peer, three.peer}, groups={"1.2.0.0/16"}) for _ in range(50)}
    assert picks == {two}  # rather the same group than nobody
    assert known.pick(T0, peers={one.peer, two.peer, three.peer}) is None
    assert known.next_due(peers={one.peer, two.peer, three.peer}) is None


def test_many_addresses_in_few_groups_buy_the_share_of_the_groups() -> None:
    known = book()
    for n in range(8):
        known.add(addr(f"{20 + n}.1.0.1"), Source.IDENTIFY, T0)
    for group in range(2):
        for n in range(500):
            known.add(addr(f"6.{group}.{n // 250}.{n % 250 + 1}"), Source.IDENTIFY, T0)
    assert len(known) == 8 + 2 * addressbook.MAX_PER_GROUP
    draws = Counter(str(known.pick(T0)).startswith("/ip4/6.") for _ in range(4_000))
    assert draws[True] / 4_000 == pytest.approx(2 / 10, abs=0.03)


def test_half_of_the_draws_go_to_proven_addresses() -> None:
    known = book()
    good = addr("20.1.0.1")
    known.add(good, Source.IDENTIFY, T0 - 1_000)
    known.succeeded(good, T0 - 1_000)
    for n in range(150):
        known.add(addr(f"{30 + n}.1.0.1"), Source.IDENTIFY, T0)
    draws = Counter(known.pick(T0) == good for _ in range(4_000))
    assert draws[True] / 4_000 == pytest.approx(0.5 + 0.5 / 151, abs=0.03)


def test_a_full_book_gives_up_failed_addresses_only() -> None:
    known = book()
    for n in range(addressbook.MAX_ENTRIES):
        assert known.add(addr(f"{n % 200 + 20}.{n // 200}.0.1"), Source.IDENTIFY, T0 + n)
    late = addr("9.1.2.3")
    assert not known.add(late, Source.IDENTIFY, T0)
    worked, failed = addr("20.0.0.1"), addr("21.0.0.1")
    known.succeeded(worked, T0)
    known.failed(worked, T0)
    assert not known.add(late, Source.IDENTIFY, T0)
    known.failed(failed, T0)
    assert known.add(late, Source.IDENTIFY, T0)
    assert str(failed) not in known
    assert str(worked) in known


def test_one_peer_has_four_addresses_at_most() -> None:
    known = book()
    for n in range(10):
        known.add(addr(f"{20 + n}.0.0.1", "same"), Source.IDENTIFY, T0)
    assert len(known) == addressbook.MAX_PER_PEER
    known.forget(peer_id_of("same"))
    assert len(known) == 0


def test_the_book_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    known = book(file)
    assert known.unsaved() is None
    one, two = addr("10.0.0.1"), parse_address(f"/ip6/2001:db8::1/tcp/4001/p2p/{peer_id_of('v6')}")
    known.add(one, Source.MDNS, T0)
    known.add(two, Source.IDENTIFY, T0)
    known.succeeded(one, T0 + 5)
    known.failed(two, T0 + 6)
    job = known.unsaved()
    assert job is not None
    known.failed(one, T0 + 7)  # after the copy was taken: the thread must not see it
    job()
    assert known.unsaved() is not None
    again = {entry.addr: entry for entry in book(file).entries()}
    assert again[str(one)].last_success == T0 + 5
    assert (again[str(one)].failures, again[str(two)].failures) == (0, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["peers.json"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\x00" * 100,
        b"[]",
        b'{"version":1,"peers":[{"addr":7}]}',
        b" " * (statefile.MAX_FILE + 1),
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_set_aside_and_the_node_goes_on(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "peers.json"
    file.write_bytes(damage)
    known = book(file)
    assert len(known) == 0
    assert (tmp_path / "peers.json.damaged-1").read_bytes() == damage
    known.add(addr("10.0.0.1"), Source.MDNS, T0)
    job = known.unsaved()
    assert job is not None
    job()
    assert len(book(file)) == 1


def test_damaged_copies_do_not_pile_up(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    for n in range(10):
        file.write_bytes(b"damage %d" % n)
        book(file)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"peers.json.damaged-{n}" for n in range(1, statefile.MAX_SET_ASIDE + 1)]
    assert (tmp_path / "peers.json.damaged-1").read_bytes() == b"damage 9"


def test_a_cut_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    known = book(file)
    known.add(addr("10.0.0.1"), Source.MDNS, T0)
    known.unsaved()()  # type: ignore[misc]
    (tmp_path / "peers.json.new").write_bytes(b'{"version":1,"pee')  # power went while the next one was written
    again = book(file)
    assert len(again) == 1
    again.add(addr("10.0.0.2"), Source.MDNS, T0)
    again.unsaved()()  # type: ignore[misc]
    assert len(book(file)) == 2


def test_entries_that_a_stricter_rule_refuses_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    file.write_bytes(
        b'{"version":1,"peers":[{"addr":"/ip4/1.2.3.4/udp/1","source":"mdns","added":1.0},'
        b'{"addr":"%s","source":"mdns","added":1.0}]}' % str(addr("10.0.0.1")).encode()
    )
    assert [entry.addr for entry in book(file).entries()] == [str(addr("10.0.0.1"))]


def test_a_file_that_we_may_not_read_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "peers.json").mkdir()
    with pytest.raises(OSError, match=r"peers\.json"):
        book(tmp_path / "peers.json")


class BookModel(RuleBasedStateMachine):
    """Any sequence of operations keeps every bound, and the draw is always due and allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.book = book()
        self.now = T0

    hosts = st.tuples(st.integers(1, 3), st.integers(0, 1), st.integers(0, 99))

    def _addr(self, host: tuple[int, int, int]) -> PeerAddress:
        return addr(f"{host[0]}.{host[1]}.0.{host[2] + 1}", f"peer{host[2] % 30}")

    @rule(hosts=st.lists(hosts, max_size=40))
    def add(self, hosts: list[tuple[int, int, int]]) -> None:
        for host in hosts:
            self.book.add(self._addr(host), Source.IDENTIFY, self.now)

    @rule(host=hosts)
    def succeed(self, host: tuple[int, int, int]) -> None:
        self.book.succeeded(self._addr(host), self.now)

    @rule(host=hosts)
    def fail(self, host: tuple[int, int, int]) -> None:
        self.book.failed(self._addr(host), self.now)

    @rule(seconds=st.integers(-1_000, 100_000))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def draw(self) -> None:
        drawn = self.book.pick(self.now, peers={peer_id_of("peer1")})
        if drawn is not None:
            assert drawn.peer != peer_id_of("peer1")
            self.book.tried(drawn, self.now)
            assert str(drawn) not in {str(self.book.pick(self.now)) for _ in range(5)}

    @invariant()
    def bounded(self) -> None:
        parsed = [parse_address(entry.addr) for entry in self.book.entries()]
        assert len(parsed) <= addressbook.MAX_ENTRIES
        assert max(Counter(a.peer for a in parsed).values(), default=0) <= addressbook.MAX_PER_PEER
        assert max(Counter(a.group for a in parsed).values(), default=0) <= addressbook.MAX_PER_GROUP


TestBookModel = BookModel.TestCase
TestBookModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


P = peer_id_of("x")


@pytest.mark.parametrize(
    "text",
    [
        f"/ip4/1.2.3.4/tcp/4001/p2p/{P}",
        f"/ip6/2001:db8::1/tcp/1/p2p/{P}",
        f"/dns4/node.example.org/tcp/65535/p2p/{P}",
        f"/dns/localhost/tcp/4001/p2p/{P}",
    ],
)
def test_good_addresses_round_trip(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not /ip4"),
        ("/ip4/1.2.3.4/tcp/4001", "is not /ip4"),
        (f"/ip4/1.2.3.4/udp/4001/p2p/{P}", "is not /ip4"),
        (f"x/ip4/1.2.3.4/tcp/4001/p2p/{P}", "is not /ip4"),
        (f"/ip4/1.2.3.4/tcp/4001/p2p/{P}/p2p-circuit", "is not /ip4"),
        (f"/ip4/1.2.3/tcp/4001/p2p/{P}", "1.2.3"),
        (f"/ip4/::1/tcp/4001/p2p/{P}", "::1"),
        (f"/ip6/1.2.3.4/tcp/4001/p2p/{P}", "1.2.3.4"),
        (f"/ip4/0.0.0.0/tcp/4001/p2p/{P}", "one machine"),
        (f"/ip4/224.0.0.1/tcp/4001/p2p/{P}", "one machine"),
        (f"/ip4/255.255.255.255/tcp/4001/p2p/{P}", "one machine"),
        (f"/ip4/1.2.3.4/tcp/0/p2p/{P}", "outside 1..65535"),
        (f"/ip4/1.2.3.4/tcp/65536/p2p/{P}", "outside 1..65535"),
        (f"/ip4/1.2.3.4/tcp/٤/p2p/{P}", "outside 1..65535"),
        (f"/ip4/1.2.3.4/tcp/4001/p2p/{P[:40]}", "base58"),
        (f"/ip4/1.2.3.4/tcp/4001/p2p/{'0' * 52}", "base58"),
        (f"/dns4/-bad/tcp/4001/p2p/{P}", "DNS name"),
        (f"/dns4/{'a.' * 127}a/tcp/4001/p2p/{P}", "DNS name"),
        (f"/onion3/abc/tcp/4001/p2p/{P}", "address family"),
        ("/" + "x" * 600, "600|601"),
    ],
)
def test_bad_addresses_name_their_problem(text: str, problem: str) -> None:
    with pytest.raises(AddressError, match=problem):
        parse_address(text)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    for candidate in (text, f"/ip4/{text}/tcp/1/p2p/{P}", f"/dns/{text}/tcp/1/p2p/{P}", f"/ip6/{text}/tcp/1/p2p/{P}"):
        try:
            parsed = parse_address(candidate)
        except AddressError:
            continue
        assert parse_address(str(parsed)) == parsed
        assert parsed.group
        assert isinstance(parsed.reach, Reach)


@pytest.mark.parametrize(
    ("host", "reach", "group"),
    [
        ("/ip4/127.0.0.1", Reach.LOOPBACK, "127.0.0.1"),
        ("/ip4/192.168.1.7", Reach.PRIVATE, "192.168.1.7"),
        ("/ip4/8.8.4.4", Reach.PUBLIC, "8.8.0.0/16"),
        ("/ip6/::1", Reach.LOOPBACK, "::1"),
        ("/ip6/fe80::1", Reach.PRIVATE, "fe80::1"),
        ("/ip6/2a00:1450:1::5", Reach.PUBLIC, "2a00:1450::/32"),
        ("/dns4/a.b.Example.org", Reach.PUBLIC, "dns:example.org"),
    ],
)
def test_reach_and_group(host: str, reach: Reach, group: str) -> None:
    parsed = parse_address(f"{host}/tcp/4001/p2p/{P}")
    assert (parsed.reach, parsed.group) == (reach, group)


def test_the_host_of_a_connection() -> None:
    assert host_of("/ip4/1.2.3.4/tcp/5") == "1.2.3.4"
    assert host_of("/ip6/2001:DB8::0:1/tcp/5/p2p/x") == "2001:db8::1"
    assert host_of("/dns4/x/tcp/5") is None
    assert host_of("") is None
