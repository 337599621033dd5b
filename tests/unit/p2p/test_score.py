"""Points, decay, discouragement, and whose fault it was."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from p2p import score
from p2p.faults import MAX_EVIDENCE, FaultReason, RemoteFault
from p2p.score import POINTS, Action, ScoreBoard

T0 = 1.7e9


def fault(reason: FaultReason, peer: str = "p") -> RemoteFault:
    return RemoteFault(reason, peer, "evidence", "testnet")


def test_every_reason_has_its_points() -> None:
    assert set(POINTS) == set(FaultReason)
    assert all(0 < points <= score.THRESHOLD for points in POINTS.values())


@pytest.mark.parametrize("reason", FaultReason)
def test_a_peer_is_left_when_its_points_reach_the_threshold_and_not_before(reason: FaultReason) -> None:
    board = ScoreBoard()
    needed = -(-score.THRESHOLD // POINTS[reason])
    for n in range(int(needed)):
        assert board.score("p", T0) == n * POINTS[reason]
        judgement = board.report(fault(reason), T0, connected=100)
        assert judgement.points == POINTS[reason]
        assert (judgement.action is Action.DISCOURAGE) == (n == needed - 1)
    assert judgement.until == T0 + score.DISCOURAGE_S
    assert board.discouraged_until("p", T0) == judgement.until
    assert board.discouraged_until("q", T0) is None
    assert board.score("p", T0) == 0
    assert board.faults[reason] == needed


def test_points_halve_in_a_half_life() -> None:
    board = ScoreBoard()
    board.report(fault(FaultReason.PROTOCOL), T0, connected=1)
    assert board.score("p", T0 + score.HALF_LIFE_S) == pytest.approx(25)
    assert board.score("p", T0 + 10 * score.HALF_LIFE_S) == pytest.approx(50 / 1024)
    assert board.score("p", T0 - 1_000) == 50  # a clock set back takes nothing off and adds nothing
    judgement = board.report(fault(FaultReason.PROTOCOL), T0 + score.HALF_LIFE_S, connected=1)
    assert judgement.score == pytest.approx(75)


def test_rare_timeouts_never_add_up_and_frequent_ones_do() -> None:
    rare, frequent = ScoreBoard(), ScoreBoard()
    actions = {rare.report(fault(FaultReason.TIMEOUT), T0 + n * 600, connected=9).action for n in range(1_000)}
    assert actions == {Action.KEEP}
    actions = {frequent.report(fault(FaultReason.TIMEOUT), T0 + n * 60, connected=9).action for n in range(20)}
    assert Action.DISCOURAGE in actions


def test_discouragement_doubles_up_to_a_day_and_is_forgotten_after_good_conduct() -> None:
    board = ScoreBoard()
    now, lengths = T0, []
    for _ in range(8):
        until = board.report(fault(FaultReason.BAD_FRAME), now, connected=1).until
        lengths.append(until - now)
        now = until + 1
    assert lengths == [3_600, 7_200, 14_400, 28_800, 57_600, 86_400, 86_400, 86_400]
    now += score.DISCOURAGE_MAX_S
    assert board.report(fault(FaultReason.BAD_FRAME), now, connected=1).until == now + score.DISCOURAGE_S


def test_discouragement_ends() -> None:
    board = ScoreBoard()
    until = board.report(fault(FaultReason.BAD_FRAME), T0, connected=1).until
    assert board.discouraged_until("p", until - 1) == until
    assert board.discouraged_until("p", until) is None
    assert board.discouraged(until) == []


def test_a_configured_peer_is_kept_out_for_two_minutes_only() -> None:
    board = ScoreBoard()
    for n in range(3):
        now = T0 + n * 1_000
        until = board.report(fault(FaultReason.BAD_FRAME), now, connected=1, static=True).until
        assert until == now + score.STATIC_DISCOURAGE_S


def test_the_last_useful_peer_is_scored_and_spared_until_there_is_another() -> None:
    board = ScoreBoard()
    judgement = board.report(fault(FaultReason.BAD_FRAME), T0, connected=1, last=True)
    assert (judgement.action, judgement.score) == (Action.SPARE, 100)
    assert board.discouraged_until("p", T0) is None
    judgement = board.report(fault(FaultReason.NOT_FOUND), T0 + 1, connected=2)
    assert judgement.action is Action.DISCOURAGE


@pytest.mark.parametrize("reason", sorted(score.MAY_BE_OURS))
def test_when_every_peer_fails_at_once_it_is_ours_and_all_is_given_back(reason: FaultReason) -> None:
    board = ScoreBoard()
    peers = ["a", "b", "c", "d"]
    board.report(fault(FaultReason.UNLINKED, "a"), T0, connected=4)
    for n, peer in enumerate(peers):
        board.report(fault(reason, peer), T0 + n, connected=4)
    assert board.forgiven == 1  # the one that made it clear; the others got their points back
    assert [round(board.score(peer, T0 + 4)) for peer in peers] == [30, 0, 0, 0]
    for n in range(100):  # and it goes on for as long as it lasts
        assert board.report(fault(reason, peers[n % 4]), T0 + 5 + n, connected=4).points == 0
    assert board.discouraged(T0 + 200) == []


def test_a_fault_that_one_shows_and_others_do_not_is_its_own() -> None:
    board = ScoreBoard()
    for _ in range(5):
        board.report(fault(FaultReason.STALLED, "slow"), T0, connected=4)
    assert board.discouraged_until("slow", T0 + 5) is not None


def test_two_peers_are_too_few_to_blame_ourselves() -> None:
    board = ScoreBoard()
    for n in range(8):
        board.report(fault(FaultReason.STALLED, "ab"[n % 2]), T0 + n, connected=2)
    assert board.forgiven == 0


def test_lies_are_never_taken_for_our_own_fault() -> None:
    board = ScoreBoard()
    for peer in "abcd":
        assert board.report(fault(FaultReason.INVALID_HEADER, peer), T0, connected=4).action is Action.DISCOURAGE


def test_discouragements_are_kept_with_their_reason(tmp_path: Path) -> None:
    file = tmp_path / "discouraged.json"
    board = ScoreBoard(file)
    assert board.unsaved() is None
    board.report(fault(FaultReason.INVALID_HEADER), T0, connected=1)
    job = board.unsaved()
    assert job is not None
    job()
    assert board.unsaved() is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = ScoreBoard(file)
    (entry,) = again.discouraged(T0 + 1)
    assert (entry.peer, entry.reason, entry.evidence, entry.times) == ("p", FaultReason.INVALID_HEADER, "evidence", 1)
    assert again.discouraged_until("p", T0 + score.DISCOURAGE_S) is None


def test_a_pardon_is_complete(tmp_path: Path) -> None:
    board = ScoreBoard(tmp_path / "discouraged.json")
    board.report(fault(FaultReason.BAD_FRAME), T0, connected=1)
    board.report(fault(FaultReason.TIMEOUT), T0, connected=1)
    board.pardon("p")
    assert (board.score("p", T0), board.discouraged_until("p", T0)) == (0, None)
    board.pardon("unknown")


def test_a_clock_that_was_years_ahead_keeps_nobody_out() -> None:
    board = ScoreBoard()
    board.report(fault(FaultReason.BAD_FRAME), T0 + 4e8, connected=1)
    assert board.discouraged_until("p", T0) is None


def test_strangers_fill_neither_table_beyond_its_limit() -> None:
    board = ScoreBoard()
    board.report(fault(FaultReason.PROTOCOL, "worst"), T0, connected=1)
    for n in range(score.MAX_SCORED + 100):
        board.report(fault(FaultReason.REFUSED, f"peer{n}"), T0, connected=1)
    assert len(board._scores) == score.MAX_SCORED
    assert board.score("worst", T0) == 50
    board.report(fault(FaultReason.BAD_FRAME, "later"), T0 + 1_000, connected=1)
    for n in range(score.MAX_DISCOURAGED + 100):
        board.report(fault(FaultReason.BAD_FRAME, f"bad{n}"), T0, connected=1)
    assert len(board.discouraged(T0 + 1_001)) == score.MAX_DISCOURAGED
    assert board.discouraged_until("later", T0 + 1_001) is not None
    assert len(board._recent) <= score.MAX_RECENT


def test_evidence_is_one_bounded_printable_line() -> None:
    evidence = RemoteFault(FaultReason.PROTOCOL, "p", "a\nb\x1b[31m" + "x" * 1_000).evidence
    assert len(evidence) == MAX_EVIDENCE
    assert evidence.startswith("a?b?[31mxxx")
