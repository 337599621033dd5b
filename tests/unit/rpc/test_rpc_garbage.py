"""What a request brought is let go with its answer: nothing of it waits in a cycle for the next collection, by which
many refused bodies would be in memory at once."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from rpc_live import live
from trio.testing import wait_all_tasks_blocked

from spvnode.rpc.limits import MAX_BATCH, MAX_JSON_TOKENS

CALL = {"jsonrpc": "2.0", "id": 1, "method": "uptime"}
PAD = b" " * 100_000


def text(value: object) -> bytes:
    return json.dumps(value).encode() + PAD


REQUESTS: dict[str, dict[str, Any]] = {
    "taken": {"body": text(CALL)},
    "no method": {"body": text({**CALL, "method": "nope"})},
    "bad parameters": {"body": text({**CALL, "params": [1, 2, 3]})},
    "batch": {"body": text([CALL, {**CALL, "method": "getblockhash", "params": [99_999]}, 1])},
    "batch too long": {"body": text([CALL] * (MAX_BATCH + 1))},
    "too many tokens": {"body": text(["" for _ in range(MAX_JSON_TOKENS + 1)] + [[]] * 9)},
    "too deep": {"body": b"[" * 9 + PAD},
    "no JSON": {"body": PAD},
    "no path": {"body": PAD, "path": "/nope"},
    "foreign": {"body": PAD, "headers": ("Host: evil.example",)},
    "no credentials": {"body": PAD, "auth": False},
    "bad token": {"body": PAD, "auth": False, "headers": ("Authorization: Bearer x.y.z",)},
    "bad frame": {"body": PAD, "path": "/proofs/verify"},
    "bad bundle": {"body": len(PAD).to_bytes(4, "little") + PAD, "path": "/proofs/verify"},
    "bad bundle in JSON": {"body": text({**CALL, "method": "verifyheaderproof", "params": ["00" * 50_000]})},
    "bad headers": {"body": text({**CALL, "method": "importheaders", "params": ["00" * 80_000]})},
}


@contextmanager
def kept() -> Iterator[list[object]]:
    """What only the collector would free, of all that the context leaves."""
    gc.collect()
    gc.disable()
    gc.garbage.clear()
    found: list[object] = []
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_cycle_would_be_found() -> None:
    with kept() as found:
        cycle: list[object] = [bytearray(len(PAD))]
        cycle.append(cycle)
        del cycle
    assert bulk(found) >= len(PAD)


@pytest.mark.parametrize("name", REQUESTS)
def test_nothing_of_a_request_is_kept(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with live(tmp_path) as server:
            await server.request(**REQUESTS[name])  # what is made once
            with kept() as found:
                for _ in range(3):
                    await server.request(**REQUESTS[name])
                await wait_all_tasks_blocked()
        assert bulk(found) < len(PAD)

    trio.run(main)


def bulk(objects: list[object]) -> int:
    """Bytes of long strings that ``objects`` hold."""
    held = {id(one): one for owner in objects for one in gc.get_referents(owner) if isinstance(one, bytes | bytearray)}
    return sum(len(one) for one in held.values() if len(one) > 5_000)
