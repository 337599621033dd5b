"""What a method is: its name, its parameters as a struct, and the function that answers.

Dispatch, ``help`` and docs/rpc.md are all made from these rows (``spvnode.rpc.table``).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields

from spvnode.inputs import placed_problem, shown
from spvnode.networks import BITCOIN
from spvnode.rpc.caller import LOCAL, Caller, Scope
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.services import NO_PATIENCE, NO_SERVICES, Patience, Services
from spvnode.view import BeaconView, ChainView, NodeView


class NoParams(Struct, frozen=True, forbid_unknown_fields=True):
    """For methods about the node as a whole."""


class ChainParams(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every method about one chain: the network comes last, so Core's positions stay Core's."""

    network: Annotated[
        str | None,
        Meta(description="Which chain. Default: the one in the URL's path, else the first that the method is about."),
    ] = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a method may read and do."""

    node: NodeView
    methods: Mapping[str, Method]
    stop: Callable[[], None]
    path_network: str | None = None
    caller: Caller = LOCAL
    services: Services = NO_SERVICES
    patience: Patience = NO_PATIENCE

    def network(self, named: str | None) -> str:
        """The network that a call means, whether its chain has begun or not; RpcError naming the running ones."""
        running = self.node.networks
        name = named or self.path_network or running[0]
        if name not in running:
            problem = f"network: {shown(name)} does not run here; running: {', '.join(running)}"
            raise RpcError(Code.INVALID_PARAMETER, problem)
        return name

    def chain(self, named: str | None) -> ChainView:
        """The view of the Bitcoin network that a call means, by default the first; RpcError while it has not begun, or
        where it is of the other kind."""
        name = self._of_kind(named, beacon=False)
        if name not in self.node.chains:
            raise RpcError(Code.IN_WARMUP, f"{name} has not begun: waiting for the checkpoint's header")
        return self.node.chains[name]

    def beacon(self, named: str | None) -> BeaconView:
        """The same for Ethereum networks."""
        name = self._of_kind(named, beacon=True)
        if name not in self.node.beacons:
            raise RpcError(Code.IN_WARMUP, f"{name} has not begun: no checkpoint is trusted yet")
        return self.node.beacons[name]

    def _of_kind(self, named: str | None, *, beacon: bool) -> str:
        if named is None and self.path_network is None:
            named = next((name for name in self.node.networks if is_beacon(name) == beacon), None)
            if named is None:
                kind, running = "Ethereum" if beacon else "Bitcoin", ", ".join(self.node.networks)
                raise RpcError(Code.INVALID_PARAMETER, f"network: no {kind} network runs here; running: {running}")
        name = self.network(named)
        if is_beacon(name) != beacon:
            kind, methods = ("a Bitcoin", _BITCOIN_METHODS) if beacon else ("an Ethereum", _BEACON_METHODS)
            raise RpcError(Code.INVALID_PARAMETER, f"network: {name} is {kind} network; ask with {methods}")
        return name


_BITCOIN_METHODS = "getblockchaininfo, getblockheader or getheaderproof"
_BEACON_METHODS = "getfinalizedheader, getoptimisticheader or getbeaconheaderproof"


def is_beacon(network: str) -> bool:
    """Whether ``network`` is of Ethereum's kind: Bitcoin's are all built in, beacon chains also come from a config."""
    return network not in BITCOIN


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the registry. ``call`` takes the context and an instance of ``params``; its docstring tells the
    result."""

    name: str
    params: type[Struct]
    summary: str
    scope: Scope
    call: Callable[[Context, Any], object | Awaitable[object]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names for parameters in by-name calls."""
    result: Any = None
    """Type of the result (``results``), where the function's annotation does not tell all of it."""
    cost: int = 1
    """What a call takes off its user's rate; 1 is a look at memory, some 0.1 ms."""

    @property
    def parameters(self) -> tuple[FieldInfo, ...]:
        """The parameters in the order of positional calls."""
        return _parameters(self.params)

    @property
    def usage(self) -> str:
        """One line in Core's manner: ``getblockheader "blockhash" ( verbose network )``."""
        needed = [field.name for field in self.parameters if field.required]
        optional = [field.name for field in self.parameters if not field.required]
        return " ".join([self.name, *needed, *(["(", *optional, ")"] if optional else [])])

    def bind(self, given: Sequence[object] | Mapping[str, object]) -> Struct:
        """``given`` as an instance of ``params``. Raises RpcError with Core's codes."""
        if isinstance(given, Mapping):
            values = {self.aliases.get(name, name): value for name, value in given.items()}
            self._refuse_unknown(values)
        else:
            names = [field.name for field in self.parameters]
            if len(given) > len(names):
                problem = f"{len(given)} parameters, at most {len(names)}. Usage: {self.usage}"
                raise RpcError(Code.MISC_ERROR, problem)
            values = dict(zip(names, given, strict=False))
        # null stands for "not given", as in Core, so that a later position can be reached.
        values = {name: value for name, value in values.items() if value is not None}
        for parameter in self.parameters:
            if parameter.required and parameter.encode_name not in values:
                raise RpcError(Code.MISC_ERROR, f"{parameter.name}: missing. Usage: {self.usage}")
        try:
            return msgspec.convert(values, self.params)
        except msgspec.ValidationError as error:
            raise _type_error(str(error), self.params) from None

    def _refuse_unknown(self, values: Mapping[str, object]) -> None:
        known = [field.name for field in self.parameters]
        there = f"there are {', '.join(known)}" if known else "there is none"
        for name in values:
            if name not in known:
                raise RpcError(Code.INVALID_PARAMETER, f"Unknown named parameter {shown(name)}; {there}")


@cache
def _parameters(params: type[Struct]) -> tuple[FieldInfo, ...]:
    """Remembered: msgspec evaluates each annotation anew, 0.1 ms a call. Grows with the registry only."""
    # ``network`` is inherited, which would put it first.
    return tuple(sorted(fields(params), key=lambda field: field.name == "network"))


def describe(params: type[Struct], name: str) -> tuple[str, str]:
    """(type as JSON readers know it, description) of a parameter."""
    hint = get_type_hints(params, include_extras=True)[name]
    text = ""
    if get_origin(hint) is Annotated:
        hint, *metas = get_args(hint)
        text = next((meta.description for meta in metas if isinstance(meta, Meta) and meta.description), "")
    return _type_name(hint), text


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(f'"{value}"' for value in get_args(hint))
    names = {str: "string", int: "number", bool: "boolean", type(None): ""}
    parts = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    parts = tuple(get_args(part)[0] if get_origin(part) is Annotated else part for part in parts)
    kinds = ("array" if get_origin(part) is list else names.get(part, "object") for part in parts)
    return " or ".join(dict.fromkeys(kind for kind in kinds if kind))


def _choices(hint: Any) -> tuple[str, ...]:
    """Of a ``Literal``, wherever in the annotation it stands."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(choice for part in get_args(hint) for choice in _choices(part))


def _type_error(message: str, params: type[Struct]) -> RpcError:
    path, problem = placed_problem(message)
    if problem.startswith("Invalid enum value"):
        hints = get_type_hints(params, include_extras=True)
        problem += f"; one of {', '.join(sorted(_choices(hints.get(re.split(r'[.[]', path)[0]))))}"
    problem = f"{path}: {problem}" if path else problem
    # A value of the right type outside its bounds is an invalid parameter; anything else a type error.
    code = Code.TYPE_ERROR if ", got" in message else Code.INVALID_PARAMETER
    return RpcError(code, problem.replace("`", ""))
