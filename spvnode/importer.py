"""Headers from a file, in two passes: all of it is checked first, and only then is any of it stored.

A file is raw headers of 80 bytes, lowest first, beginning at the genesis (or right after it), or at a checkpoint that
the user names. A cut file is no error: whole headers count, the rest is reported, and a later import of the whole
file goes on where the chain ends.
"""

from __future__ import annotations

import io
import lzma
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.packing import pack_params
from spvnode.bitcoin.params import NETWORKS, ChainParams
from spvnode.bitcoin.rules import MAX_FUTURE_BLOCK_TIME, Reason
from spvnode.bitcoin.start import Checkpoint, check_checkpoint, genesis_of, start_context
from spvnode.bitcoin.stored import StoredChain
from spvnode.bitcoin.validation import check_run
from spvnode.errors import InputError
from spvnode.following import Outcome
from spvnode.inputs import CheckpointInput
from spvnode.rpc.limits import MAX_IMPORT_HEADERS
from spvnode.types import HASH_SIZE, HEADER_SIZE, Hash32, Height, hash_hex

CHUNK_HEADERS = MAX_IMPORT_HEADERS
"""Headers checked, and committed, at once: what one ``importheaders`` takes."""
BUNDLED = "@bundled"
"""In place of a file's name: the headers that ship with this package."""
_BUNDLED_FILES = {"bitcoin": Path(__file__).parent / "data" / "bitcoin-0-32259.headers.xz"}

_NOT_HEADERS = {
    b"\xfd7zXZ\0": "an xz archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
}
"""First bytes of what people name by mistake. Looked at only to word the refusal of a file."""

Progress = Callable[[str, int, int], None]
"""Called with the name of the pass, headers done, and headers in all."""


class Target(Protocol):
    """Where the headers go: a store opened here, or a daemon that has it open."""

    @property
    def base(self) -> Height:
        """Lowest height it holds."""

    @property
    def tip_height(self) -> Height:
        """Its best header's height."""

    def block_hash(self, height: Height) -> Hash32:
        """Hash on its main chain, base..tip."""

    def commit(self, headers: bytes, *, last: bool) -> None:
        """Takes a run; ``InputError`` naming the rule that it breaks. ``last``: make everything durable."""


@dataclass(frozen=True, slots=True)
class HeaderFile:
    """A file of headers. Opening and reading raise ``InputError`` naming it."""

    path: Path
    content: bytes | None = None
    """What is in it, where it does not lie there as it is read."""

    @classmethod
    def named(cls, name: str, network: str) -> HeaderFile:
        """The file called ``name``, or for ``@bundled`` the one that ships for ``network``."""
        if name != BUNDLED:
            return cls(Path(name))
        if network not in _BUNDLED_FILES:
            raise InputError("FILE", f"no headers of {network} are bundled, only of {', '.join(_BUNDLED_FILES)}")
        path = _BUNDLED_FILES[network]
        return cls(path, lzma.decompress(path.read_bytes()))

    @property
    def total(self) -> int:
        """Whole headers in it."""
        size = self.path.stat().st_size if self.content is None else len(self.content)
        return size // HEADER_SIZE

    def chunks(self, skip: int = 0) -> Iterator[bytes]:
        """All bytes after ``skip`` headers, in pieces of ``CHUNK_HEADERS`` headers; the last may be cut anywhere."""
        try:
            with self._open() as stream:
                stream.seek(skip * HEADER_SIZE)
                while chunk := stream.read(CHUNK_HEADERS * HEADER_SIZE):
                    yield chunk
        except OSError as error:
            raise InputError("FILE", f"{self.path}: {error.strerror}") from error

    def header_at(self, index: int) -> bytes:
        """The 80 bytes of the ``index``-th header."""
        return next(self.chunks(index))[:HEADER_SIZE]

    def _open(self) -> BinaryIO:
        if self.content is not None:
            return io.BytesIO(self.content)
        mode = self.path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or device, which cannot be read twice"
            raise InputError("FILE", f"{self.path} is {kind}; it must be a regular file")
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class Checked:
    """What the first pass found: headers ``first`` .. ``first + count - 1`` are good, ``rest`` bytes are no header.
    ``start`` is what their validity rests on."""

    start: Checkpoint
    first: Height
    count: int
    rest: int

    @property
    def last(self) -> Height:
        """Height of the last whole header."""
        return Height(self.first + self.count - 1)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: ``known`` headers were there before, ``accepted`` are new; ``below`` of the known ones lie
    under the store's start and were checked, but are not stored."""

    checked: Checked
    known: int
    below: int
    accepted: int
    seconds: float
    tip_height: Height
    tip_hash: Hash32


def check_file(
    file: HeaderFile, params: ChainParams, begin: CheckpointInput | Checkpoint | None, now: float, progress: Progress
) -> Checked:
    """Pass one: every header by every rule, nothing stored. ``begin``: the checkpoint that the file starts with, None
    for genesis. Raises ``InputError`` naming the first bad header and the rule that it breaks."""
    chunks = file.chunks()
    chunk = next(chunks, b"")
    if len(chunk) < HEADER_SIZE:
        raise InputError("FILE", f"{file.path}: {len(chunk)} bytes hold no header of {HEADER_SIZE}")
    start, first = _begin(params, begin, chunk[:HEADER_SIZE], file.path)
    check = _Pass(params, start, int(now) + MAX_FUTURE_BLOCK_TIME)
    count = 1 - (first - start.height)  # the start itself is known by its hash
    chunk = chunk[count * HEADER_SIZE :]
    while chunk:
        whole = len(chunk) - len(chunk) % HEADER_SIZE
        check.run(Height(first + count), chunk[:whole])
        count += whole // HEADER_SIZE
        progress("checking", count, file.total)
        rest, chunk = len(chunk) - whole, next(chunks, b"")
        if not chunk:
            return Checked(start, first, count, rest)
    return Checked(start, first, count, 0)


