"""The address book of Bitcoin's network: its tables, its file, test before evict, and what an attacker gets of it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from btc_messages import FUZZ
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.bitcoin import addrman as book_module
from p2p.bitcoin.addrentry import HORIZON_S, JUST_TRIED_S, MAX_ATTEMPTS_NEW, RETRY_FIRST_S
from p2p.bitcoin.addrman import (
    ANSWER_MAX,
    MAX_COLLISIONS,
    MAX_REFERENCES,
    PENALTY_S,
    REPLACEMENT_S,
    TEST_WINDOW_S,
    AddrMan,
)
from p2p.bitcoin.buckets import BUCKET_SIZE, NEW_BUCKETS, TRIED_BUCKETS, Hasher
from p2p.bitcoin.messages import Address
from p2p.bitcoin.netaddr import Endpoint, Network

CASES = 2_000 if FUZZ else 12
NOW = 1_700_000_000
DAY = 86_400


def ip(group: int, host: int, port: int = 8_333) -> Endpoint:
    """Address ``host`` of /16 number ``group``, public for groups below 20,000."""
    return Endpoint(Network.IPV4, bytes((40 + group // 256, group % 256, host // 256 % 256, host % 256)), port)


def told(*endpoints: Endpoint, time: int = NOW) -> list[Address]:
    return [Address(time, 9, endpoint) for endpoint in endpoints]


def source(number: int) -> bytes:
    return ip(number, 1).group


def made(seed: int = 1, **options: object) -> AddrMan:
    return AddrMan(rng=random.Random(seed), **options)  # type: ignore[arg-type]


def works(book: AddrMan, endpoint: Endpoint, now: int = NOW) -> None:
    book.attempt(endpoint, now)
    book.good(endpoint, now)


# The small steps.


def test_an_address_is_told_tried_and_works() -> None:
    book = made()
    assert book.select(NOW) is None
    assert book.add(told(ip(1, 1)), source(9), NOW) == 1
    assert (len(book), book.tried) == (1, 0)
    assert book.select(NOW) == ip(1, 1)
    book.attempt(ip(1, 1), NOW)
    assert book.select(NOW) is None  # just tried
    book.good(ip(1, 1), NOW, services=1_033)
    assert (len(book), book.tried) == (1, 1)
    entry = book.get(ip(1, 1))
    assert entry is not None
    assert (entry.services, entry.attempts, entry.last_success) == (1_033, 0, NOW)
    assert book.select(NOW + RETRY_FIRST_S) == ip(1, 1)
    assert book.select(NOW + RETRY_FIRST_S, groups=[ip(1, 1).group]) is None
    assert book.select(NOW + RETRY_FIRST_S, new_only=True) is None


def test_what_is_not_in_the_book_changes_nothing() -> None:
    book = made()
    book.attempt(ip(1, 1), NOW)
    book.good(ip(1, 1), NOW)
    book.seen(ip(1, 1), NOW)
    assert len(book) == 0
    assert book.get(ip(1, 1)) is None


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(Network.IPV4, bytes((127, 0, 0, 1)), 8_333),
        Endpoint(Network.IPV4, bytes((10, 0, 0, 1)), 8_333),
        Endpoint(Network.TORV2, bytes(10), 8_333),
        Endpoint(99, b"who knows", 1),
        Endpoint(Network.IPV4, b"\1", 8_333),
    ],
)
def test_addresses_that_nobody_can_dial_are_not_let_in(endpoint: Endpoint) -> None:
    assert made().add(told(endpoint), source(9), NOW) == 0


def test_private_addresses_are_let_in_where_that_is_wanted() -> None:
    book = made(private=True)
    home = Endpoint(Network.IPV4, bytes((127, 0, 0, 1)), 18_444)
    assert book.add(told(home), source(9), NOW) == 1
    assert book.select(NOW) == home
    assert book.add(told(Endpoint(99, b"who knows", 1)), source(9), NOW) == 0


def test_overlay_addresses_are_kept_but_dialed_only_where_that_can_be() -> None:
    onion = Endpoint(Network.TORV3, bytes(32), 8_333)
    plain, proxied = made(), made(reachable=(Network.IPV4, Network.TORV3))
    for book in (plain, proxied):
        assert book.add(told(onion), source(9), NOW) == 1
    assert plain.select(NOW) is None
    assert proxied.select(NOW) == onion
    assert [line.endpoint for line in answer_of_many(plain)] == [onion]


def answer_of_many(book: AddrMan) -> list[Address]:
    """Enough others that one answer may show some; of these only the overlay's."""
    book.add(told(*[ip(n, 1) for n in range(400)]), source(9), NOW)
    lines = [line for _ in range(60) for line in book.answer(NOW)]
    return list(dict.fromkeys(line for line in lines if line.endpoint.network == Network.TORV3))


