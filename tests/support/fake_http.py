"""A server that answers as a test says: (status, body), None to cut the connection, or a function that gives one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Self

Answer = tuple[int, bytes] | None
Step = Answer | Callable[[], Answer]


class FakeHttp:
    """One request a connection; ``asked`` are the requests, whole."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.asked: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        for step in self._steps:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the test is over
                return
            with connection:
                connection.settimeout(10)
                self.asked.append(_request(connection))
                answer = step() if callable(step) else step
                if answer is not None:
                    status, body = answer
                    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    connection.sendall(head.encode() + body)


def _request(connection: socket.socket) -> bytes:
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += connection.recv(65_536)
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int(lines[0] if lines else 0):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
