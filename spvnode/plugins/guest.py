"""One plugin as compiled code behind its fence. The only module that knows wasmtime, which is loaded with it.

Each call has a store and an instance of its own, thrown away after it: a plugin remembers nothing, so that no event can
tell it about another, and a call that ended in the middle leaves nothing behind. Fuel bounds the work, the engine's
epoch the time, the store the memory, tables and instances.

wasmtime keeps one exception of a host function for a whole process: calls must come one after the other (``Room``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wasmtime
from wasmtime import FuncType, Linker, MemoryType, Module, Store, Trap, TrapCode, ValType, WasmtimeError

from spvnode.config_plugins import PluginConfig
from spvnode.errors import InputError
from spvnode.files import open_regular
from spvnode.inputs import shown
from spvnode.logs import get_logger
from spvnode.plugins.faults import PluginFault, Reason
from spvnode.plugins.host import (
    ALLOC,
    CHECK,
    FILTER,
    FUNCTIONS,
    MODULE,
    NO_WINDOW,
    TICK_SECONDS,
    Desk,
    Refused,
    Window,
    bind,
)

if TYPE_CHECKING:
    from wasmtime import Caller

MAX_FILE_BYTES = 4 << 20
"""Of a plugin's file: a second or two to compile. A wrong path may be a video."""
MAX_FUNCTIONS = 10_000
"""Of a module, 0.2 ms each to compile however short it is, and 4 MiB have room for a million. A compiler leaves some
hundred in a program of this kind."""
MAX_STACK_BYTES = 256 << 10
"""Of WebAssembly's stack, well inside a worker thread's."""
MAX_TABLES = 4
"""Tables of a module; a compiler makes one."""
MAX_TABLE_ELEMENTS = 10_000
"""Entries in them, 8 bytes each: functions that are called through pointers."""
MAX_DETAIL = 200
"""Characters kept of what the sandbox says about a fault."""
_FUNCTION_SECTION = 3
_SHAPES = {ALLOC: 1, FILTER: 2, CHECK: 2}
"""Exports by how many i32 they take; each gives one."""
_REASONS = {
    TrapCode.OUT_OF_FUEL: Reason.FUEL,
    TrapCode.INTERRUPT: Reason.DEADLINE,
    TrapCode.MEMORY_OUT_OF_BOUNDS: Reason.MEMORY,
    TrapCode.TABLE_OUT_OF_BOUNDS: Reason.MEMORY,
    TrapCode.STACK_OVERFLOW: Reason.STACK,
}
_TYPES: dict[str, Callable[[], ValType]] = {"i32": ValType.i32, "i64": ValType.i64}

log = get_logger("plugins")


def make_engine() -> wasmtime.Engine:
    """An engine that counts fuel and epochs. What one thread with one memory does not need is off."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.parallel_compilation = False  # a start with four plugins does not take all cores
    config.max_wasm_stack = MAX_STACK_BYTES
    config.memory_reservation = 0  # else each instance takes 4 GB of addresses, which small devices refuse
    config.memory_reservation_for_growth = 0
    config.memory_guard_size = 0
    for name in ("wasm_threads", "wasm_memory64", "wasm_multi_memory", "wasm_relaxed_simd", "wasm_gc", "gc_support"):
        setattr(config, name, False)
    return wasmtime.Engine(config)


class _View:
    """The plugin's memory, every access inside it."""

    def __init__(self, memory: wasmtime.Memory, store: Any) -> None:
        self._memory = memory
        self._store = store

    def read(self, at: int, size: int) -> bytes:
        """See ``host.Memory``."""
        self._require(at, size)
        return bytes(self._memory.read(self._store, at, at + size))

    def write(self, at: int, data: bytes) -> None:
        """See ``host.Memory``."""
        self._require(at, len(data))
        self._memory.write(self._store, data, at)

    def _require(self, at: int, size: int) -> None:
        held = self._memory.data_len(self._store)
        if at + size > held:
            raise Refused(Reason.POINTER, f"{size} bytes at {at}, of {held}")


def _view(caller: Caller) -> _View:
    return _View(caller["memory"], caller)  # type: ignore[arg-type]  # ``_check_exports`` saw that it is one