@pytest.mark.parametrize(
    ("time", "kept"),
    [
        (NOW, NOW - PENALTY_S),
        (NOW + 599, NOW + 599 - PENALTY_S),
        (NOW + 601, NOW - 5 * DAY - PENALTY_S),
        (100_000_000, NOW - 5 * DAY - PENALTY_S),
        (0, NOW - 5 * DAY - PENALTY_S),
        (2**32 - 1, NOW - 5 * DAY - PENALTY_S),
    ],
)
def test_a_told_time_is_bent_into_the_possible(time: int, kept: int) -> None:
    book = made()
    book.add(told(ip(1, 1), time=time), source(9), NOW)
    entry = book.get(ip(1, 1))
    assert entry is not None
    assert entry.time == kept


def test_what_we_saw_is_not_talked_over() -> None:
    book = made()
    book.add(told(ip(1, 1)), source(9), NOW)
    book.attempt(ip(1, 1), NOW)
    book.good(ip(1, 1), NOW, services=1)
    book.add([Address(NOW, 0xFFFF, ip(1, 1))], source(8), NOW)
    entry = book.get(ip(1, 1))
    assert entry is not None
    assert entry.services == 1


def test_failures_make_the_wait_longer_and_at_last_the_address_bad() -> None:
    book, now = made(), NOW
    book.add(told(ip(1, 1)), source(9), now)
    for failures in range(1, MAX_ATTEMPTS_NEW):
        book.attempt(ip(1, 1), now)
        wait = RETRY_FIRST_S << failures
        assert book.select(now + wait - 1) is None
        assert book.select(now + wait) == ip(1, 1)
        now += wait
    book.attempt(ip(1, 1), now)
    assert book.select(now + DAY) is None  # never worked, three failures
    entry = book.get(ip(1, 1))
    assert entry is not None
    assert entry.bad(now + DAY)


def test_a_clock_set_back_does_not_keep_peers_away() -> None:
    book = made()
    book.add(told(ip(1, 1), time=NOW), source(9), NOW)
    book.attempt(ip(1, 1), NOW + 300)
    assert book.select(NOW) == ip(1, 1)


def test_an_address_told_by_many_lies_in_more_buckets_up_to_a_bound() -> None:
    book = made()
    for number in range(4_000):
        book.add(told(ip(1, 1)), source(number), NOW)
    entry = book.get(ip(1, 1))
    assert entry is not None
    assert 4 <= len(entry.buckets) <= MAX_REFERENCES
    assert len(set(entry.buckets)) == len(entry.buckets)
    works(book, ip(1, 1))
    assert (len(book), book.tried, entry.buckets) == (1, 1, [])


def test_an_answer_shows_a_share_and_nothing_bad() -> None:
    book = made()
    book.add(told(*[ip(n, 1) for n in range(1_000)]), source(9), NOW)
    size = len(book)
    assert len(book.answer(NOW)) == int(size * 0.23)
    assert book.answer(NOW + HORIZON_S + DAY) == []
    for number in range(8):
        book.add(told(*[ip(n, number) for n in range(1_000)]), source(number), NOW)
    assert len(book) * 0.23 > ANSWER_MAX
    assert len(book.answer(NOW)) == ANSWER_MAX


# Test before evict.


def colliding(book: AddrMan, count: int = 1) -> tuple[Endpoint, list[Endpoint]]:
    """An address that works, and others that would take its slot."""
    holder = ip(1, 1)
    book.add(told(holder), source(9), NOW - 2 * DAY)
    works(book, holder, NOW - 2 * DAY)
    slot = book._tried_slot(holder.key, holder.group)
    rivals = []
    for host in range(2, 65_536):
        if book._tried_slot(ip(1, host).key, holder.group) == slot:
            rivals.append(ip(1, host))
            if len(rivals) == count:
                break
    for number, rival in enumerate(rivals):
        book.add(told(rival), source(20 + number), NOW)
        assert book.get(rival) is not None
    return holder, rivals


def in_tried(book: AddrMan, endpoint: Endpoint) -> bool:
    entry = book.get(endpoint)
    return entry is not None and not entry.buckets


