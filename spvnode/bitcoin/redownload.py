"""What presync holds of a peer: a bit per commitment of the first pass, a window of the second pass's headers."""

from __future__ import annotations

from merkle.hashing import sha256d
from spvnode.bitcoin.linking import BODY_SIZE, link_headers, strip_links
from spvnode.types import HASH_SIZE, HEADER_SIZE, Height


class Commitments:
    """Bits, eight in a byte: 80 kB at most, see ``MAX_COMMITMENTS``."""

    __slots__ = ("_bits", "_count")

    def __init__(self) -> None:
        self._bits = bytearray()
        self._count = 0

    def __len__(self) -> int:
        """Number of bits."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._bits.__sizeof__()

    def append(self, bit: int) -> None:
        """Adds 0 or 1."""
        if self._count % 8 == 0:
            self._bits.append(0)
        self._bits[-1] |= bit << self._count % 8
        self._count += 1

    def __getitem__(self, index: int) -> int:
        """The bit at ``index``; IndexError past the end."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._bits[index // 8] >> index % 8 & 1


class RedownloadBuffer:
    """The newest ``capacity`` headers of the second pass, 48 bytes each, in a ring of fixed size.

    ``start`` is the height of the oldest, or of the next one where there is none; ``prev_hash`` its parent's hash.
    """

    __slots__ = ("_capacity", "_count", "_first", "_prev_hash", "_ring", "start")

    def __init__(self, capacity: int, start: Height, prev_hash: bytes) -> None:
        self._capacity = capacity
        self._ring = bytearray(capacity * BODY_SIZE)
        self._first = self._count = 0
        self._prev_hash = prev_hash
        self.start = start

    def __len__(self) -> int:
        """Number of headers."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._ring.__sizeof__()

    def push(self, headers: bytes, hashes: bytes) -> bytes:
        """Takes headers (n * 80; ``hashes`` n * 32) after the newest; returns those that no longer fit, oldest
        first."""
        count = len(headers) // HEADER_SIZE
        over = max(0, self._count + count - self._capacity)
        out = self._pop(min(over, self._count))
        past = over - len(out) // HEADER_SIZE  # of a message longer than the ring: straight through
        if past:
            out += headers[: past * HEADER_SIZE]
            self._prev_hash = hashes[(past - 1) * HASH_SIZE : past * HASH_SIZE]
            self.start = Height(self.start + past)
        self._write(strip_links(headers[past * HEADER_SIZE :]))
        return out

    def drain(self) -> bytes:
        """All headers, oldest first."""
        return self._pop(self._count)

    def pop(self, count: int) -> bytes:
        """The oldest ``count`` headers, or as many as there are."""
        return self._pop(min(count, self._count))

    def _write(self, bodies: bytearray) -> None:
        at = (self._first + self._count) % self._capacity * BODY_SIZE
        fits = len(self._ring) - at
        self._ring[at : at + len(bodies[:fits])] = bodies[:fits]
        self._ring[: len(bodies[fits:])] = bodies[fits:]
        self._count += len(bodies) // BODY_SIZE

    def _pop(self, count: int) -> bytes:
        at, size = self._first * BODY_SIZE, count * BODY_SIZE
        bodies = self._ring[at : at + size]
        bodies += self._ring[: size - len(bodies)]
        out = link_headers(bodies, self._prev_hash)
        if count:
            self._prev_hash = sha256d(out[-HEADER_SIZE:])
        self._first = (self._first + count) % self._capacity
        self._count -= count
        self.start = Height(self.start + count)
        return out