def _begin(
    params: ChainParams, begin: CheckpointInput | Checkpoint | None, header: bytes, path: Path
) -> tuple[Checkpoint, Height]:
    """What the file rests on, and the height of its first header."""
    if begin is None:
        if header == params.genesis_header:
            return genesis_of(params), Height(0)
        if Header(header).prev_hash == params.genesis_hash:
            return genesis_of(params), Height(1)
        raise InputError("FILE", f"{path}: {_foreign(params, header)}")
    found = header_hash(header)
    if found != begin.hash:
        raise InputError("--checkpoint", f"the file's first header has the hash {hash_hex(found)}")
    start = begin if isinstance(begin, Checkpoint) else Checkpoint(begin.height, begin.hash, header)
    try:
        check_checkpoint(params, start)
    except InputError as error:
        raise InputError("--checkpoint", error.problem) from error
    return start, start.height


def _foreign(params: ChainParams, first: bytes) -> str:
    """Why a file that begins with these 80 bytes does not begin at the genesis of ``params``, as far as they tell."""
    for other in NETWORKS.values():
        if first == other.genesis_header or Header(first).prev_hash == other.genesis_hash:
            return f"begins with {other.name}'s genesis, not {params.name}'s; is it --network {other.name}?"
    for magic, what in _NOT_HEADERS.items():
        if first.startswith(magic):
            return f"is {what}; unpack it first: raw headers of {HEADER_SIZE} bytes are wanted"
    if all(byte in b"0123456789abcdefABCDEF \r\n" for byte in first):
        return f"is hex text; raw headers of {HEADER_SIZE} bytes are wanted (xxd -r -p makes them)"
    return f"its first header is not {params.name}'s genesis; name where it begins: --checkpoint HEIGHT:HASH"


class _Pass:
    """The rules over consecutive runs, and the built-in checkpoints."""

    def __init__(self, params: ChainParams, start: Checkpoint, max_time: int) -> None:
        self._packed = pack_params(params)
        self._pinned = dict(params.checkpoints)
        self._context = start_context(params, start)
        self._max_time = max_time

    def run(self, first: Height, headers: bytes) -> None:
        """Checks headers from height ``first`` on. Raises ``InputError``."""
        result = check_run(self._packed, self._context, headers, self._max_time)
        self._context = result.context
        reason, bad = result.reason, Height(first + result.count)
        for height, block_hash in self._pinned.items():
            at = (height - first) * HASH_SIZE
            if 0 <= at < len(result.hashes) and result.hashes[at : at + HASH_SIZE] != block_hash:
                reason, bad = Reason.CHECKPOINT_MISMATCH, height
                break
        if reason is not None:
            offset = (bad - first) * HEADER_SIZE
            name = hash_hex(header_hash(headers[offset : offset + HEADER_SIZE]))
            raise InputError("FILE", f"header {bad} ({name}) breaks the rule {reason}; nothing was stored")


def store_file(file: HeaderFile, checked: Checked, target: Target, progress: Progress) -> Imported:
    """Pass two: commits what ``target`` does not have yet. Raises ``InputError``, ``StoreError``."""
    started = time.monotonic()
    known = known_headers(file, checked, target)
    done = known
    for chunk in file.chunks(known):
        run = chunk[: min(len(chunk) // HEADER_SIZE, checked.count - done) * HEADER_SIZE]
        if not run:
            break
        done += len(run) // HEADER_SIZE
        target.commit(run, last=done == checked.count)
        progress("storing", done, checked.count)
    tip = target.tip_height
    below = min(known, max(0, target.base - checked.first))
    return Imported(checked, known, below, done - known, time.monotonic() - started, tip, target.block_hash(tip))


def known_headers(file: HeaderFile, checked: Checked, target: Target) -> int:
    """How many of the file's headers, from its first on, ``target`` has: a binary search, since a header that is there
    has its ancestors there. Raises ``InputError`` where file and target do not meet."""
    low, high = int(max(checked.first, target.base)), int(min(checked.last, target.tip_height))

    def agrees(height: int) -> bool:
        return header_hash(file.header_at(height - checked.first)) == target.block_hash(Height(height))

    follows = checked.first == target.tip_height + 1
    if follows and Header(file.header_at(0)).prev_hash == target.block_hash(target.tip_height):
        return 0
    if low > high:
        held = f"{target.base} to {target.tip_height}"
        raise InputError("FILE", f"holds heights {checked.first} to {checked.last}, the store {held}: they do not meet")
    if not agrees(low):
        raise InputError("FILE", f"its header {low} is not the one that the store has; is it another chain?")
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if agrees(middle) else (low, middle - 1)
    return low - checked.first + 1


class StoreTarget:
    """A store that this process has open."""

    def __init__(self, chain: StoredChain) -> None:
        self._chain = chain

    @property
    def base(self) -> Height:
        """Lowest height checked by all rules."""
        return self._chain.headers.base

    @property
    def tip_height(self) -> Height:
        """Best header's height."""
        return self._chain.headers.tip_height

    def block_hash(self, height: Height) -> Hash32:
        """Hash on the main chain."""
        return self._chain.headers.block_hash(height)

    def commit(self, headers: bytes, *, last: bool) -> None:
        """See ``Target``."""
        now = int(time.time())
        verdict = self._chain.plan(headers, now)
        if verdict.outcome is Outcome.REJECTED:
            raise InputError("FILE", f"{verdict.reason} at header {verdict.index} of a run")
        if verdict.outcome is not Outcome.DUPLICATE:
            self._chain.write(verdict, now=now, sync=last)
            self._chain.apply(verdict)
