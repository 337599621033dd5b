"""Plugins as text: modules that are good, and modules that are bad in one way each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wasmtime

from spvnode.config_plugins import PluginConfig
from spvnode.plugins.room import Room

MEMORY = '(memory (export "memory") 1)'
ALLOC = '(func (export "spvnode_alloc") (param i32) (result i32) (i32.const 1024))'


def entry(name: str, body: str) -> str:
    """``filter_event`` or ``check_header`` with ``$at`` and ``$len``; two locals ``$a`` and ``$b``."""
    return (
        f'(func (export "{name}") (param $at i32) (param $len i32) (result i32) (local $a i32) (local $b i32) {body})'
    )


def filtering(body: str, *more: str, memory: str = MEMORY, alloc: str = ALLOC) -> str:
    """A module with ``filter_event``; ``more`` comes first (imports)."""
    return f"(module {' '.join(more)} {memory} {alloc} {entry('filter_event', body)})"


def checking(body: str, *more: str) -> str:
    """A module with ``check_header``."""
    return f"(module {' '.join(more)} {MEMORY} {ALLOC} {entry('check_header', body)})"


KEEP = "(i32.const 1)"
FOREVER = "(loop $l (br $l)) (i32.const 1)"
LAST_DIGIT = """
    (local.set $a (i32.add (local.get $at) (local.get $len)))
    (i32.and (i32.load8_u (i32.sub (local.get $a) (i32.const 2))) (i32.const 1))"""
"""Keeps events whose last digit, before the closing bracket, is odd."""
ODD_HEIGHT = "(i32.mul (i32.const 7) (i32.and (i32.load (local.get $at)) (i32.const 1)))"
"""Code 7 for odd heights."""


def config(folder: Path, text: str, name: str = "p", *, binary: bool = False, **settings: Any) -> PluginConfig:
    """The module in a file of ``folder``, and its settings."""
    path = folder / f"{name}.{'wasm' if binary else 'wat'}"
    path.write_bytes(bytes(wasmtime.wat2wasm(text)) if binary else text.encode())
    return PluginConfig(name=name, file=str(path), **settings)


async def room_with(*configs: PluginConfig, **settings: Any) -> Room:
    """A room in which they are in force."""
    room = Room(**settings)
    room.put(await room.load(configs))
    return room
