"""Webhooks against a real receiver: signatures, retries, dead letters, cursors over crashes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h11
import pytest
import trio
from event_node import EventNode, with_hub

from spvnode.config_rpc import RpcConfig, WebhookConfig
from spvnode.errors import InputError
from spvnode.metrics import Metrics
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.events.webhooks import Pace, Webhook, read_secret, sign

SECRET = b"s" * 40
FAST = Pace(tries=3, first=0.01, cap=0.02, timeout=2.0)


Parts = tuple["Receiver", Hub, WebhookConfig]


@dataclass
class Receiver:
    """Answers with ``statuses`` in turn, then with 204; 0 closes without an answer, -1 never answers."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    came: trio.Event = field(default_factory=trio.Event)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]

    async def until(self, count: int) -> None:
        with trio.fail_after(20):
            while len(self.got) < count:
                self.came = trio.Event()
                await self.came.wait()

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            http = h11.Connection(h11.SERVER)
            while True:
                request, body = None, b""
                while not isinstance(event := http.next_event(), h11.EndOfMessage):
                    if event is h11.NEED_DATA:
                        http.receive_data(await stream.receive_some())
                    elif isinstance(event, h11.Request):
                        request = event
                    elif isinstance(event, h11.Data):
                        body += bytes(event.data)
                    else:
                        return
                assert request is not None
                assert request.method == b"POST"
                self.got.append(({name.decode(): value.decode() for name, value in request.headers}, body))
                self.came.set()
                status = self.statuses.pop(0) if self.statuses else 204
                if status == -1:
                    await trio.sleep_forever()
                if status == 0:
                    return
                answer = h11.Response(status_code=status, headers=[("content-length", "0"), ("location", "http://x/")])
                await stream.send_all((http.send(answer) or b"") + (http.send(h11.EndOfMessage()) or b""))
                http.start_next_cycle()


@asynccontextmanager
async def receiving(node: EventNode, tmp_path: Path, *statuses: int) -> AsyncIterator[Parts]:
    """A receiver, a hub, and the settings that join them."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    secret.chmod(0o600)
    found = Receiver(statuses=list(statuses))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    found.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery, with_hub(node, tmp_path) as hub:
        nursery.start_soon(trio.serve_listeners, found.serve, listeners)
        url = f"http://127.0.0.1:{found.port}/hook"
        yield found, hub, WebhookConfig(name="one", url=url, secret_file=str(secret), kinds=("extend", "reorg"))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def delivering(hub: Hub, config: WebhookConfig, tmp_path: Path, pace: Pace = FAST) -> AsyncIterator[None]:
    """A webhook that runs, and then is killed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Webhook(hub, config, tmp_path / "webhooks", pace=pace).run)
        await settled(tmp_path, "regtest:")
        yield
        nursery.cancel_scope.cancel()


async def settled(tmp_path: Path, words: str) -> None:
    """Returns once the cursor file says so."""
    file = tmp_path / "webhooks" / "one.cursor"
    with trio.fail_after(20):
        while not file.exists() or words not in file.read_text():  # noqa: ASYNC110 - a file, as others see it
            await trio.sleep(0.01)


def test_events_come_in_order_and_signed(tmp_path: Path) -> None:
    node = EventNode()

    async def main() -> None:
        async with receiving(node, tmp_path) as (receiver, hub, config), delivering(hub, config, tmp_path):
            for kind in ("extend", "fork", "reorg"):
                node.happen(kind=kind)
            await receiver.until(2)
            assert receiver.ids == ["regtest:1", "regtest:3"]
            headers, body = receiver.got[0]
            message = json.loads(body)
            assert (message["id"], message["type"], message["data"]["seq"]) == ("regtest:1", "extend", 1)
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            mac = hmac.new(SECRET, signed, hashlib.sha256).digest()
            assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
            assert headers["content-type"] == "application/json"

    trio.run(main)


def test_signature_of_the_specification() -> None:
    # Standard Webhooks, spec/standard-webhooks.md: its example of a symmetric signature
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("bad", [500, 404, 302, 429, 0, -1])
def test_what_is_not_taken_is_tried_again_under_the_same_id(tmp_path: Path, bad: int) -> None:
    node = EventNode()
    pace = Pace(tries=3, first=0.01, cap=0.02, timeout=0.3)

    async def main() -> None:
        async with (
            receiving(node, tmp_path, bad, bad) as (receiver, hub, config),
            delivering(hub, config, tmp_path, pace),
        ):
            node.happen()
            node.happen()
            await receiver.until(4)
            assert receiver.ids == ["regtest:1"] * 3 + ["regtest:2"]
            await settled(tmp_path, "regtest:2")
        assert not (tmp_path / "webhooks" / "one.dead.jsonl").exists()

    trio.run(main)


