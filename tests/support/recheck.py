"""Every proof in every reply of a test is checked again, by verifiers that share no code with the package.

``install`` (called by ``tests/conftest.py``) listens where replies are written: JSON-RPC, the Beacon API's light-client
objects, Electrum's branches, and what ``spvnode proof`` prints or saves. Replies of daemons in processes of their own
are heard where tests read them: ``tests/support/daemons.py`` and ``spvnode.client``. Nothing is checked there and then:
``RECHECK.settle`` does it when the test has ended, so that no reply is slower, and a failure is the test's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import sha256
from time import perf_counter
from typing import Any

from tests.support.beacon_bundle_check import Checked
from tests.support.beacon_check import Chain, Update, read_bootstrap, read_update
from tests.support.light_client_bytes import bundle_bytes, kind_of, to_bytes
from tests.support.second_bytes import branch, columns_shown, merkle_block, read
from tests.support.second_verifier import Refuted, Shown, block_id, check

HINTS = (b'"hex"', b'"bundle"', b'"columns"', b'"nodes"', b'"items"')
"""A reply without any of these, and without a long result that is hex alone, holds no proof."""
HEADER_HEX = 160
"""Hex digits of a header: a result that is longer, and hex alone, is ``gettxoutproof``'s."""
MAX_TOLD = 400
"""Characters of a reply that a failure repeats."""
COLUMNS = (6, 8)
NAMES = {1: "header", 2: "beacon header", 3: "transaction", 4: "ancestry (4)", 5: "headers", 6: "columns (6)",
         7: "ancestry", 8: "columns"}  # fmt: skip
TXOUT, HEADER_BRANCH, TX_BRANCH, LIGHT_CLIENT = "txoutproof", "Electrum header", "Electrum transaction", "light client"
KINDS = (*(NAMES[version] for version in (1, 2, 3, 5, 7, 8)), TXOUT, HEADER_BRANCH, TX_BRANCH, LIGHT_CLIENT)
"""All that our servers make."""
NO_PROOFS = {"valid", "openrpc"}
"""Fields of objects in which no proof is looked for: a verdict repeats what it judges, true or not; a document only
describes proofs."""
Chains = Mapping[bytes, Chain]
"""Beacon chains by the root of their genesis validators."""


class ProofDoesNotHold(AssertionError):
    """A reply of ours held a proof that an independent verifier refuses, or that shows something else."""


@lru_cache(4096)
def fast_aggregate_verify(keys: bytes, message: bytes, signature: bytes) -> bool:
    """Keys of 48 bytes each. Kept, since many replies hold the same signatures."""
    from blspy import G1Element, G2Element, PopSchemeMPL  # noqa: PLC0415 - most runs see no signature

    points = [G1Element.from_bytes(keys[at : at + 48]) for at in range(0, len(keys), 48)]
    return bool(PopSchemeMPL.fast_aggregate_verify(points, message, G2Element.from_bytes(signature)))


def bls(keys: list[bytes], message: bytes, signature: bytes) -> bool:
    return fast_aggregate_verify(b"".join(keys), message, signature)


