"""The encrypted pipe of one connection, once its handshake is done: whole Noise messages in, whole Noise messages out.

Upstream reads two bytes, then the message, through five coroutines (security/secure_session.py:95 and below), and a
writer that is cancelled in ``send_all`` (io/trio.py:34) leaves half a message on the wire, after which the remote can
decrypt nothing more. Here one read of the socket yields all messages that it holds, and only the connection's own
writer task sends, which nobody cancels but the end of the connection.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio
from cryptography.exceptions import InvalidTag
from libp2p.security.secure_session import SecureSession

READ_SIZE = 64 * 1024
"""First read of the socket: one full message of a peer that sends little."""
READ_SIZE_MAX = 256 * 1024
"""Read while the last one came back full: four messages per system call."""


class WireError(Exception):
    """The connection ended or the remote sent what is not a Noise message of this session."""


class NoiseWire:
    """Takes over socket and cipher states of a finished handshake. One task reads, one task writes."""

    def __init__(self, session: SecureSession) -> None:
        noise = session.conn.noise_state.noise_protocol
        self._encrypt = noise.cipher_state_encrypt.encrypt_with_ad
        self._decrypt = noise.cipher_state_decrypt.decrypt_with_ad
        self._socket: trio.SocketStream = session.conn.read_writer.read_write_closer.stream.stream
        # Behind its last handshake message the remote may already have sent its first frames.
        self._early: bytes = session._drain(None)
        self._tail = b""
        self._read_size = READ_SIZE

    async def receive(self) -> list[bytes]:
        """Wait for at least one whole message; return the plaintext of all that came. Raise WireError."""
        if self._early:
            early, self._early = self._early, b""
            return [early]
        messages: list[bytes] = []
        while not messages:
            data = await self._read()
            messages = self._open(self._tail + data if self._tail else data)
        return messages

    async def _read(self) -> bytes:
        try:
            data = bytes(await self._socket.receive_some(self._read_size))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WireError("connection lost") from error
        if not data:
            raise WireError("closed by the remote")
        self._read_size = READ_SIZE_MAX if len(data) == self._read_size else READ_SIZE
        return data

    def _open(self, data: bytes) -> list[bytes]:
        view, messages, start, end = memoryview(data), [], 0, len(data)
        try:
            while end - start >= 2:
                stop = start + 2 + (data[start] << 8 | data[start + 1])
                if stop > end:
                    break
                messages.append(self._decrypt(None, view[start + 2 : stop]))
                start = stop
        except (InvalidTag, ValueError) as error:
            raise WireError("not a message of this session") from error
        self._tail = data[start:]
        return messages

    async def send(self, plaintexts: Iterable[bytes]) -> None:
        """Encrypt each of at most MAX_PLAINTEXT bytes and send all with one call. Raise WireError."""
        parts: list[bytes] = []
        for plaintext in plaintexts:
            ciphertext = self._encrypt(None, plaintext)
            parts += (len(ciphertext).to_bytes(2, "big"), ciphertext)
        try:
            await self._socket.send_all(b"".join(parts))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WireError("connection lost") from error

    def abort(self) -> None:
        """Close the socket now; whoever waits on it wakes with an error."""
        self._socket.socket.close()
