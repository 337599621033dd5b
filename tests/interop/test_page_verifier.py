"""The dashboard's own verifier against the offline verifier, in a real Chromium with its WebCrypto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from merkle.bundle import encode, to_json
from merkle.verify import verify
from tests.interop.dashboard import shown
from tests.support.proof_maker import mainnet, regtest

pytestmark = pytest.mark.interop


def test_the_page_s_verifier_agrees_with_the_other(tmp_path: Path) -> None:
    """On true bundles of two networks and start heights, and on every way to change them a little."""

    async def main() -> None:
        async with shown(tmp_path) as (server, page):
            await page.open(f"http://127.0.0.1:{server.port}/")
            cases = list(variants())
            script = VERIFY_ALL % json.dumps([case if isinstance(case, str) else list(case) for case in cases])
            found = await page.run(script)
            expected = [verdict(case) for case in cases]
            assert {tuple(one[:2]) for one in expected} >= {(True, "ok"), (False, "format"), (False, "root")}
            for case, here, there in zip(cases, found, expected, strict=True):
                assert here == there, case
            root = MAINNET.bundle(12_345, 20_000).root[::-1].hex()
            raw = encode(MAINNET.bundle(12_345, 20_000))
            asked = f"it.verify({raw.hex()!r}, {root!r})"
            trusting = await page.run(f"import('/verify.js').then((it) => {asked})")
            assert (trusting["rests_on"], trusting["says"]) == ("trusted root", verify(raw, trusted_root=root).says)

    trio.run(main)


MAINNET = mainnet()
VERIFY_ALL = """import("/verify.js").then((it) => Promise.all(%s.map(async (one) => {
    const found = await it.verify(typeof one === "string" ? one : Uint8Array.from(one));
    return [found.ok, found.reason, found.says, found.rests_on, found.claimed, found.fields];
})))"""


def verdict(case: bytes | str) -> list[Any]:
    found = verify(case)
    return [found.ok, found.reason, found.says, found.rests_on, list(found.claimed), found.fields]


def variants() -> Iterator[bytes | str]:
    """Bundles, in both forms, true and false."""
    rng = Random(7)
    made = [MAINNET.bundle(12_345, 20_000), MAINNET.bundle(0, 0), MAINNET.bundle(1, 2), regtest(9).bundle(3),
            regtest(12, base=7, with_peaks=True).bundle(9), regtest(12, base=7).bundle(9)]  # fmt: skip
    for bundle in made:
        raw, shape = encode(bundle), to_json(bundle)
        yield from (raw, json.dumps(shape), json.dumps(shape, indent=2), raw + bytes(32), raw[:-32], raw[:-1], raw[:40])
        for _ in range(150):
            changed = bytearray(raw)
            changed[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            yield bytes(changed)
        for key, value in shape.items():
            for other in (None, [], {}, True, 1.5, -1, 2**32, "", "00", "zz" * 32, str(value).upper(), "a" * 63):
                yield json.dumps({**shape, key: other})
            yield json.dumps({name: kept for name, kept in shape.items() if name != key})
        yield json.dumps({**shape, "more": 1})
        yield json.dumps(shape).replace("{", '{"height": 5, ', 1)
        yield json.dumps(shape).replace('"version": 1,', '"version": 1.0,')
        yield json.dumps({**shape, "nodes": [*shape["nodes"], "00"]})
    yield from ("", "{", "{}", b"", b"\x01", bytes(5_000), bytes([1]) + bytes(5_000))
