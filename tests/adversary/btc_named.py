"""Which test has what: the liars that a client of Bitcoin's network must outlive, and the failures of others in the
field. ``docs/adversaries.md`` shows it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[2]

_FIELD = "tests/adversary/test_btc_field.py"
_SYNC = "tests/adversary/test_btc_sync.py"

KINDS_OF: MappingProxyType[str, str] = MappingProxyType(
    {
        "silent": "silent",
        "dripping": "dripping bytes",
        "wrong network": "another network",
        "unconnected": "unconnected",
        "low-work flood": "low-work flood",
        "presync switch": "presync switch",
        "invalid proof of work": "invalid work",
        "timewarp": "timewarp",
        "time from the future": "from the future",
        "fake invs": "fake invs",
        "oversized frames": "oversized",
        "truncated frames": "truncated",
        "addr floods": "addr flood",
        "self-connection": "self-connection",
        "disconnect loops": "disconnect loop",
        "equivocating per connection": "equivocating",
    }
)
"""Every liar that must be there, and its row among the figures."""

FIELD: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "a chain refused at a retarget": (
            f"{_FIELD}::test_the_real_chain_is_not_refused_at_its_first_retarget_wherever_we_stood_before",
            "tests/unit/bitcoin/test_real_chains.py::test_every_retarget_of_mainnet",
        ),
        "the only peer banned after a reorganization": (
            f"{_FIELD}::test_the_only_peer_is_not_left_when_it_reorganizes_in_the_middle_of_the_sync",
            f"{_SYNC}::test_a_reorganization_is_followed_and_nobody_is_at_fault",
        ),
        "a deep reorganization that is never followed": (f"{_FIELD}::test_a_reorganization_of_any_depth_is_followed",),
        "deafness after a dropped inv": (
            f"{_FIELD}::test_an_inv_that_is_lost_does_not_leave_us_deaf",
            f"{_SYNC}::test_new_blocks_are_followed_however_they_are_announced",
        ),
        "a peer that stays connected and sends nothing": (
            f"{_FIELD}::test_a_peer_that_stays_connected_and_sends_nothing_holds_nothing_up",
        ),
        "presync that never ends": (
            f"{_FIELD}::test_presync_ends_although_the_peer_s_chain_never_stands_still",
            f"{_FIELD}::test_a_presync_that_fails_each_time_ends_with_its_peer",
            f"{_FIELD}::test_a_chain_without_end_does_not_keep_an_honest_one_waiting",
        ),
        "seeds that are all dead": (
            "tests/unit/p2p/test_btc_population.py::test_dead_seeds_are_asked_ever_more_rarely_and_life_after_them_is_found",
        ),
        "ten million headers of too little work, from eight peers at once": (
            "tests/adversary/test_btc_flood.py::test_a_flood_of_low_work_by_eight_peers_over_sockets_is_left_and_the_honest_chain_comes_in",
        ),
        "a switch between the passes of presync, at every alignment": (
            "tests/unit/bitcoin/test_presync_attacks.py::test_a_switch_is_found_at_every_alignment",
            f"{_SYNC}::test_a_switch_between_the_passes_stores_nothing_of_the_forged_chain",
        ),
        "all places of those who dial us taken by one": (
            "tests/unit/p2p/test_btc_inbound.py::test_who_holds_all_places_from_one_network_cannot_keep_others_out",
            "tests/unit/p2p/test_btc_eviction.py::test_an_attacker_of_many_networks_does_not_push_out_who_has_earned_his_place",
        ),
        "megabytes that nobody asked for, gathered up for each peer": (
            "tests/unit/p2p/test_btc_v2.py::test_what_nobody_awaits_is_never_gathered_up_and_the_session_goes_on",
            "tests/unit/p2p/test_btc_wire.py::test_a_block_that_nobody_awaits_is_turned_away_at_its_header",
        ),
        "a peer punished for our own clock": (
            "tests/unit/bitcoin/test_presync.py::test_a_chain_that_our_clock_does_not_believe_may_be_the_clock_s_fault",
        ),
    }
)
"""What happened to others, or is the worst of its kind, and the tests that would fail here."""


@cache
def functions(path: str) -> frozenset[str]:
    """Of a file of tests, from the repository's root."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def lines() -> list[str]:
    """A part of docs/adversaries.md."""
    liars = ", ".join(wanted if wanted == kind else f"{wanted} (*{kind}*)" for wanted, kind in KINDS_OF.items())
    return [
        "## Which test has it",
        "",
        "Each row of figures is `test_half_of_the_peers_are_hostile` and `test_all_peers_but_one_are_hostile` in",
        f"`tests/adversary/test_btc_adversaries.py`: {liars}.",
        "",
        "| what happened to others | here |",
        "|---|---|",
        *(f"| {what} | {'; '.join(f'`{name}`' for name in tests)} |" for what, tests in FIELD.items()),
    ]