@dataclass
class Recheck:
    """What was heard and waits, and how many proofs of each kind held. ``committees``: keys by chain and period."""

    counts: Counter[str] = field(default_factory=Counter)
    waiting: list[partial[None]] = field(default_factory=list)
    committees: dict[tuple[bytes, int], list[list[bytes]]] = field(default_factory=dict)
    known: set[bytes] = field(default_factory=set)
    seconds: float = 0.0

    # -- hearing

    def reply(self, body: bytes, chains: Callable[[], Chains]) -> None:
        """A JSON-RPC reply, or any other JSON."""
        if any(hint in body for hint in HINTS) or (len(body) > HEADER_HEX and b'":"' in body and is_hex_reply(body)):
            self.waiting.append(partial(self._reply, body, chains()))

    def electrum(self, height: int, first: int, header: bytes, reply: Mapping[str, Any], txid: str | None) -> None:
        """A branch of the header at ``height`` in the tree from ``first`` on, or of ``txid`` in its block."""
        self.waiting.append(partial(self._electrum, height - first, header, reply, txid))

    def light_client(self, body: bytes, fork: str | None, chain: Chain, kind: int) -> None:
        """An object of a Beacon API: JSON where ``fork`` is None, else SSZ."""
        self.waiting.append(partial(self._light_client, body, fork, chain, kind))

    def proof(self, data: bytes, chains: Callable[[], Chains]) -> None:
        """A file's content, in either form."""
        self.waiting.append(partial(self._any, data, chains()))

    # -- checking

    def settle(self) -> None:
        """Checks all that waits. Raises ``ProofDoesNotHold``."""
        began, waiting, self.waiting = perf_counter(), self.waiting, []
        for one in waiting:
            try:
                one()
            except (Refuted, AssertionError, ArithmeticError, LookupError, TypeError, ValueError) as error:
                where = repr(one.args[:2])[:MAX_TOLD]
                raise ProofDoesNotHold(f"{type(error).__name__}: {error}; in {where}") from error
        self.seconds += perf_counter() - began

    def _reply(self, body: bytes, chains: Chains) -> None:
        for found in objects(json.loads(body)):
            if isinstance(found, str):
                merkle_block(bytes.fromhex(found))
                self.counts[TXOUT] += 1
                continue
            proofs = [found[name] for name in ("bundle", "hex") if name in found] + list(found.get("columns", ()))
            for one in proofs or [found]:
                shown = self._any(bytes.fromhex(one) if isinstance(one, str) else one, chains)
                if proofs:
                    compare(found, shown)

    def _any(self, proof: bytes | dict[str, Any], chains: Chains) -> Shown | Checked:
        """Any version, any form."""
        if isinstance(proof, bytes) and proof.lstrip()[:1] == b"{":
            proof = json.loads(proof)
        version = proof[0] if isinstance(proof, bytes) else proof["version"]
        if version == 2:
            data = proof if isinstance(proof, bytes) else bundle_bytes(proof)
            root_at = 2 + data[1]
            chain = chains[data[root_at : root_at + 32]]
            found: Shown | Checked = Checked(data, chain, data[root_at + 32 : root_at + 64], bls)
        elif isinstance(proof, bytes):
            found = columns_shown(proof) if version in COLUMNS else check(read(proof))
        else:
            found = check(proof)
        self.counts[NAMES[version]] += 1
        return found

    def _electrum(self, position: int, header: bytes, reply: Mapping[str, Any], txid: str | None) -> None:
        if txid is None:
            if "header" in reply:
                assert reply["header"] == header.hex()
            branch(block_id(header.hex()), position, reply["branch"], bytes.fromhex(reply["root"])[::-1])
        else:
            branch(bytes.fromhex(txid)[::-1], reply["pos"], reply["merkle"], header[36:68])
        self.counts[HEADER_BRANCH if txid is None else TX_BRANCH] += 1

    def _light_client(self, body: bytes, fork: str | None, chain: Chain, kind: int) -> None:
        data = body
        if fork is None:
            form = json.loads(body)
            fork, data = str(form["version"]), to_bytes(form["data"], form["version"])
            assert kind == kind_of(form["data"])
        digest = sha256(chain.genesis_validators_root + bytes([kind]) + data).digest()
        if digest not in self.known:
            if kind == 0:
                header, keys = read_bootstrap(data, fork, chain)
                self._learn(chain, chain.period(header.slot), keys)
            else:
                self._signed(chain, read_update(kind, data, fork, chain))
        self.known.add(digest)
        self.counts[LIGHT_CLIENT] += 1

    def _signed(self, chain: Chain, update: Update) -> None:
        """By a committee that was seen before, where one was: an update does not hold the keys that sign it."""
        found = self.committees.get((chain.genesis_validators_root, chain.period(update.slot)), [])
        signed = [keys for keys in found if bls_holds(update, chain, keys)]
        assert signed or not found, "signed by no committee of its period"
        if update.keys:
            self._learn(chain, chain.period(update.attested.slot) + 1, update.keys)

    def _learn(self, chain: Chain, period: int, keys: list[bytes]) -> None:
        known = self.committees.setdefault((chain.genesis_validators_root, period), [])
        if keys not in known:
            known.append(keys)


def bls_holds(update: Update, chain: Chain, keys: list[bytes]) -> bool:
    try:
        return update.check_signature(chain, keys, bls) > 0
    except AssertionError:
        return False


def is_hex_reply(body: bytes) -> bool:
    """Whether it may hold ``"result":"`` and hex that is longer than a header's."""
    at = body.find(b'"result":"')
    return at >= 0 and body.find(b'"', at + 10) - at - 10 > HEADER_HEX and body[at + 10 : at + 26].isalnum()


def is_bundle(answer: Mapping[str, Any]) -> bool:
    return isinstance(answer.get("version"), int) and bool({"nodes", "proof", "items"} & answer.keys())


def objects(answer: Any) -> Iterator[dict[str, Any] | str]:
    """The proofs in a reply, or the objects that hold them and say what they show."""
    if isinstance(answer, list):
        for one in answer:
            yield from objects(one)
    elif isinstance(answer, dict) and not NO_PROOFS & answer.keys():
        result = answer.get("result")
        if isinstance(result, str) and len(result) > HEADER_HEX and not set(result) - set("0123456789abcdef"):
            yield result
        elif {"bundle", "hex", "columns"} & answer.keys() or is_bundle(answer):
            yield answer
        else:
            for one in answer.values():
                if isinstance(one, dict | list):
                    yield from objects(one)


def compare(reply: Mapping[str, Any], shown: Shown | Checked) -> None:
    """What the reply says beside its proof is what the proof shows."""
    if isinstance(shown, Checked):
        header = shown.finalized if reply["header"] == "finalized" else shown.optimistic
        assert (reply["slot"], reply["root"]) == (header.slot, "0x" + header.root.hex())
        return
    named = [reply, *(reply[name] for name in ("ancestor", "descendant") if name in reply)]
    for one in named:
        assert "hash" not in one or shown.blocks[one["height"]] == one["hash"]
    assert all(reply[name] in shown.roots for name in ("root", "old_root", "new_root") if name in reply)
    assert "txid" not in reply or reply["txid"] in shown.txids


RECHECK = Recheck()
"""Of this run."""
