"""One block as the wire carries it (with witnesses, BIP144), read just far enough for proofs and filters, and checked
against the header that was committed.

No consensus rule of transactions is checked: what is established is that these are the block's transactions, all of
them, and that their witnesses are its own. Source: BIP141, BIP144; Bitcoin Core ``IsBlockMutated``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, NoReturn

from merkle.compact import read_compact_size
from merkle.errors import ProofError
from merkle.hashing import sha256d
from merkle.txtree import MAX_TRANSACTIONS, PAIR_SIZE, MerkleBlock, PartialTree, root
from spvnode.types import HASH_SIZE, HEADER_SIZE, Hash32

MAX_BLOCK: Final = 4_000_000
"""Bytes of a block with witnesses (BIP141: weight 4,000,000 at one unit a byte). A peer sends it."""
MAX_BASE: Final = 1_000_000
"""Bytes of a block without its witnesses (weight 4,000,000 at four units a byte). Bounds inputs to 24,390 and outputs
to 111,111, and so what parsing holds to some 10 MB."""
KEPT_WITNESS_ITEMS: Final = 2
"""Of each input's witness the last ones are kept: what spends a known kind of script shows there. A stack may have a
million items."""

_MIN_INPUT = 41
_MIN_OUTPUT = 9
_MIN_TRANSACTION = 4 + 1 + _MIN_INPUT + 1 + _MIN_OUTPUT + 4
_NULL = bytes(HASH_SIZE)
_COMMITMENT = bytes.fromhex("6a24aa21a9ed")
"""How an output begins that commits to the witnesses (BIP141)."""


class BlockFault(StrEnum):
    """What is wrong with a block."""

    MALFORMED = "malformed"
    """No block that any version of the protocol has."""
    TOO_BIG = "too-big"
    """Above the greatest weight."""
    OTHER_BLOCK = "other-block"
    """Not the one that was asked for."""
    NO_COINBASE = "no-coinbase"
    """Does not begin with a coinbase transaction, or has a second one: inner nodes passed off as transactions look so
    (CVE-2017-12842)."""
    MERKLE_ROOT = "bad-merkle-root"
    """Transactions that are not the header's."""
    DUPLICATE = "duplicate-leaf"
    """Transactions repeated so that the Merkle root stays (CVE-2012-2459)."""
    WITNESS = "bad-witness-commitment"
    """Witnesses that are not what the coinbase commits to."""


class BlockError(ValueError):
    """Bytes that are not the block wanted: ``fault``, and in words. Never holds the bytes themselves."""

    def __init__(self, fault: BlockFault, problem: str) -> None:
        super().__init__(f"{fault}: {problem}")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class TxIn:
    """An input. ``witness`` holds the last items of its stack of ``stack`` items."""

    prev_hash: bytes
    prev_index: int
    script_sig: bytes
    witness: tuple[bytes, ...] = ()
    stack: int = 0


@dataclass(frozen=True, slots=True)
class Transaction:
    """``base_size`` is its bytes without witnesses; ``outputs`` are the scripts, ``values`` the satoshi that each is
    paid."""

    txid: Hash32
    wtxid: Hash32
    base_size: int
    inputs: tuple[TxIn, ...]
    outputs: tuple[bytes, ...]
    values: tuple[int, ...] = ()

    @property
    def is_coinbase(self) -> bool:
        """Spends nothing."""
        return len(self.inputs) == 1 and self.inputs[0].prev_hash == _NULL and self.inputs[0].prev_index == 0xFFFF_FFFF


@dataclass(frozen=True)
class Block:
    """A parsed block."""

    header: bytes
    transactions: tuple[Transaction, ...]

    @cached_property
    def hash(self) -> Hash32:
        """Of the header."""
        return Hash32(sha256d(self.header))

    @property
    def txids(self) -> list[bytes]:
        """In block order."""
        return [tx.txid for tx in self.transactions]


