"""Where the configuration comes from: defaults, then ``spvnode.toml``, then the environment, then flags.

Every error names the key as its source spells it: ``rpc.bind`` in the file, ``SPVNODE_RPC__BIND`` in the
environment, ``--rpc`` on the command line.

Environment: the key in capitals, levels joined by two underscores, list items separated by commas
(``SPVNODE_NETWORKS=bitcoin,signet``, ``SPVNODE_SYNC__IN_FLIGHT=2``, ``SPVNODE_CHECKPOINT=bitcoin:HEIGHT:HASH``).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec.structs import fields

from spvnode.config import Config, data_path, whose
from spvnode.config_middleware import STEP_NAMES
from spvnode.errors import InputError
from spvnode.inputs import parse_checkpoint, parse_network, parse_root, placed_problem, shown
from spvnode.networks import BITCOIN
from spvnode.places import CONFIG_NAME
from spvnode.types import hash_hex

CONFIG_VARIABLE = "SPVNODE_CONFIG"
MAX_CONFIG_BYTES = 1 << 20
"""A config file is a page or two; a wrong path may be a video."""

RESERVED_ENV = frozenset({CONFIG_VARIABLE, "SPVNODE_BLS", "SPVNODE_KERNELS", "SPVNODE_SHA256", "SPVNODE_TOKEN_KEY"})
"""Variables of ours that are not keys of the config: which file to read, which native code to run, and a secret, which
no config file shall hold."""
TEST_PREFIX = "SPVNODE_TEST_"
"""Variables of the test-suite, which a daemon under test inherits."""

BY_NETWORK = {"checkpoint": False, "wire": True, "beacon": True}
"""Lists of tables that name a network each, and whether a later table of a network adds to an earlier one: half a
checkpoint is none."""
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`")
_NO_STEP = "Invalid value"
"""msgspec's words for a table of no known kind: of tables that say their kind there are those of ``rpc.middleware``."""
_WORDS = {"Expected object": "Expected table", "got object": "got table", "Expected bool": "Expected true or false"}
"""msgspec's words for what TOML and the environment call otherwise."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings: raw values, and how it spells a key such as ``rpc.bind``."""

    values: dict[str, Any]
    spell: Callable[[str], str]
    strict: bool = True

    def check(self, devnets: Sequence[Mapping[str, Any]] = ()) -> None:
        """Raises ``InputError``, with this layer's spelling of the key, when it is not valid by itself; ``devnets`` are
        the ``[[beacon]]`` tables of another layer, which may make known the networks that this one names."""
        values = self.values if "beacon" in self.values else {**self.values, "beacon": list(devnets)}
        _convert(values, self.spell, strict=self.strict)


def load_config(
    *,
    config_file: Path | None = None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    flag_names: Mapping[str, str],
) -> Config:
    """Reads all layers and merges them, later ones first.

    ``flags`` is shaped like the file (nested, only what was given); ``flag_names`` spells its keys
    (``{"rpc.bind": "--rpc"}``). Without ``config_file`` the file is ``SPVNODE_CONFIG`` or
    ``<datadir>/spvnode.toml``, which may be absent. Raises ``InputError``.
    """
    env = env_layer(environ)
    flag = Layer(dict(flags), lambda key: _flag_spelling(key, flag_names))
    named = config_file or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    datadir = flag.values.get("datadir", env.values.get("datadir", ""))
    file = file_layer(named or data_path(datadir) / CONFIG_NAME, required=named is not None)
    file.check()
    for layer in (env, flag):
        layer.check(file.values.get("beacon", ()))
    merged = _merge(_merge(file.values, env.values), flag.values)
    return _convert(merged, lambda key: key, strict=False)


