"""Methods about the node as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from spvnode.inputs import shown
from spvnode.rpc.documents import openrpc
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.limits import MAX_METHOD_NAME
from spvnode.rpc.registry import Context, Method, NoParams, describe
from spvnode.rpc.schemas import plain_rows, result_type


class Help(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``help``."""

    command: Annotated[str | None, Meta(description="Name of a method. Default: list them all.")] = None


def get_node_info(context: Context, params: NoParams) -> dict[str, Any]:
    """``version``, ``peer_id`` and ``listen_addrs`` (null and empty without the mesh), ``networks``, ``uptime`` in
    seconds; ``rpc``: URLs of this server on TCP; ``beacon``: by Ethereum network, the ``peer_id``, ``addresses`` and
    ``enr`` that its nodes know us by."""
    node = context.node
    return {
        "version": node.version,
        "peer_id": node.peer_id,
        "listen_addrs": list(node.listen_addrs),
        "networks": list(node.networks),
        "uptime": uptime(context, params),
        "rpc": list(context.services.urls),
        "beacon": {name: dict(wire) for name, wire in node.wires.items()},
    }


def get_plugins(context: Context, params: NoParams) -> list[Mapping[str, Any]]:
    """The plugins of the configuration in its order; counts begin when they are loaded."""
    return list(context.services.plugins())


def discover(context: Context, params: NoParams) -> dict[str, Any]:
    """An OpenRPC document of all methods, derived from their table; also at ``GET /openrpc.json``."""
    return openrpc(context.methods, context.node.version)


def uptime(context: Context, params: NoParams) -> int:
    """Seconds since the daemon started."""
    return max(0, int(context.node.now() - context.node.started_at))


def stop(context: Context, params: NoParams) -> str:
    """A farewell; the daemon ends once the reply is sent."""
    context.stop()
    return "spvnode stopping"


async def reload(context: Context, params: NoParams) -> dict[str, Any]:
    """Reads the configuration, the keys of tokens and the revocation list again, as SIGHUP does. ``applied``: the keys
    that changed and were taken; ``restart``: those that wait for one. Error -8 names what does not hold, and nothing
    has changed."""
    return dict(await context.services.reload())


def help_text(context: Context, params: Help) -> str:
    """Usage lines, or the whole help of one method."""
    if params.command is None:
        return "\n".join(method.usage for method in context.methods.values())
    method = context.methods.get(params.command)
    if method is None:
        problem = f"help: unknown command: {shown(params.command[:MAX_METHOD_NAME])}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return describe_method(method)


def describe_method(method: Method) -> str:
    """Usage, summary, parameters and result of one method, as text."""
    lines = [method.usage, "", method.summary, ""]
    for number, field in enumerate(method.parameters, 1):
        kind, text = describe(method.params, field.name)
        need = "required" if field.required else "optional"
        lines.append(f"{number}. {field.name} ({kind}, {need}) {text}")
    result = " ".join((method.call.__doc__ or "").split()).replace("``", "")
    fields = [f"- {name} ({kind}) {text}".rstrip() for name, kind, text in plain_rows(result_type(method))]
    return "\n".join([*lines, *([""] if method.parameters else []), f"Result: {result}", *fields])
