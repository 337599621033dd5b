"""Presync of a million headers, both passes, without network and store: beside the same in plain Python, and beside
the one pass that a chain costs whose work nobody doubts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from native import _kernels as kernels
from spvnode.bitcoin import linking, rules, validation
from spvnode.bitcoin.linking import link_headers_plain, strip_links
from spvnode.bitcoin.packing import RunContext, pack_params
from spvnode.bitcoin.params import REGTEST
from spvnode.bitcoin.presync import Presync, Release
from spvnode.bitcoin.rules import NO_TIME_LIMIT
from spvnode.bitcoin.start import genesis_of, start_context
from spvnode.bitcoin.validation import check_run
from spvnode.types import Work
from tests.bench.bench_chain import CACHE, HEADERS, NOW
from tests.bench.row import Row
from tests.support.mine import regtest_chain

MESSAGE = 2_000
PART = 100_000
"""Headers that the plain Python takes: half a second of it."""
ROUNDS = 5
START = start_context(REGTEST, genesis_of(REGTEST))


def rows() -> list[Row]:
    """What ``make bench`` prints of presync."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    headers = regtest_chain(HEADERS, cache=CACHE)
    part, bodies = headers[: PART * 80], strip_links(headers[: PART * 80])
    both, once, slow, fast, plain, kernel = (1e9,) * 6
    for _ in range(ROUNDS):  # in turns, so that what else the machine does meets all alike
        both = min(both, _timed(lambda: presync(headers)))
        once = min(once, _timed(lambda: validate(headers)))
        fast = min(fast, _timed(lambda: presync(part)))
        with python_twins():
            slow = min(slow, _timed(lambda: presync(part)))
        plain = min(plain, _timed(lambda: link_headers_plain(bodies, REGTEST.genesis_hash)))
        kernel = min(kernel, _timed(lambda: kernels.link_headers(bodies, REGTEST.genesis_hash)))
    name = f"presync, {HEADERS:,} headers, both passes"
    return [
        Row(name, f"CPU; messages of {MESSAGE:,}", HEADERS / both, 1_000_000, "headers/s"),
        Row(f"{name}: times the one pass", "check_run over the same messages", both / once, 8, at_least=False),
        Row(f"presync, {PART:,} headers, both passes", "the Python twins of its kernels", slow / fast, 6),
        Row(f"presync, {HEADERS:,} headers: held of a peer", "most", presync(headers) / 1e6, 0.8, "MB", at_least=False),
        Row("headers linked from their bodies", "hashlib loop", plain / kernel, 4),
    ]


def presync(headers: bytes) -> int:
    """Takes ``headers`` twice; the most bytes held. The last header completes the work."""
    total = len(headers) // 80
    start = RunContext.unpack(START)
    sync = Presync(REGTEST, start, Work(2 * (total + 1)), salt=bytes(16), offset=100, now=NOW)
    released = held = 0
    for _ in range(2):
        for message in messages(headers):
            step = sync.take(message, full=True)
            held = max(held, sync.nbytes)
            released += len(step.headers) // 80 if isinstance(step, Release) else 0
    if released != total:
        raise ValueError(f"{released:,} of {total:,} headers were released")
    return held


def validate(headers: bytes) -> None:
    """Takes ``headers`` once."""
    packed, context = pack_params(REGTEST), START
    for message in messages(headers):
        context = check_run(packed, context, message, NO_TIME_LIMIT).context


def messages(headers: bytes) -> Iterator[bytes]:
    """As a Bitcoin peer sends them."""
    return (headers[at : at + MESSAGE * 80] for at in range(0, len(headers), MESSAGE * 80))


@contextmanager
def python_twins() -> Iterator[None]:
    """Runs presync without its kernels."""
    doors = validation._check_run, linking._link_headers
    validation._check_run, linking._link_headers = rules.check_run, link_headers_plain
    try:
        yield
    finally:
        validation._check_run, linking._link_headers = doors


def _timed(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
