"""Token bucket and sliding window: nobody gets more than the rate, and who asks evenly is never refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spvnode.rpc.rates import BURST_SECONDS, MAX_BUCKETS, MAX_DELAY, METHOD_SHARE, WINDOW_SECONDS, Throttle


def test_a_burst_is_taken_at_once_then_calls_wait_then_they_are_refused() -> None:
    throttle = Throttle()
    taken = [throttle.admit("u", f"m{n}", 1, 10.0, 100.0) for n in range(80)]
    burst = int(10 * BURST_SECONDS)
    assert all(one.delay == 0 and one.retry_after is None for one in taken[:burst])
    delayed = [one for one in taken[burst:] if one.retry_after is None]
    assert [round(one.delay, 6) for one in delayed] == [round(n / 10, 6) for n in range(1, len(delayed) + 1)]
    assert delayed[-1].delay <= MAX_DELAY
    refused = taken[burst + len(delayed) :]
    assert refused
    assert all(one.retry_after is not None and one.retry_after > MAX_DELAY for one in refused)


def test_what_is_refused_costs_nothing_and_the_told_time_is_enough() -> None:
    throttle = Throttle()
    while (found := throttle.admit("u", "m", 1, 10.0, 100.0)).retry_after is None:
        pass
    for _ in range(50):
        assert throttle.admit("u", "m", 1, 10.0, 100.0).retry_after == found.retry_after
    assert throttle.admit("u", "m", 1, 10.0, 100.0 + found.retry_after).retry_after is None


def test_users_do_not_pay_for_each_other_and_no_rate_is_no_limit() -> None:
    throttle = Throttle()
    while throttle.admit("u", "m", 1, 10.0, 0.0).retry_after is None:
        pass
    assert throttle.admit("v", "m", 1, 10.0, 0.0).delay == 0
    assert all(throttle.admit("w", "m", 1_000, 0.0, 0.0).delay == 0 for _ in range(100))


def test_a_loop_on_one_method_leaves_room_for_another() -> None:
    throttle = Throttle()
    rate, now, spent = 100.0, 1_000.0, 0
    refused = False
    for _ in range(4_000):  # evenly, a little below the rate: the bucket never empties
        found = throttle.admit("u", "loop", 1, rate, now)
        refused |= found.retry_after is not None
        spent += found.retry_after is None
        assert throttle.admit("u", "other", 0, rate, now).delay == 0
        now += 1 / 95
    assert refused
    assert spent <= METHOD_SHARE * rate * (now - 1_000.0 + 2 * WINDOW_SECONDS)


def test_a_call_that_costs_more_than_a_burst_is_taken_when_the_bucket_is_full() -> None:
    throttle = Throttle()
    assert throttle.admit("u", "m", 10_000, 10.0, 0.0).delay == 0
    assert throttle.admit("u", "n", 1, 10.0, 0.0).retry_after is not None


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for n in range(3 * MAX_BUCKETS):
        throttle.admit(f"u{n}", "m", 1, 10.0, 0.0)
    assert len(throttle._buckets) == len(throttle._windows) == MAX_BUCKETS


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 20), st.sampled_from("ab")), max_size=200),
    st.floats(1, 50),
)
def test_never_more_than_burst_and_rate_in_any_time(calls: list[tuple[float, int, str]], rate: float) -> None:
    throttle = Throttle()
    now = start = 50.0
    spent = 0.0
    for pause, cost, method in calls:
        now += pause
        found = throttle.admit("u", method, cost, rate, now)
        assert found.delay <= MAX_DELAY
        assert found.delay >= 0
        if found.retry_after is None:
            spent += cost
        # 20: one call may cost more than the bucket holds, and is then taken from a full one.
        assert spent <= rate * (BURST_SECONDS + now - start + MAX_DELAY) + 20
