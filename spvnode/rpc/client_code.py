"""The methods of ``spvnode.client`` as Python code, written from their table (by ``spvnode.docs``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from spvnode.rpc.caller import Scope
from spvnode.rpc.registry import Method, describe
from spvnode.rpc.schemas import result_type
from spvnode.rpc.table import METHODS

LINE: Final = 120
"""Columns, as the rest of the code has them."""
VERBOSE: Final = "verbose"
"""Core's name of the parameter that chooses between an object, its default, and plain text."""
_ONCE: Final = ("watch", "unwatch")
"""Methods that change something, beside all of the scope admin."""
_HEAD: Final = '"""{about}\n\nWritten by `make docs` from the table of methods: do not edit.\n"""\n\n'
_CLASS: Final = '''\
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from spvnode.rpc import results


class {name}:
    """One Python method for each of the RPC's; docs/rpc.md tells what they take and give. Results are dictionaries as
    they come, typed as ``spvnode.rpc.results`` has them."""

    {prefix}def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The result of any method."""
        raise NotImplementedError
'''


def methods_page() -> str:
    """``spvnode/client/methods.py``."""
    return _class("Methods", "", "")


def async_methods_page() -> str:
    """``spvnode/client/async_methods.py``."""
    # ``timeout`` is the daemon's parameter, under its name
    return "# ruff: noqa: ASYNC109\n" + _class("AsyncMethods", "async ", "await ")


def names_page() -> str:
    """``spvnode/method_names.py``: what the command line needs to know of methods without loading their table."""
    once = [name for name, row in METHODS.items() if row.scope is Scope.ADMIN or name in _ONCE]
    lines = [
        _HEAD.format(about="The RPC's methods by name, with their parameters.")
        + "from __future__ import annotations\n",
        "METHODS: dict[str, tuple[str, dict[str, str]]] = {",
        *(f"    {_quoted(name)}: ({_quoted(row.summary)}, {_parameters(row)})," for name, row in METHODS.items()),
        "}",
        '"""Method: (summary, type as JSON readers know it by parameter)."""',
        f"NOT_REPEATED = frozenset({{{', '.join(map(_quoted, once))}}})",
        '"""Methods that a client must not call twice where it is not known what became of the first time."""',
    ]
    return "\n".join(["# ruff: noqa: E501", "# fmt: off", *lines]) + "\n"


def _quoted(text: str) -> str:
    return "'" + text + "'" if '"' in text else '"' + text + '"'


def _parameters(row: Method) -> str:
    kinds: dict[str, str] = {field.name: describe(row.params, field.name)[0] for field in row.parameters}
    kinds |= {alias: kinds[name] for alias, name in row.aliases.items()}
    return "{" + ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in kinds.items()) + "}"


def _class(name: str, prefix: str, wait: str) -> str:
    about = _HEAD.format(about=f"The RPC's methods, for {'trio and asyncio' if prefix else 'programs that block'}.")
    parts = [about + _CLASS.format(name=name, prefix=prefix)]
    parts += ["\n".join(_method(row, prefix, wait)) + "\n" for row in METHODS.values()]
    return "\n".join(parts)


def _method(row: Method, prefix: str, wait: str) -> Iterator[str]:
    given, result = _given(row), _shown(result_type(row))
    head = f"    {prefix}def {row.name.replace('.', '_')}("
    if VERBOSE in given:
        verbose, plain = map(_shown, get_args(result_type(row)))
        for kind, told in (("Literal[True] | None = None", verbose), ("Literal[False]", plain), ("bool", result)):
            yield "    @overload"
            yield from _fitted(head, ["self", *{**given, VERBOSE: f"{VERBOSE}: {kind}"}.values()], f") -> {told}: ...")
            yield ""
    yield from _fitted(head, ["self", *given.values()], f") -> {result}:")
    yield f'        """{row.summary}"""'
    names = [f'"{field.name}": {field.name}' for field in row.parameters]
    values = ["{" + ", ".join(names) + "}"] if names else []
    call = f"{wait}self.call("
    if result == "None":
        yield from _fitted(f"        {call}", [f'"{row.name}"', *values], ")")
    else:
        typed = result != "Any"
        yield from _fitted(
            f"        {'found: ' + result + ' = ' if typed else 'return '}{call}", [f'"{row.name}"', *values], ")"
        )
        if typed:
            yield "        return found"


def _given(row: Method) -> dict[str, str]:
    """Each parameter as it is written, by name."""
    hints, found = get_type_hints(row.params), {}
    for field in row.parameters:
        kind = _shown(hints[field.name])
        optional = kind if "None" in kind.split(" | ") else f"{kind} | None"
        found[field.name] = f"{field.name}: {kind}" if field.required else f"{field.name}: {optional} = None"
    return found


def _fitted(head: str, parts: list[str], tail: str) -> Iterator[str]:
    """On one line, or the parts on a line of their own, or one line each: as the formatter has it."""
    inner = ", ".join(parts)
    indent = " " * (len(head) - len(head.lstrip()))
    if len(head + inner + tail) <= LINE:
        yield head + inner + tail
        return
    yield head
    if len(indent) + 4 + len(inner) <= LINE:
        yield f"{indent}    {inner}"
    else:
        for part in parts:
            yield from _item(f"{indent}    ", part)
    yield indent + tail


def _item(indent: str, part: str) -> Iterator[str]:
    """On one line, or a dictionary's entries one line each."""
    if len(indent + part) < LINE:
        yield f"{indent}{part},"
    else:
        yield indent + "{"
        yield from (f"{indent}    {entry}," for entry in part[1:-1].split(", "))
        yield indent + "},"


def _shown(kind: Any) -> str:
    """A type as it is written."""
    if kind in (None, NoneType):
        return "None"
    if kind is Any:
        return "Any"
    if get_origin(kind) is Annotated:
        return _shown(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return f"Literal[{', '.join(map(_quoted, get_args(kind)))}]"
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(map(_shown, get_args(kind)))
    if get_origin(kind) in (dict, Mapping):
        return "Mapping[str, Any]"  # which takes the typed dictionaries that other methods give
    if get_origin(kind) is list:
        return f"list[{_shown(get_args(kind)[0])}]"
    ours = str(kind.__module__).startswith("spvnode.rpc.results.")
    return f"results.{kind.__name__}" if ours else str(kind.__name__)