def parse_block(raw: bytes) -> Block:
    """Reads a block; BlockError MALFORMED or TOO_BIG. Nothing is checked against the header yet."""
    if len(raw) > MAX_BLOCK:
        raise BlockError(BlockFault.TOO_BIG, f"{len(raw)} bytes are above {MAX_BLOCK}")
    reader = _Reader(raw)
    header = reader.take(HEADER_SIZE)
    count = reader.count(_MIN_TRANSACTION)
    if not 1 <= count <= MAX_TRANSACTIONS:
        _malformed(f"{count} transactions are not 1 to {MAX_TRANSACTIONS}")
    transactions: list[Transaction] = []
    base = reader.at
    for _ in range(count):
        transactions.append(reader.transaction())
        base += transactions[-1].base_size
        if base > MAX_BASE:
            raise BlockError(BlockFault.TOO_BIG, f"more than {MAX_BASE} bytes without witnesses")
    if reader.at != len(raw):
        _malformed(f"{len(raw) - reader.at} bytes follow the transactions")
    if 3 * base + len(raw) > MAX_BLOCK:
        raise BlockError(BlockFault.TOO_BIG, f"weight {3 * base + len(raw)} is above {MAX_BLOCK}")
    return Block(header, tuple(transactions))


def read_block(raw: bytes, header: bytes) -> Block:
    """The block of a committed ``header`` (80 bytes); BlockError when ``raw`` is not exactly that."""
    if raw[:HEADER_SIZE] != header:
        raise BlockError(BlockFault.OTHER_BLOCK, "its header is not the one asked for")
    block = parse_block(raw)
    check_transactions(block)
    check_witnesses(block)
    return block


def check_transactions(block: Block) -> None:
    """The header commits to exactly these transactions; BlockError otherwise.

    A list of inner nodes passed off as transactions has no coinbase, short of 2**224 tries; with the real coinbase in
    front all leaves are on its level.
    """
    found, mutated = root(block.txids)
    if found != block.header[36:68]:
        raise BlockError(BlockFault.MERKLE_ROOT, "its transactions do not give the header's Merkle root")
    if mutated:
        raise BlockError(BlockFault.DUPLICATE, "transactions are repeated")
    first, *others = block.transactions
    if not first.is_coinbase or any(tx.is_coinbase for tx in others):
        raise BlockError(BlockFault.NO_COINBASE, "the first transaction alone must be a coinbase")


def check_witnesses(block: Block) -> None:
    """Witnesses are those that the coinbase commits to (BIP141); without a commitment there are none.

    A block with a commitment and no witness at all passes: one from before the rule, or stripped by a peer that was not
    asked for witnesses. Its txids are as good.
    """
    coinbase = block.transactions[0]
    if all(tx.wtxid == tx.txid for tx in block.transactions):
        return
    commitment = next((script for script in reversed(coinbase.outputs) if _commits(script)), None)
    if commitment is None:
        raise BlockError(BlockFault.WITNESS, "it has witnesses and commits to none")
    nonce = coinbase.inputs[0]
    if nonce.stack != 1 or len(nonce.witness[0]) != HASH_SIZE:
        raise BlockError(BlockFault.WITNESS, "the coinbase has no witness of 32 bytes")
    found, _ = root([_NULL, *(tx.wtxid for tx in block.transactions[1:])])
    if sha256d(found + nonce.witness[0]) != commitment[len(_COMMITMENT) : len(_COMMITMENT) + HASH_SIZE]:
        raise BlockError(BlockFault.WITNESS, "the witnesses are not those committed to")


def _commits(script: bytes) -> bool:
    return script.startswith(_COMMITMENT) and len(script) >= len(_COMMITMENT) + HASH_SIZE


