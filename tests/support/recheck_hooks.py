"""Where ``recheck`` listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any

import daemons

from spvnode.cli import proof as cli_proof
from spvnode.client import exchange
from spvnode.electrum import methods as electrum
from spvnode.ethereum.networks import NETWORKS, Network
from spvnode.rpc.beacon_api import events, light_client
from spvnode.rpc.dispatch import Dispatcher, Reply
from tests.support import daemons as same_daemons
from tests.support.beacon_check import Chain
from tests.support.recheck import RECHECK, Chains

LIGHT_CLIENT_KINDS = {
    "LightClientBootstrap": 0,
    "LightClientUpdate": 1,
    "LightClientFinalityUpdate": 2,
    "LightClientOptimisticUpdate": 3,
}


def chain_of(network: Network) -> Chain:
    """Its numbers, for the verifier."""
    schedule, preset = network.schedule, network.preset
    return Chain(
        network.genesis_validators_root,
        [(str(fork.name), fork.version, fork.epoch) for fork in schedule.forks],
        preset.sync_committee_size,
        preset.slots_per_epoch,
        preset.epochs_per_sync_committee_period,
    )


@cache
def public_chains() -> Chains:
    """Those that daemons of their own processes follow."""
    return {network.genesis_validators_root: chain_of(network) for network in NETWORKS.values()}


def install() -> None:
    """Once, before any test."""
    _rpc()
    _electrum()
    _light_client()
    _command()
    exchange._parsed = _hearing(exchange._parsed, lambda reply: reply.body)  # type: ignore[assignment]
    for one in (daemons, same_daemons):
        one.hear = _hear


def _hear(data: bytes) -> None:
    """What a process of its own has said or written."""
    (RECHECK.reply if data[:1] in (b"{", b"[") else RECHECK.proof)(data, public_chains)


def _hearing(call: Callable[[Any], Any], body: Callable[[Any], bytes]) -> Callable[[Any], Any]:
    @wraps(call)
    def heard(given: Any) -> Any:
        RECHECK.reply(body(given), public_chains)
        return call(given)

    return heard


def _rpc() -> None:
    answer = Dispatcher.answer

    @wraps(answer)
    async def heard(self: Dispatcher, *args: Any, **named: Any) -> Reply:
        reply = await answer(self, *args, **named)
        params = [chain.params for chain in self._node.beacons.values()]
        followed = {one.genesis_validators_root: one for one in params}
        RECHECK.reply(
            reply.body, lambda: {**public_chains(), **{root: chain_of(one) for root, one in followed.items()}}
        )
        return reply

    Dispatcher.answer = heard  # type: ignore[method-assign]


def _electrum() -> None:
    plain: dict[str, Any] = electrum.PLAIN  # type: ignore[assignment]
    slow: dict[str, Any] = electrum.SLOW  # type: ignore[assignment]
    for method, last in (("blockchain.block.header", _its_height), (electrum.HEADERS, _last_height)):
        plain[method] = (_plain(plain[method][0], last), plain[method][1])
    for method in slow:
        slow[method] = (_slow(slow[method][0]), slow[method][1])


def _its_height(params: Any, _reply: Mapping[str, Any]) -> int:
    return int(params.height)


def _last_height(params: Any, reply: Mapping[str, Any]) -> int:
    return int(params.start_height + reply["count"] - 1)


def _plain(call: Callable[..., Any], height_of: Callable[[Any, Mapping[str, Any]], int]) -> Callable[..., Any]:
    @wraps(call)
    def heard(served: Any, talk: Any, params: Any) -> Any:
        reply = call(served, talk, params)
        if isinstance(reply, dict) and "branch" in reply:
            chain, height = served.tips.chain(), height_of(params, reply)
            RECHECK.electrum(height, chain.range_start, chain.header(height), reply, None)
        return reply

    return heard


def _slow(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    async def heard(served: Any, params: Any) -> Any:
        reply = await call(served, params)
        if isinstance(reply, dict) and "merkle" in reply:
            chain = served.tips.chain()
            txid = getattr(params, "tx_hash", reply.get("tx_hash"))
            named = {"pos": getattr(params, "tx_pos", None), **reply}
            RECHECK.electrum(params.height, chain.range_start, chain.header(params.height), named, txid)
        return reply

    return heard


def _light_client() -> None:
    def hearing(encode: Callable[[Network, Any], bytes], skip: int, *, ssz: bool) -> Callable[[Network, Any], bytes]:
        @wraps(encode)
        def heard(network: Network, value: Any) -> bytes:
            body = encode(network, value)
            kind = LIGHT_CLIENT_KINDS[type(value).__name__]
            RECHECK.light_client(body[skip:], str(value.fork) if ssz else None, chain_of(network), kind)
            return body

        return heard

    light_client.as_json = events.as_json = hearing(light_client.as_json, 0, ssz=False)
    light_client.as_ssz = hearing(light_client.as_ssz, 0, ssz=True)
    light_client.as_chunk = hearing(light_client.as_chunk, 8 + 4, ssz=True)


def _command() -> None:
    emit, write_file = cli_proof.emit, cli_proof.write_file

    @wraps(emit)
    def heard_emit(data: Mapping[str, Any], *args: Any, **named: Any) -> None:
        RECHECK.reply(exchange.encode(data), public_chains)
        emit(data, *args, **named)

    @wraps(write_file)
    def heard_write(path: Any, raw: bytes, *args: Any) -> None:
        RECHECK.proof(raw, public_chains)
        write_file(path, raw, *args)

    cli_proof.emit, cli_proof.write_file = heard_emit, heard_write
