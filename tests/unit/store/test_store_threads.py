"""Readers beside a writer that reorganizes all the time: every answer is of one chain or the other."""

from __future__ import annotations

import threading
from pathlib import Path

from spvnode.store.headers import HeaderStore
from spvnode.store.port import Engine
from tests.support.stored import NOW, extension, fill, open_store, reorganization

FORK = 37
ROUNDS = 150


def read(store: HeaderStore, allowed: dict[int, set[bytes]], done: threading.Event, wrong: list[object]) -> None:
    """Reads until told to stop; notes every answer that no chain ever had."""
    while not done.is_set():
        for height in range(FORK - 3, FORK + 40):
            try:
                if store.header(height) not in allowed[height]:
                    wrong.append(height)
            except KeyError:
                if height <= FORK + 30:
                    wrong.append(("missing", height))
        held = store.headers(FORK - 3, 60)
        parts = {held[at : at + 80] in allowed[FORK - 3 + at // 80] for at in range(0, len(held), 80)}
        links = [held[at : at + 80] for at in range(0, len(held), 80)]
        if parts != {True} or len({linked(link) for link in links[4:]}) > 1 or len(links) < 34:
            wrong.append(held)
        list(store.scan(FORK - 5))
        store.events(max(0, store.last_seq - 3))


def linked(header: bytes) -> bytes:
    """Which of the chains a header above the fork belongs to: its salt shows in the version."""
    return SALTS[header]


SALTS: dict[bytes, bytes] = {}


def test_every_answer_is_of_one_chain(where: Path | Engine) -> None:
    with open_store(where) as store:
        fill(store, FORK + 31)
        allowed = {height: {store.header(height)} for height in range(FORK - 3, FORK + 32)}
        allowed |= {height: set() for height in range(FORK + 32, FORK + 90)}
        for height in range(FORK + 1, FORK + 32):
            SALTS[store.header(height)] = b"first"
        commits = []
        for salt in range(4):
            commit = reorganization(store, FORK, 31 + salt, salt=salt + 1)
            for at in range(0, len(commit.headers), 80):
                allowed[FORK + 1 + at // 80].add(commit.headers[at : at + 80])
                SALTS[commit.headers[at : at + 80]] = b"%d" % salt
            commits.append(commit)
        done, wrong = threading.Event(), list[object]()
        readers = [threading.Thread(target=read, args=(store, allowed, done, wrong)) for _ in range(2)]
        for reader in readers:
            reader.start()
        for round_number in range(ROUNDS):
            salt = round_number % 4
            store.commit(reorganization(store, FORK, 31 + salt, salt=salt + 1), now=NOW, sync=False)
            if round_number % 10 == 0:
                store.release_pages()
        done.set()
        for reader in readers:
            reader.join()
        assert wrong == []
        store.commit(extension(store, 1), now=NOW, sync=True)