def test_after_the_last_try_it_is_a_dead_letter_and_the_next_has_its_turn(tmp_path: Path) -> None:
    node = EventNode()

    async def main() -> None:
        async with receiving(node, tmp_path, *[503] * 3) as (receiver, hub, config), delivering(hub, config, tmp_path):
            node.happen()
            node.happen()
            await receiver.until(4)
            await settled(tmp_path, "regtest:2")
            assert receiver.ids == ["regtest:1"] * 3 + ["regtest:2"]
        dead = [json.loads(line) for line in (tmp_path / "webhooks" / "one.dead.jsonl").read_text().splitlines()]
        assert [one["id"] for one in dead] == ["regtest:1"]

    trio.run(main)


def test_metrics_tell_how_a_webhook_fares(tmp_path: Path) -> None:
    node, metrics = EventNode(), Metrics()
    slow = Pace(tries=2, first=0.01, cap=0.02, timeout=60.0)

    def shown() -> dict[str, float]:
        metrics.observe(node)
        lines = (line.rpartition(" ") for line in metrics.render().decode().splitlines())
        return {name: float(value) for name, _, value in lines if name.startswith("spvnode_webhook")}

    def tries(outcome: str) -> str:
        return f'spvnode_webhook_tries_total{{outcome="{outcome}",webhook="one"}}'

    dead, lag = (f'spvnode_webhook_{name}{{webhook="one"}}' for name in ("dead_letters_total", "lag"))

    async def main() -> None:
        async with (
            receiving(node, tmp_path, 503, 0, 204, -1) as (receiver, hub, config),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(Webhook(hub, config, tmp_path / "webhooks", pace=slow, metrics=metrics).run)
            await settled(tmp_path, "regtest:0")
            with trio.fail_after(20):
                while shown()[lag]:  # noqa: ASYNC110 - an event of the hub's own, which it does not want
                    await trio.sleep(0.01)
            assert shown() == {tries("delivered"): 0, tries("refused"): 0, tries("failed"): 0, dead: 0, lag: 0}
            for _ in range(4):
                node.happen()
            await receiver.until(4)  # of which the last one is not answered
            await settled(tmp_path, "regtest:2")
            assert shown() == {tries("delivered"): 1, tries("refused"): 1, tries("failed"): 1, dead: 1, lag: 2}
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_nothing_is_lost_while_neither_side_runs(tmp_path: Path) -> None:
    node = EventNode()

    async def main() -> None:
        async with receiving(node, tmp_path) as (receiver, hub, config):
            async with delivering(hub, config, tmp_path):
                node.happen()
                await settled(tmp_path, "regtest:1")
            for _ in range(150):
                node.happen()
            async with delivering(hub, config, tmp_path):
                await receiver.until(151)
            assert receiver.ids == [f"regtest:{n}" for n in range(1, 152)]

    trio.run(main)


def test_a_crash_between_delivery_and_cursor_delivers_again_under_the_same_id(tmp_path: Path) -> None:
    node = EventNode()
    slow = Pace(tries=3, first=0.01, cap=0.02, timeout=60.0)

    async def main() -> None:
        async with receiving(node, tmp_path, -1) as (receiver, hub, config):
            async with delivering(hub, config, tmp_path, slow):
                node.happen()
                await receiver.until(1)  # it has it, and we are gone before its answer
            async with delivering(hub, config, tmp_path):
                await settled(tmp_path, "regtest:1")
            assert receiver.ids == ["regtest:1", "regtest:1"]

    trio.run(main)


def test_a_damaged_cursor_begins_now(tmp_path: Path) -> None:
    node = EventNode()
    (tmp_path / "webhooks").mkdir()
    (tmp_path / "webhooks" / "one.cursor").write_text("what?")
    node.happen()

    async def main() -> None:
        async with receiving(node, tmp_path) as (receiver, hub, config), delivering(hub, config, tmp_path):
            node.happen()
            await receiver.until(1)
            assert receiver.ids == ["regtest:2"]

    trio.run(main)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [(b"short", 0o600, "5 bytes"), (b"s" * 40, 0o640, "may be read by others"), (b"s" * 2_000, 0o600, "must be 32 to")],
)
def test_secrets_that_are_none(tmp_path: Path, content: bytes, mode: int, why: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(InputError, match=why):
        read_secret(file)
    with pytest.raises(InputError, match="No such file"):
        read_secret(tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "../x"}, "rpc.webhook.name"),
        ({"url": "ftp://x"}, "rpc.webhook.url"),
        ({"url": "file:///etc/passwd"}, "rpc.webhook.url"),
        ({"kinds": ("x",) * 65}, "rpc.webhook.kinds"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, object], why: str) -> None:
    good: dict[str, object] = {"name": "one", "url": "http://x/", "secret_file": "s"}
    with pytest.raises(InputError, match=why):
        WebhookConfig(**{**good, **changes})  # type: ignore[arg-type]
    one = WebhookConfig(**good)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="two have the same name"):
        RpcConfig(webhook=(one, one))