def test_one_that_still_answers_keeps_its_slot() -> None:
    book = made()
    holder, (rival,) = colliding(book)
    works(book, rival)
    assert in_tried(book, holder)
    assert not in_tried(book, rival)
    assert book.feeler(NOW) == holder
    works(book, holder, NOW + 5)
    book.resolve(NOW + 100)
    assert in_tried(book, holder)
    assert not in_tried(book, rival)
    assert book.feeler(NOW + 100 + RETRY_FIRST_S) == rival  # no test is due any more: a new one


def test_one_that_does_not_answer_gives_its_slot_up() -> None:
    book = made()
    holder, (rival,) = colliding(book)
    works(book, rival)
    assert book.feeler(NOW) == holder
    book.attempt(holder, NOW + 5)
    book.resolve(NOW + 30)
    assert in_tried(book, holder)  # the dial may still be under way
    book.resolve(NOW + 100)
    assert in_tried(book, rival)
    entry = book.get(holder)
    assert entry is not None
    assert len(entry.buckets) == 1  # among the new again
    assert (len(book), book.tried) == (2, 1)


def test_the_evicted_does_not_push_the_newcomer_out_of_the_book() -> None:
    """Of one group and one source, as an attacker's are: the evicted goes back to the new, where the newcomer may lie
    in the very same slot. It would be left among the tried without an entry, and the next draw would fail."""
    rng, met, now = random.Random(0), 0, NOW
    book = made(0)
    hosts = [ip(1, host) for host in rng.sample(range(1, 60_000), 3_000)]
    for endpoint in hosts:
        book.add(told(endpoint, time=now), source(1), now)
        if book.get(endpoint) is None:
            continue
        book.good(endpoint, now)
        for _, (slot, _) in list(book._collisions.items()):
            holder = book._entries[book._tried.slots[slot]]
            now += REPLACEMENT_S + 1
            book._collisions.update({key: one._replace(since=now) for key, one in book._collisions.items()})
            holder.last_try, holder.attempts, met = now, 1, met + 1
            book.resolve(now + JUST_TRIED_S + 1)
        assert set(book._tried.slots.values()) <= set(book._entries)
    assert met > 100


def test_a_failure_from_before_the_collision_is_no_test() -> None:
    book = made()
    holder, (rival,) = colliding(book)
    book.attempt(holder, NOW - 3_600)
    works(book, rival)
    book.resolve(NOW + 100)
    assert in_tried(book, holder)


def test_one_that_worked_lately_needs_no_test() -> None:
    book = made()
    holder, (rival,) = colliding(book)
    works(book, holder, NOW - REPLACEMENT_S + 10)
    works(book, rival)
    assert book.feeler(NOW) != holder


def test_without_a_test_nobody_is_evicted() -> None:
    book = made()
    holder, (rival,) = colliding(book)
    works(book, rival)
    book.resolve(NOW + TEST_WINDOW_S - 1)
    assert book._collisions
    book.resolve(NOW + TEST_WINDOW_S)
    assert not book._collisions
    assert in_tried(book, holder)
    assert book.get(rival) is not None


def test_collisions_are_bounded() -> None:
    book = made()
    holder, rivals = colliding(book, MAX_COLLISIONS + 5)
    for rival in rivals:
        works(book, rival)
    assert len(book._collisions) == MAX_COLLISIONS
    book.attempt(holder, NOW)
    book.resolve(NOW + 100)
    assert book.tried == 1
    assert in_tried(book, rivals[0])


# The file.


def test_the_book_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    book = made(path=path)
    assert book.unsaved() is None
    for number in range(30):
        book.add(told(*[ip(n, number) for n in range(300)]), source(number), NOW)
    for number in range(0, 300, 3):
        works(book, ip(number, 1))
    job = book.unsaved()
    assert job is not None
    job()
    assert book.unsaved() is None
    again = made(seed=2, path=path)
    assert (len(again), again.tried) == (len(book), book.tried)
    assert again._entries == book._entries
    assert again._new.slots == book._new.slots
    assert again._tried.slots == book._tried.slots
    assert again._by_group == book._by_group
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_save_that_failed_is_made_again(tmp_path: Path) -> None:
    book = made(path=tmp_path / "no" / "such" / "folder.json")
    book.add(told(ip(1, 1)), source(9), NOW)
    job = book.unsaved()
    assert job is not None
    with pytest.raises(OSError, match="folder"):
        job()
    assert book.unsaved() is None
    book.save_failed()
    assert book.unsaved() is not None


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_text('{"version": 1, "salt"')
    book = made(path=path)
    assert len(book) == 0
    assert (tmp_path / "peers.json.damaged-1").exists()