def file_layer(path: Path, *, required: bool) -> Layer:
    """``spvnode.toml``; empty when it is absent and not ``required``."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        if required:
            raise InputError(str(path), "no such file") from error
        return Layer({}, str)
    except NotADirectoryError as error:
        # Unless the file was named, nobody has heard of it: the data directory is what is wrong.
        field, problem = (str(path), "") if required else ("datadir", f"{path.parent}: ")
        raise InputError(field, f"{problem}{error.strerror}") from error
    except PermissionError as error:
        raise InputError(str(path), f"{error.strerror}; {whose(path)}") from error
    except OSError as error:
        raise InputError(str(path), str(error.strerror)) from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise InputError(str(path), f"longer than {MAX_CONFIG_BYTES} bytes")
    try:
        values = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # of a number of 5,000 digits it is no TOMLDecodeError
        raise InputError(str(path), f"is not TOML: {error}") from error
    return Layer(values, lambda key: f"{key} (in {path})")


def env_layer(environ: Mapping[str, str]) -> Layer:
    """The ``SPVNODE_...`` variables. An unknown one is an error: a typo must not be a silent default."""
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith("SPVNODE_") or name in RESERVED_ENV or name.startswith(TEST_PREFIX):
            continue
        keys = name.removeprefix("SPVNODE_").lower().split("__")
        field_type = _field_type(keys, name)
        if name == "SPVNODE_CHECKPOINT":
            values |= starts((item.strip() for item in text.split(",") if item.strip()), name)
            continue
        target = values
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        target[keys[-1]] = _from_text(text, field_type)
    return Layer(values, _env_spelling, strict=False)


def starts(texts: Iterable[str], field: str) -> dict[str, list[dict[str, Any]]]:
    """Starts of trust, ``NETWORK:HEIGHT:HASH`` or for Ethereum ``NETWORK:ROOT``, as ``[[checkpoint]]`` and
    ``[[beacon]]`` tables."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for text in texts:
        name, _, root = text.partition(":")
        if ":" in root or name in BITCOIN:
            given = parse_checkpoint(text, field, with_network=True)
            entry = {"network": given.network, "height": given.height, "hash": hash_hex(given.hash)}
            tables.setdefault("checkpoint", []).append(entry)
        else:
            if not root:
                raise InputError(
                    field, f"{shown(text)} names no network; NETWORK:HEIGHT:HASH, or for Ethereum NETWORK:ROOT"
                )
            parse_root(root, field)
            tables.setdefault("beacon", []).append({"network": parse_network(name, field), "checkpoint": root})
    return tables


def _convert(values: Mapping[str, Any], spell: Callable[[str], str], *, strict: bool) -> Config:
    try:
        return msgspec.convert(values, Config, strict=strict)
    except msgspec.ValidationError as error:
        key, problem = _explain(str(error))
        if problem.startswith("Invalid enum value"):
            problem += f"; one of {', '.join(get_args(_type_of(key)))}"
        elif problem.startswith(_NO_STEP):
            problem = f"unknown step{problem.removeprefix(_NO_STEP)}; one of {', '.join(STEP_NAMES)}"
        raise InputError(spell(key), problem) from None
    except InputError as error:
        raise InputError(spell(error.field), error.problem) from None


def _explain(message: str) -> tuple[str, str]:
    """msgspec's one-line message as (key, problem)."""
    path, problem = placed_problem(message)
    for pattern, meaning in ((_UNKNOWN, "unknown key"), (_MISSING, "missing")):
        if found := pattern.match(problem):
            return (f"{path}.{found['key']}" if path else found["key"]), meaning
    problem = problem.replace("`", "")
    for theirs, ours in _WORDS.items():
        problem = problem.replace(theirs, ours)
    return path or "config", problem


def _type_of(key: str) -> Any:
    """Type of a key that is known to be there, such as ``log.level``."""
    found: Any = Config
    for part in key.split("."):
        found = next(field.type for field in fields(found) if field.name == part)
    return found


def _field_type(keys: list[str], name: str) -> Any:
    """Type of the config key that an environment variable names."""
    struct: Any = Config
    for depth, key in enumerate(keys):
        known = {field.name: field.type for field in fields(struct)}
        nested = isinstance(known.get(key), type) and issubclass(known[key], msgspec.Struct)
        if key not in known or nested == (depth == len(keys) - 1):
            raise InputError(name, "unknown variable; a nested key is written like SPVNODE_RPC__BIND")
        struct = known[key]
    return struct


def _from_text(text: str, field_type: Any) -> object:
    """A list at its commas; anything else stays text, which ``convert`` reads by the key's type."""
    if get_origin(field_type) is not tuple:
        return text
    return [item.strip() for item in text.split(",") if item.strip()]


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``: tables key by key, ``BY_NETWORK`` network by network, other lists as a whole."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        elif key in BY_NETWORK:
            entries = {entry["network"]: entry for entry in merged.get(key, ())}
            for entry in value:
                known = entries.get(entry["network"], {}) if BY_NETWORK[key] else {}
                entries[entry["network"]] = {**known, **entry}
            merged[key] = list(entries.values())
        else:
            merged[key] = value
    return merged


def _env_spelling(key: str) -> str:
    base, bracket, index = key.partition("[")
    return "SPVNODE_" + base.upper().replace(".", "__") + bracket + index


def _flag_spelling(key: str, flag_names: Mapping[str, str]) -> str:
    base = key.partition("[")[0]
    while base and base not in flag_names:
        base = base.rpartition(".")[0]
    return flag_names.get(base, key)
