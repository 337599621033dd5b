"""Imports the parts of libp2p that a TCP node runs, and nothing else.

``import libp2p`` executes ``libp2p/__init__.py``, which imports every transport, discovery and security module of the
library with their dependencies (aioquic, zeroconf, grpc, trio-websocket, dnspython, miniupnpc, OpenSSL ...): 82 MB and
0.8 s of CPU. Here the packages whose ``__init__`` pulls these in are made bare (their submodules can be imported, their
``__init__`` does not run), and modules that a TCP node never calls are replaced by empty ones while the rest is
imported. That leaves about 50 MB with Noise, Yamux and gossipsub.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

VERSION = "0.8.1"
"""The release whose private names the fences build on."""

BARE = ("libp2p", "libp2p.host", "libp2p.identity.identify", "libp2p.rcmgr", "libp2p.transport")
"""Packages that are imported without running their ``__init__``."""

EMPTY = (
    "libp2p.crypto.rsa",  # pycryptodome; Ed25519 is mandatory for all, RSA identities are not ours
    "libp2p.metrics",  # prometheus_client: its collectors are not our metrics
    "libp2p.rcmgr.manager",  # prometheus_client again, memory pools, circuit breakers: p2p.host.admission bounds
    "libp2p.security.pnet",  # pycryptodome
    "libp2p.security.secio",
    "libp2p.security.tls",  # pyOpenSSL, service_identity; and does not interoperate (py only)
    "libp2p.transport.quic",  # aioquic
    "libp2p.utils.dns_utils",  # dnspython; names are resolved by the system resolver
    "multiaddr.resolvers",  # dnspython
)
"""Modules that are replaced by empty ones, with everything below them."""


class UnsupportedLibp2p(Exception):
    """Another release of libp2p is installed than the one that the fences were written for."""


class _Nothing(type):
    """Kind of the classes that stand in: they have every attribute, and each is None."""

    def __getattr__(cls, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Empty(ModuleType):
    """A module in which every public name is a class that nothing is an instance of and nothing raises."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        placeholder = _Nothing(name, (Exception,), {"__module__": self.__name__})
        setattr(self, name, placeholder)
        return placeholder


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves the bare packages and the empty modules; everything else takes the usual way."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in BARE:
            spec = importlib.machinery.ModuleSpec(fullname, self, is_package=True)
            spec.submodule_search_locations = [str(self._root.joinpath(*fullname.split(".")[1:]))]
            return spec
        if any(fullname == name or fullname.startswith(name + ".") for name in EMPTY):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs: that is the point."""


def install() -> None:
    """Make ``libp2p`` importable the light way; does not when it already is, or was imported in full.

    Raises UnsupportedLibp2p.
    """
    if "libp2p" in sys.modules:
        _quiet()
        return
    found = importlib.metadata.version("libp2p")
    if found != VERSION:
        raise UnsupportedLibp2p(f"libp2p {VERSION} is needed, {found} is installed")
    located = importlib.util.find_spec("libp2p")
    if located is None or located.origin is None:
        raise UnsupportedLibp2p("libp2p is installed without its files")
    before = {name for name in sys.modules if name.split(".")[0] != "libp2p"}
    finder = _Finder(Path(located.origin).parent)
    sys.meta_path.insert(0, finder)
    try:
        _import_parts()
    finally:
        sys.meta_path.remove(finder)
        for name, module in list(sys.modules.items()):
            # Stand-ins for modules of other packages must not outlive the import: others may want the real ones.
            if isinstance(module, _Empty) and name not in before and name.split(".")[0] != "libp2p":
                del sys.modules[name]
    _quiet()


def _import_parts() -> None:
    importlib.import_module("libp2p")
    rcmgr = importlib.import_module("libp2p.rcmgr")
    # The one name of the resource manager that connections and streams use at run time.
    rcmgr.Direction = importlib.import_module("libp2p.rcmgr.metrics").Direction  # type: ignore[attr-defined]
    for name in (
        "libp2p.security.noise.transport",
        "libp2p.network.swarm",
        "libp2p.network.connection.swarm_connection",
        "libp2p.peer.peerstore",
        "libp2p.transport.tcp.tcp",
        "libp2p.identity.identify.pb.identify_pb2",
        "libp2p.pubsub.pubsub",
        "libp2p.pubsub.gossipsub",
    ):
        importlib.import_module(name)
    serialization = importlib.import_module("libp2p.crypto.serialization")
    keys = importlib.import_module("libp2p.crypto.keys")
    # With the RSA module empty, an RSA key must be an unknown kind, not a call into a stand-in.
    for table in (
        serialization.key_type_to_public_key_deserializer,
        serialization.key_type_to_private_key_deserializer,
    ):
        table.pop(keys.KeyType.RSA.value, None)


def _quiet() -> None:
    """Keep the library's logging from stderr, from our root logger, and from being filled by strangers.

    It logs at WARNING and ERROR what remotes do, sometimes a traceback per connection. What matters of it reaches
    the host as a return value or an exception and is logged there. network/connection/swarm_connection.py:95 and
    14 more lines of that file log to the root logger, which gives it a stderr handler when it has none.
    """
    library = logging.getLogger("libp2p")
    library.handlers = [logging.NullHandler()]
    library.propagate = False
    library.setLevel(logging.CRITICAL + 1)
    connection = importlib.import_module("libp2p.network.connection.swarm_connection")
    connection.logging = logging.getLogger(  # type: ignore[attr-defined]
        "libp2p.network.connection.swarm_connection"
    )