@pytest.mark.parametrize(
    "row",
    [
        '["", "", 1, 1, 0, 0, 0, [1]]',
        '["AQoAAAEgjQ==", "", 1, 1, 0, 0, 0, [1]]',  # 10.0.0.1
        '["AQEBAQEgjQ==", "", 1, 1, 0, 0, 0, [1024, -1]]',
    ],
)
def test_rows_that_cannot_be_are_left_out(tmp_path: Path, row: str) -> None:
    path = tmp_path / "peers.json"
    good = '["AQEBAQEgjQ==", "", 1, 1, 0, 0, 0, [1]]'
    salt = "A" * 43 + "="
    path.write_text(f'{{"version": 1, "salt": "{salt}", "entries": [{row}, {good}, {good}]}}')
    assert len(made(path=path)) == 1
    path.write_text(f'{{"version": 1, "salt": "{salt}", "entries": [[1, 2]]}}')
    assert len(made(path=path)) == 0


def test_the_greatest_file_is_read_and_a_greater_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "peers.json"
    book = made(path=path)
    book.add(told(*[ip(n, 1) for n in range(50)]), source(9), NOW)
    job = book.unsaved()
    assert job is not None
    job()
    monkeypatch.setattr(book_module, "MAX_FILE", path.stat().st_size)
    assert len(made(path=path)) == len(book)
    monkeypatch.setattr(book_module, "MAX_FILE", path.stat().st_size - 1)
    assert len(made(path=path)) == 0


def test_the_salt_decides_where_an_address_lies() -> None:
    """Who does not know it cannot aim."""
    places = {Hasher(bytes((n,)) * 32).tried_bucket(ip(1, 1).key, ip(1, 1).group) for n in range(64)}
    assert len(places) > 40


# Poisoning.


def buckets_of(book: AddrMan, table: str, groups: set[bytes]) -> set[int]:
    slots = book._tried.slots if table == "tried" else book._new.slots
    return {
        slot // BUCKET_SIZE
        for slot, key in slots.items()
        if Endpoint(key[0], key[1:-2], int.from_bytes(key[-2:], "big")).group in groups
    }