def txout_proof(block: Block, wanted: Iterable[bytes]) -> bytes:
    """The proof that ``block``, checked, holds the ``wanted`` txids, as ``gettxoutproof`` gives it.

    KeyError when one is not in it. ProofError for a transaction of 64 bytes: its proof could also be one of an inner
    node, so that nobody should accept it.
    """
    by_id = {tx.txid: tx for tx in block.transactions}
    chosen = set(wanted)
    for txid in chosen:
        if by_id[Hash32(txid)].base_size == PAIR_SIZE:
            raise ProofError("txid", "is of a transaction of 64 bytes, which no proof tells from an inner node")
    return MerkleBlock(block.header, PartialTree.build(block.txids, chosen)).encode()


def base_bytes(raw: bytes, positions: Container[int]) -> dict[int, bytes]:
    """The transactions at ``positions`` of a block that parsed before, without their witnesses: what their ids are the
    hashes of. Positions outside the block give nothing."""
    reader = _Reader(raw)
    reader.take(HEADER_SIZE)
    found = {}
    for position in range(reader.count(_MIN_TRANSACTION)):
        reader.transaction()
        if position in positions:
            found[position] = reader.base
    return found


def _malformed(problem: str) -> NoReturn:
    raise BlockError(BlockFault.MALFORMED, problem)


class _Reader:
    """A position in a block. ``base`` is the last transaction without its witnesses."""

    __slots__ = ("at", "base", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0
        self.base = b""

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self.raw):
            _malformed(f"{size} bytes are wanted at {start} of {len(self.raw)}")
        return self.raw[start : self.at]

    def size(self) -> int:
        """CompactSize of bytes that follow."""
        try:
            value, self.at = read_compact_size(self.raw, self.at)
        except ProofError as error:
            _malformed(str(error))
        return value

    def count(self, least: int) -> int:
        """CompactSize of things of ``least`` bytes each, which must be there."""
        value = self.size()
        if value * least > min(len(self.raw) - self.at, MAX_BASE):
            _malformed(f"{value} things of at least {least} bytes at {self.at} of {len(self.raw)}")
        return value

    def transaction(self) -> Transaction:
        start = self.at
        version = self.take(4)
        body = self.at
        count = self.count(_MIN_INPUT)
        marked = count == 0
        if marked:
            if self.take(1) != b"\x01":
                _malformed("a transaction without inputs")
            body = self.at
            count = self.count(_MIN_INPUT) or _malformed("a transaction without inputs")
        inputs = [self._input() for _ in range(count)]
        paid = [self._output() for _ in range(self.count(_MIN_OUTPUT))]
        values, outputs = tuple([value for value, _ in paid]), tuple([script for _, script in paid])
        base = version + self.raw[body : self.at]
        if marked:
            inputs = list(self._witnesses(inputs))
            if not any(one.stack for one in inputs):
                _malformed("a witness marker without witnesses")
        self.base = base + self.take(4)
        txid = Hash32(sha256d(self.base))
        wtxid = Hash32(sha256d(self.raw[start : self.at])) if marked else txid
        return Transaction(txid, wtxid, len(self.base), tuple(inputs), outputs, values)

    def _input(self) -> TxIn:
        place = self.take(36)
        script = self.take(self.size())
        self.take(4)
        return TxIn(place[:HASH_SIZE], int.from_bytes(place[HASH_SIZE:], "little"), script)

    def _output(self) -> tuple[int, bytes]:
        value = int.from_bytes(self.take(8), "little", signed=True)
        return value, self.take(self.size())

    def _witnesses(self, inputs: list[TxIn]) -> Iterator[TxIn]:
        for one in inputs:
            count = self.size()
            if count > len(self.raw) - self.at:
                _malformed(f"{count} witness items at {self.at} of {len(self.raw)}")
            for _ in range(count - KEPT_WITNESS_ITEMS):
                self._skip()
            kept = tuple([self.take(self.size()) for _ in range(min(count, KEPT_WITNESS_ITEMS))])
            yield TxIn(one.prev_hash, one.prev_index, one.script_sig, kept, count)

    def _skip(self) -> None:
        size = self.size()
        self.at += size
        if self.at > len(self.raw):
            _malformed(f"a witness item of {size} bytes")
