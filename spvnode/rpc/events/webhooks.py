"""Webhooks: every event of a choice, in order, as a signed POST to an address of the operator's.

As Standard Webhooks 1.0 has it: ``webhook-id`` (``bitcoin:17``, the same in every try: what a receiver knows it by),
``webhook-timestamp`` (Unix seconds), ``webhook-signature`` (``v1,`` and base64 of the HMAC-SHA256 of
``id.timestamp.body``). A try that is not answered with 2xx is repeated after a pause that doubles; after ``Pace.tries``
the event goes to the dead letters, and the next one has its turn. The cursor is written, synced, after each event is
settled: what a crash leaves between delivery and cursor is delivered again, under the same id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from spvnode.config_rpc import WebhookConfig
from spvnode.errors import InputError, StoreError
from spvnode.files import open_regular
from spvnode.logs import get_logger
from spvnode.metrics import Metrics
from spvnode.rpc.caller import LOCAL
from spvnode.rpc.events.cursor import parse_cursor
from spvnode.rpc.events.feed import Item, begin, choose, feed
from spvnode.rpc.events.hub import Hub
from spvnode.version import VERSION

if TYPE_CHECKING:
    import httpcore2

MIN_SECRET_BYTES = 32
"""Of the secret that signs, as for tokens."""
MAX_SECRET_BYTES = 1_024
"""A wrong path may be a video."""
MAX_DEAD_BYTES = 16 << 20
"""Of the file of dead letters; when it is full it begins anew, and the one before is kept."""
_DELIVERED, _REFUSED, _FAILED = "delivered", "refused", "failed"
log = get_logger("webhooks")


@dataclass(frozen=True, slots=True)
class Pace:
    """How a delivery is tried. Seconds."""

    tries: int = 15
    """With pauses of 1, 2, 4 ... s up to an hour: nearly five hours."""
    first: float = 1.0
    cap: float = 3_600.0
    timeout: float = 15.0
    """For one try."""

    def pause(self, failed: int) -> float:
        """After so many failures, with a random share taken off so that receivers are not all met at once."""
        return float(min(self.cap, self.first * 2 ** (failed - 1)) * random.uniform(0.5, 1.0))  # noqa: S311


_PACE = Pace()


class Webhook:
    """One receiver. ``folder`` holds its cursor and its dead letters; ``metrics`` hear what becomes of its events."""

    def __init__(self, hub: Hub, config: WebhookConfig, folder: Path, *, pace: Pace = _PACE,
                 clock: Callable[[], float] = time.time, metrics: Metrics | None = None) -> None:  # fmt: skip
        """Raises InputError for a secret or a choice that cannot be used."""
        self._hub = hub
        self._url = config.url
        self.name = config.name
        self._secret = read_secret(Path(config.secret_file).expanduser())
        self._choice = choose(hub, LOCAL, config.networks, config.kinds, config.filter)
        self._cursor_file = folder / f"{config.name}.cursor"
        self._dead_file = folder / f"{config.name}.dead.jsonl"
        self._pace = pace
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._looked: Mapping[str, int] = {}
        """By log: up to where it has looked; moved on by ``feed``."""
        self._in_hand = 0
        """Events that it wants, has read and not settled."""

    async def run(self) -> None:
        """Delivers until cancelled. Raises StoreError where the disk refuses the cursor."""
        kept = self._known()
        cursor = begin(self._hub, self._choice, kept)
        self._looked, self._in_hand = cursor, 0
        self._metrics.lags[self.name] = self._lag
        self._metrics.webhook_dead.labels(self.name)  # samples from the start, so that an alert sees the first one
        for outcome in (_DELIVERED, _REFUSED, _FAILED):
            self._metrics.webhook_tries.labels(self.name, outcome)
        async with _client() as client, aclosing(feed(self._hub, self._choice, cursor)) as items:
            async for some in items:
                self._in_hand = sum(bool(item.kind) for item in some)
                for item in some:
                    if item.kind:
                        await self._settle(client, item)
                        self._in_hand -= 1
                    if item.cursor != kept:
                        await trio.to_thread.run_sync(self._keep, item.cursor)
                        kept = item.cursor

    def _lag(self) -> int:
        return self._in_hand + sum(max(self._hub.last(name) - seq, 0) for name, seq in self._looked.items())

    def _known(self) -> str | None:
        """The cursor on disk; None the first time, or where it is damaged (the log says so)."""
        try:
            text = self._cursor_file.read_text()
            parse_cursor(text, "cursor")
        except FileNotFoundError:
            return None
        except (InputError, UnicodeDecodeError) as error:
            log.warning("cursor damaged: events begin now", webhook=self.name, error=str(error))
            return None
        return text

    def _keep(self, cursor: str) -> None:
        try:
            self._cursor_file.parent.mkdir(mode=0o700, exist_ok=True)
            temporary = self._cursor_file.with_suffix(".tmp")
            with temporary.open("w") as file:
                file.write(cursor)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._cursor_file)
        except OSError as error:
            raise StoreError(f"{self._cursor_file}: {error.strerror}") from error

    async def _settle(self, client: httpcore2.AsyncConnectionPool, item: Item) -> None:
        """Returns when the event is delivered, or a dead letter."""
        body = msgspec.json.encode({"id": item.id, "type": item.kind, "data": msgspec.Raw(item.data)})
        for failed in range(1, self._pace.tries + 1):
            outcome, problem = await self._try(client, item.id, body)
            self._metrics.webhook_tries.labels(self.name, outcome).inc()
            if outcome == _DELIVERED:
                return
            log.info("webhook not delivered", webhook=self.name, event_id=item.id, tries=failed, problem=problem)
            if failed < self._pace.tries:
                await trio.sleep(self._pace.pause(failed))
        log.warning("webhook given up: a dead letter", webhook=self.name, event_id=item.id)
        await trio.to_thread.run_sync(self._bury, body)
        self._metrics.webhook_dead.labels(self.name).inc()

    async def _try(self, client: httpcore2.AsyncConnectionPool, event_id: str, body: bytes) -> tuple[str, str]:
        """What came of it, and what was heard."""
        import httpcore2  # noqa: PLC0415 - who has no webhook never loads it

        stamp = str(int(self._clock()))
        headers = [
            ("content-type", "application/json"),
            ("user-agent", f"spvnode/{VERSION}"),
            ("webhook-id", event_id),
            ("webhook-timestamp", stamp),
            ("webhook-signature", sign(self._secret, event_id, stamp, body)),
        ]
        try:
            with trio.fail_after(self._pace.timeout):
                async with client.stream("POST", self._url, headers=headers, content=body) as answer:
                    status = answer.status
        except trio.TooSlowError:
            return _FAILED, f"no answer within {self._pace.timeout:g} s"
        except (OSError, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
            return _FAILED, f"{type(error).__name__}: {error}"
        return (_DELIVERED if 200 <= status < 300 else _REFUSED), f"HTTP {status}"

    def _bury(self, body: bytes) -> None:
        try:
            self._dead_file.parent.mkdir(mode=0o700, exist_ok=True)
            if self._dead_file.exists() and self._dead_file.stat().st_size > MAX_DEAD_BYTES:
                self._dead_file.rename(self._dead_file.with_suffix(".jsonl.1"))
            with self._dead_file.open("ab") as file:
                file.write(body + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{self._dead_file}: {error.strerror}") from error


def sign(secret: bytes, event_id: str, stamp: str, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    signed = event_id.encode() + b"." + stamp.encode() + b"." + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def read_secret(path: Path) -> bytes:
    """Of a file that nobody else can read: all of it, without the space around. Raises InputError."""
    field = "rpc.webhook.secret_file"
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            found = file.read(MAX_SECRET_BYTES + 1).strip()
    except OSError as error:
        raise InputError(field, f"{path}: {error.strerror}") from error
    if mode & 0o077:
        raise InputError(field, f"{path} may be read by others (mode {mode & 0o777:o}); chmod 600 it")
    if not MIN_SECRET_BYTES <= len(found) <= MAX_SECRET_BYTES:
        raise InputError(field, f"{path}: {len(found)} bytes; must be {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}")
    return found


@asynccontextmanager
async def _client() -> AsyncIterator[httpcore2.AsyncConnectionPool]:
    """A pool of one connection: events go one after the other. Nothing is followed, nothing remembered."""
    import httpcore2  # noqa: PLC0415 - see above

    context = await trio.to_thread.run_sync(ssl.create_default_context)
    async with httpcore2.AsyncConnectionPool(ssl_context=context, max_connections=1, keepalive_expiry=30.0) as pool:
        yield pool
