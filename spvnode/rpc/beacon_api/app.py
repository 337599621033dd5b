"""The table of the Beacon API's routes, and the way of a request to one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from spvnode.errors import InputError
from spvnode.rpc.beacon_api import blocks, light_client, node
from spvnode.rpc.beacon_api.call import ApiError, Call, refusal
from spvnode.rpc.beacon_api.events import Events
from spvnode.rpc.beacon_api.router import Router
from spvnode.rpc.registry import is_beacon
from spvnode.rpc.response import Response
from spvnode.view import NodeView

PATH = re.compile(r"(?:/(?P<network>[a-z][a-z0-9-]{0,31}))?(?P<path>/eth/v[0-9]+/.*)", re.DOTALL)
"""Every path that is this API's, with or without a network before it."""
MAX_QUERY_FIELDS = 32
"""Parameters in a query string; the longest legitimate one names a few topics. Any local client can fill it."""

Handler = Callable[[Call], Response]

ROUTES: Mapping[str, Handler] = {
    "/eth/v1/beacon/genesis": blocks.genesis,
    "/eth/v1/beacon/headers/{block_id}": blocks.header,
    "/eth/v1/beacon/states/{state_id}/finality_checkpoints": blocks.finality_checkpoints,
    "/eth/v1/beacon/light_client/bootstrap/{block_root}": light_client.bootstrap,
    "/eth/v1/beacon/light_client/updates": light_client.updates,
    "/eth/v1/beacon/light_client/finality_update": light_client.finality_update,
    "/eth/v1/beacon/light_client/optimistic_update": light_client.optimistic_update,
    "/eth/v1/config/spec": node.spec,
    "/eth/v1/config/fork_schedule": node.fork_schedule,
    "/eth/v1/node/version": node.version,
    "/eth/v1/node/syncing": node.syncing,
    "/eth/v1/node/health": node.health,
    "/eth/v1/node/identity": node.identity,
    "/eth/v1/node/peers": node.peers,
    "/eth/v1/node/peer_count": node.peer_count,
}
"""Those of the light client's part; ``events`` is beside them, as it counts its readers."""
EVENTS_ROUTE = "/eth/v1/events"


class BeaconApi:
    """The API of one daemon: all its Ethereum networks."""

    def __init__(self, view: NodeView) -> None:
        self._node = view
        self.events = Events()
        self._router: Router[Handler] = Router({**ROUTES, EVENTS_ROUTE: self.events.answer})

    def answer(
        self, method: str, network: str | None, path: str, query: bytes, headers: Mapping[bytes, bytes]
    ) -> Response:
        """The answer to one request. Never raises for what the client sent."""
        found = self._router.find(path)
        if method not in ("GET", "HEAD"):
            return refusal(405, "GET only")
        if found is None:
            return refusal(404, "no such route: a light client serves what it knows, see docs/rpc.md")
        handler, named = found
        try:
            call = Call(self._node, self._network(network), named, _parameters(query), headers.get(b"accept"))
            return handler(call)
        except ApiError as error:
            return refusal(error.status, error.message)
        except InputError as error:
            return refusal(400, str(error))

    def _network(self, named: str | None) -> str:
        """The one in front of the path, or the only one."""
        ours = [name for name in self._node.networks if is_beacon(name)]
        if named is not None:
            if named not in ours:
                raise ApiError(404, f"network: {named} is no Ethereum network that runs here; {_these(ours)}")
            return named
        if len(ours) != 1:
            # Never a guess: a client that follows the wrong network would be told nothing but valid data.
            raise ApiError(404, f"network: must be named, as in /NETWORK/eth/v1/...; {_these(ours)}")
        return ours[0]


def _these(networks: list[str]) -> str:
    return f"there are: {', '.join(networks)}" if networks else "there is none"


def _parameters(query: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:  # UnicodeDecodeError is one
        raise ApiError(400, f"query: is no list of up to {MAX_QUERY_FIELDS} name=value pairs") from None