@settings(max_examples=CASES, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
def test_told_addresses_reach_a_bounded_share_of_the_new(groups: int, sources: int, seed: int) -> None:
    """However many they are: 150 of each group, told by each source."""
    book = made(seed)
    for number in range(sources):
        for group in range(groups):
            book.add(told(*[ip(group, host) for host in range(150)]), source(5_000 + number), NOW)
    mine = {ip(group, 1).group for group in range(groups)}
    bound = sources * min(groups, 64)
    assert len(buckets_of(book, "new", mine)) <= bound
    assert len(book) <= bound * BUCKET_SIZE


@settings(max_examples=CASES, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_working_addresses_reach_a_bounded_share_of_the_tried(groups: int, seed: int) -> None:
    """Every one of them answers, 800 in each group, and it gets no more slots than eight buckets have."""
    book = made(seed)
    for group in range(groups):
        for host in range(800):
            book.add(told(ip(group, host)), source(5_000 + host % 300), NOW)
            works(book, ip(group, host))
    mine = {ip(group, 1).group for group in range(groups)}
    assert len(buckets_of(book, "tried", mine)) <= 8 * groups
    assert book.tried <= 8 * groups * BUCKET_SIZE


def honest_book(seed: int, groups: int) -> tuple[AddrMan, set[Endpoint]]:
    """One address in each of ``groups`` groups, half of which have worked."""
    book = made(seed)
    honest = {ip(1_000 + number, 1) for number in range(groups)}
    for number in range(groups):
        book.add(told(ip(1_000 + number, 1)), source(3_000 + number), NOW)
        if number % 2:
            works(book, ip(1_000 + number, 1), NOW - DAY)
    return book, honest


@settings(max_examples=CASES, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**32))
def test_the_share_of_draws_is_bounded_by_the_groups(groups: int, seed: int) -> None:
    """An attacker with 500 answering addresses in each of g groups, who also tells 500 more of each, against 40 honest
    groups in each table: of the tried he gets g / (g + 40) of the draws, of the new g * g / B."""
    book, honest = honest_book(seed, 80)
    for group in range(groups):
        for host in range(500):
            book.add(told(ip(group, host)), source(5_000), NOW)
            works(book, ip(group, host), NOW - DAY)
    for number in range(groups):
        for group in range(groups):
            book.add(told(*[ip(group, host) for host in range(1_000, 1_500)]), source(number), NOW)
    mine = {ip(group, 1).group for group in range(groups)}
    tried_groups, new_buckets = len(book._by_group), len(book._new.buckets())
    new_reached = len(buckets_of(book, "new", mine))
    assert new_reached <= groups * groups + groups  # his own sources, and the one that told the others
    bound = (groups / tried_groups + new_reached / new_buckets) / 2
    draws = 1_500
    drawn = Counter(book.select(NOW + DAY) in honest for _ in range(draws))
    slack = 4 * (draws * bound) ** 0.5  # four standard deviations
    assert drawn[False] <= draws * bound + slack


def test_a_flood_does_not_push_out_what_was_told_before() -> None:
    book, honest = honest_book(1, 200)
    known = [endpoint for endpoint in honest if book.get(endpoint) is not None]
    assert len(known) > 195  # a few share a slot among themselves
    for number in range(60):
        book.add(told(*[ip(group, number) for group in range(1_000)]), source(5_000 + number), NOW)
    assert len(book) > 10_000
    assert all(book.get(endpoint) is not None for endpoint in known)


def test_answering_attackers_never_displace_one_that_answers() -> None:
    """40 honest addresses in the attacker's own groups; he has 700 in each that all answer. The node dials feelers as
    it should, and the honest ones answer them."""
    book, now = made(3), NOW
    honest = [ip(group, 60_000 + host) for group in range(4) for host in range(10)]
    for endpoint in honest:
        book.add(told(endpoint), source(6_000 + endpoint.host[3]), now)
        works(book, endpoint, now)
    kept = [endpoint for endpoint in honest if in_tried(book, endpoint)]
    assert len(kept) >= 35  # a few share a slot among themselves
    for host in range(700):
        now += 120
        for group in range(4):
            book.add(told(ip(group, host), time=now), source(5_000 + host % 200), now)
            works(book, ip(group, host), now)
        target = book.feeler(now)
        if target is not None:
            works(book, target, now)
    assert all(in_tried(book, endpoint) for endpoint in kept)
    assert book.tried > 1_000


def test_a_book_never_outgrows_its_tables() -> None:
    """Told from everywhere at once."""
    book = made(4)
    for number in range(0, 19_000, 16):
        book.add(told(*[ip(number, host) for host in range(64)]), source(number), NOW)
    assert len(book) == len(set(book._new.slots.values())) <= NEW_BUCKETS * BUCKET_SIZE
    assert TRIED_BUCKETS * BUCKET_SIZE + NEW_BUCKETS * BUCKET_SIZE == 81_920


OPERATION = st.tuples(
    st.sampled_from(["add", "attempt", "good", "seen", "select", "feeler", "resolve", "later"]),
    st.integers(0, 5),
    st.integers(0, 40),
)


@settings(max_examples=CASES * 10, deadline=None)
@given(st.lists(OPERATION, max_size=120), st.integers(0, 2**32))
def test_the_tables_agree_with_each_other_after_anything(operations: list[tuple[str, int, int]], seed: int) -> None:
    book, now = made(seed), NOW
    for name, group, host in operations:
        endpoint = ip(group, host)
        match name:
            case "add":
                book.add(told(*[ip(group, n) for n in range(host)], time=now), source(group + host), now)
            case "attempt":
                book.attempt(endpoint, now)
            case "good":
                book.good(endpoint, now)
            case "seen":
                book.seen(endpoint, now)
            case "select":
                book.select(now, groups=[ip(host % 6, 1).group])
            case "feeler":
                book.feeler(now)
            case "resolve":
                book.resolve(now)
            case _:
                now += (group + 1) * 40 * host
    check(book)


def check(book: AddrMan) -> None:
    new = Counter(book._new.slots.values())
    tried = Counter(book._tried.slots.values())
    assert set(new) | set(tried) == set(book._entries)
    assert not set(new) & set(tried)
    assert all(count == 1 for count in tried.values())
    for key, entry in book._entries.items():
        assert new[key] == len(entry.buckets) <= MAX_REFERENCES
        for bucket in entry.buckets:
            assert book._new.slots[book._new.slot(bucket, key)] == key
    for table in (book._new, book._tried):
        assert sorted(table.buckets()) == sorted({slot // BUCKET_SIZE for slot in table.slots})
    assert {key for members in book._by_group.values() for key in members} == set(tried)