class Guest:
    """A module that may be called. Not for two threads at once."""

    def __init__(self, engine: wasmtime.Engine, config: PluginConfig, clock: Callable[[], float]) -> None:
        """Reads, compiles and tries it. Blocking; raises InputError, which names the plugin and what is wrong."""
        self._engine = engine
        self._config = config
        self.desk = Desk(config.name, clock)
        module = _compile(engine, config)
        self.exports = _check_exports(module, config)
        linker = Linker(engine)
        for name in _check_imports(module, config):
            function = FUNCTIONS[name]
            kind = FuncType([_TYPES[one]() for one in function.parameters], [_TYPES[one]() for one in function.results])
            linker.define_func(MODULE, name, kind, bind(function, self.desk, _view), access_caller=True)
        try:
            self._template = linker.instantiate_pre(module)
        except WasmtimeError as error:
            raise _bad(config, f"cannot be linked: {_told(error)}") from None
        trial, _ = self._guarded(self._start)
        if isinstance(trial, PluginFault):
            raise _bad(config, f"does not start: {trial.reason}: {trial.detail}")

    def _store(self) -> Store:
        store = Store(self._engine)
        store.set_limits(self._config.memory, MAX_TABLE_ELEMENTS, 1, MAX_TABLES, 1)
        store.set_fuel(self._config.fuel)
        # One more: the first tick may come at once.
        store.set_epoch_deadline(1 + max(1, round(self._config.deadline_ms / 1_000 / TICK_SECONDS)))
        return store

    def call(self, export: str, data: bytes, window: Window = NO_WINDOW) -> tuple[int | PluginFault, int]:
        """What ``export`` says about ``data`` (an i32), or how it failed; and the fuel it took. Never raises."""
        self.desk.begin(window)
        return self._guarded(partial(self._ask, export, data))

    def _guarded(self, work: Callable[[Store], int | PluginFault]) -> tuple[int | PluginFault, int]:
        with self._store() as store:
            try:
                outcome = work(store)
            except Refused as error:
                outcome = self._fault(error.reason, error.detail)
            except Trap as error:
                outcome = self._fault(_reason(error), _told(error))
            except WasmtimeError as error:
                outcome = self._fault(Reason.TRAP, _told(error))
            except Exception as error:  # the firewall of each call: whatever the library does costs one event's answer
                log.exception("plugin call failed", plugin=self._config.name)
                outcome = self._fault(Reason.INTERNAL, type(error).__name__)
            return outcome, self._config.fuel - store.get_fuel()

    def _start(self, store: Store) -> int:
        self._template.instantiate(store)
        return 0

    def _ask(self, export: str, data: bytes, store: Store) -> int | PluginFault:
        exports: Any = self._template.instantiate(store).exports(store)
        at = exports[ALLOC](store, len(data)) & 0xFFFFFFFF
        _View(exports["memory"], store).write(at, data)
        answer = int(exports[export](store, at, len(data)))
        if export == FILTER and answer not in (0, 1):
            return self._fault(Reason.RESULT, f"{answer}, neither 0 nor 1")
        return answer

    def _fault(self, reason: Reason, detail: str) -> PluginFault:
        return PluginFault(self._config.name, reason, detail[:MAX_DETAIL])


def _compile(engine: wasmtime.Engine, config: PluginConfig) -> Module:
    raw = _read(config)
    try:
        binary = raw if raw.startswith(b"\0asm") else bytes(wasmtime.wat2wasm(raw))
        if (count := _functions(binary)) > MAX_FUNCTIONS:
            raise _bad(config, f"has {count} functions, at most {MAX_FUNCTIONS}")
        return Module(engine, binary)
    except (WasmtimeError, UnicodeDecodeError) as error:
        raise _bad(config, f"is no WebAssembly module: {_told(error)}") from None


def _functions(binary: bytes) -> int:
    """Entries of its function section (WebAssembly core 2.0, 5.5.6). What is damaged is for the compiler to say."""
    at = len(b"\0asm\1\0\0\0")
    while at < len(binary):
        size, inside = _leb128(binary, at + 1)
        if binary[at] == _FUNCTION_SECTION:
            return _leb128(binary, inside)[0]
        at = inside + size
    return 0


def _leb128(binary: bytes, at: int) -> tuple[int, int]:
    """An unsigned number (ibid., 5.2.2), and the place behind it."""
    value = 0
    for place, byte in enumerate(binary[at : at + 5]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    return value, at + 5


def _read(config: PluginConfig) -> bytes:
    try:
        with open_regular(Path(config.file).expanduser()) as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _bad(config, str(error.strerror)) from error
    if len(raw) > MAX_FILE_BYTES:
        raise _bad(config, f"longer than {MAX_FILE_BYTES} bytes")
    return raw


def _check_imports(module: Module, config: PluginConfig) -> Sequence[str]:
    """Names of the host functions that it wants, all of them allowed."""
    wanted = []
    for one in module.imports:
        name = one.name or ""
        function = FUNCTIONS.get(name) if one.module == MODULE else None
        if function is None:
            raise _bad(config, f"imports {shown(f'{one.module}.{name}')}, which no capability gives")
        if function.capability not in config.capabilities:
            raise _bad(config, f"imports {MODULE}.{name}, which needs the capability {function.capability}")
        if _types(one.type) != (list(function.parameters), list(function.results)):
            raise _bad(config, f"imports {MODULE}.{name} as another type than it is")
        wanted.append(name)
    return wanted


def _check_exports(module: Module, config: PluginConfig) -> frozenset[str]:
    """Names of the entries that it has, one or both; the memory and the rest are as they must be."""
    found = {one.name: one.type for one in module.exports}
    if not isinstance(found.get("memory"), MemoryType):
        raise _bad(config, "exports no memory")
    for name, count in _SHAPES.items():
        if name in found and _types(found[name]) != (["i32"] * count, ["i32"]):
            raise _bad(config, f"exports {name}, but not as a function of {count} i32 that gives one")
    entries = frozenset({FILTER, CHECK} & found.keys())
    for needed, there in ((ALLOC, ALLOC in found), (f"{FILTER} and no {CHECK}", bool(entries))):
        if not there:
            raise _bad(config, f"exports no {needed}")
    if config.headers and CHECK not in entries:
        raise InputError("plugin.headers", f"{config.name} looks at no headers: {config.file} exports no {CHECK}")
    return entries


def _types(kind: Any) -> tuple[list[str], list[str]] | None:
    """Names of a function's parameters and results; None for anything else."""
    if not isinstance(kind, FuncType):
        return None
    return [str(one) for one in kind.params], [str(one) for one in kind.results]


def _bad(config: PluginConfig, problem: str) -> InputError:
    return InputError("plugin.file", f"{config.name}: {config.file} {problem}")


def _reason(trap: Trap) -> Reason:
    code = trap.trap_code
    return Reason.TRAP if code is None else _REASONS.get(code, Reason.TRAP)


def _told(error: Exception) -> str:
    """What the sandbox says, on one line: the deepest cause, or what is wrong with a text and where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[-1] if "Caused by:" in lines else " ".join(lines[:2])
    return told[:MAX_DETAIL] or type(error).__name__
