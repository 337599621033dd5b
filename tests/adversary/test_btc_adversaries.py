"""Eight peers of which half, or all but one, are hostile: for every kind of liar what is stored, by how much the honest
chain is late, what is held in memory, and what it does to scores. In simulated time; docs/adversaries.md has the table,
which ``SPVNODE_TEST_PROFILE=soak`` writes."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import pytest
from btc_kinds import AFTERWARDS, BELIEVED, KINDS, LENGTH, PEERS, Result, most_held, trial
from btc_lines import LONG_WAY, QUICK, one_order
from btc_named import lines as lines_of_tests
from btc_sync import one_clock

__all__ = ["one_clock", "one_order"]
pytestmark = pytest.mark.usefixtures("one_clock", "one_order")

SOAK = os.environ.get("SPVNODE_TEST_PROFILE") == "soak"
PAGE = Path(__file__).parents[2] / "docs" / "adversaries.md"
HALF, ALL_BUT_ONE = PEERS // 2, PEERS - 1
MOST_LATE = 0.10
"""Of the time that eight honest peers need."""


@cache
def undisturbed() -> float:
    result = trial(None, 0)
    assert not result.wronged
    return result.seconds


def check(name: str, result: Result) -> None:
    """What holds with any number of liars."""
    kind = KINDS[name]
    assert result.stored_bad == 0
    assert result.wronged == {}, "an honest peer was charged"
    assert result.connected
    assert result.held <= most_held()
    assert bool(result.charged) == bool(kind.reasons)
    assert not kind.reasons or kind.reasons & set(result.charged)


@pytest.mark.parametrize("name", KINDS)
def test_half_of_the_peers_are_hostile(name: str) -> None:
    result = trial(KINDS[name], HALF)
    check(name, result)
    assert result.seconds <= undisturbed() * (1 + MOST_LATE)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if SOAK or kind.quick])
def test_all_peers_but_one_are_hostile(name: str) -> None:
    check(name, trial(KINDS[name], ALL_BUT_ONE))


def test_a_trial_is_the_same_each_time() -> None:
    assert trial(KINDS["presync switch"], HALF).seconds == trial(KINDS["presync switch"], HALF).seconds


def row(name: str) -> str:
    """Of the page; measures."""
    half, most = trial(KINDS[name], HALF), trial(KINDS[name], ALL_BUT_ONE)
    check(name, half)
    check(name, most)
    late = [f"{max(0.0, one.seconds / undisturbed() - 1):.1%}" for one in (half, most)]
    held = max(half.held, most.held) / 1e6
    reasons = ", ".join(sorted({str(reason) for one in (half, most) for reason in one.charged})) or "none"
    bad = half.stored_bad + most.stored_bad
    return f"| {name} | {KINDS[name].what} | {bad} | {late[0]} | {late[1]} | {held:.1f} MB | {reasons} |"


def page() -> str:
    """docs/adversaries.md."""
    undisturbed()  # once, before the others need it
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        rows = list(pool.map(row, KINDS))
    lines = [
        "<!-- written by `SPVNODE_TEST_PROFILE=soak pytest tests/adversary/test_btc_adversaries.py`: do not edit -->",
        "# Liars on Bitcoin's network",
        "",
        f"Eight peers, {HALF} or {ALL_BUT_ONE} of them hostile and the first to be met, in simulated time. The chain",
        f"has {LENGTH:,} headers, of which {BELIEVED:,} are needed before it is believed, so most of it is",
        f"downloaded twice. An honest peer's line takes {LONG_WAY.round_trip:g} s for a round trip and",
        f"{LONG_WAY.rate / 1e3:g} kB/s, a liar's {QUICK.round_trip:g} s and {QUICK.rate / 1e6:g} MB/s; each peer has a",
        f"line of its own. Eight honest peers need {undisturbed():.0f} s.",
        "",
        "*Stored*: headers of the liars that were stored. *Late*: how much longer it took until the honest chain",
        "was there. *Held*: the most bytes of what peers fill (messages under way, presyncs, headers waiting,",
        f"addresses), of all together; bounded by {most_held() / 1e6:.0f} MB. *Charged*: faults that the liars were",
        f"scored for until {AFTERWARDS / 60:g} minutes later; no honest peer was ever scored. Where there is none, an",
        "honest node might do the same, or it costs us nothing.",
        "",
        f"| kind | what it does | stored | late, {HALF} of 8 | late, {ALL_BUT_ONE} of 8 | held | charged |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        *lines_of_tests(),
    ]
    return "\n".join(lines) + "\n"


def test_the_page_has_every_kind() -> None:
    if SOAK:
        PAGE.write_text(page())
    figures, _, named = PAGE.read_text().partition("## ")
    rows = [line.split("|")[1].strip() for line in figures.splitlines() if line.startswith("| ")]
    assert rows == ["kind", *KINDS]
    assert ("## " + named).splitlines() == lines_of_tests()
