"""Discovery on the local network by multicast DNS (RFC 6762, RFC 6763), in the way of libp2p's mDNS
specification: one TXT string ``dnsaddr=<multiaddr>`` per address under a random instance name, but under a
service type of our own, so that nodes of other libp2p networks on the same LAN are not dialed.

Uses the ``zeroconf`` package, imported when it is asked for, which runs in threads of its own. Only ``MAX_PENDING``
addresses wait for the trio thread at any time, and ``MAX_NAMES`` instances are looked at per run; whoever
is on the LAN can fill both. What is found is a hint from a stranger: the caller decides what to believe.
"""

from __future__ import annotations

import importlib
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from types import ModuleType
from typing import Any, Final, Protocol

import structlog
import trio

SERVICE_TYPE: Final = "_spvnode._udp.local."
KEY: Final = b"dnsaddr="

MAX_TXT_STRING: Final = 255
"""Bytes of one string in a TXT record (RFC 1035 section 3.3); a longer address cannot be told."""
MAX_ADDRS: Final = 8
"""Addresses told, and taken, per instance."""
MAX_NAMES: Final = 512
"""Instances looked at in one run. A LAN has fewer; someone who makes up names could go on for ever."""
MAX_PENDING: Final = 64
"""Found addresses on their way to the trio thread."""
LOOKUP_MS: Final = 500
"""For an instance whose TXT record did not come along with its name; one such look-up runs at a time."""

log = structlog.get_logger(__name__)


class MdnsUnavailable(Exception):
    """mDNS was asked for and cannot run: zeroconf is not installed, or no interface takes multicast."""


class Started(Protocol):
    """What ``nursery.start`` passes in (``trio.TaskStatus``)."""

    def started(self) -> None:
        """We are told of, and listen."""


async def run_mdns(
    addrs: Sequence[str],
    found: Callable[[str], None],
    *,
    interfaces: Sequence[str] | None = None,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Tell ``addrs`` (full multiaddrs) and call ``found`` on the trio thread with every address that
    others tell, until cancelled. ``interfaces`` are IP addresses of ours; None means all. Raise
    MdnsUnavailable.
    """
    zeroconf = _import_zeroconf()
    _check_ours(interfaces or ())
    label = secrets.token_hex(20)
    bridge = _Bridge(zeroconf, f"{label}.{SERVICE_TYPE}", found, trio.lowlevel.current_trio_token())
    try:
        running = await trio.to_thread.run_sync(_start, zeroconf, label, tuple(addrs), interfaces, bridge)
    except (OSError, zeroconf.Error) as error:
        raise MdnsUnavailable(f"multicast DNS cannot start: {error}") from error
    try:
        task_status.started()
        await trio.sleep_forever()
    finally:
        bridge.close()
        with trio.CancelScope(shield=True):  # bounded by zeroconf: three goodbyes, and 3 s for its thread to end
            await trio.to_thread.run_sync(running.close)


def _import_zeroconf() -> ModuleType:
    try:
        return importlib.import_module("zeroconf")
    except ImportError as error:
        raise MdnsUnavailable("mDNS needs the zeroconf package, which is not installed") from error


def _check_ours(interfaces: Sequence[str]) -> None:
    """zeroconf leaks a socket when it is given an address that is not ours."""
    for address in interfaces:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError as error:
                raise MdnsUnavailable(f"mDNS interface {address!r} is not an IPv4 address of ours: {error}") from error


def _start(
    zeroconf: ModuleType, label: str, addrs: tuple[str, ...], interfaces: Sequence[str] | None, bridge: _Bridge
) -> Any:
    """In a worker thread: registering probes for the name and takes most of a second."""
    chosen = zeroconf.InterfaceChoice.All if interfaces is None else list(interfaces)
    running = zeroconf.Zeroconf(interfaces=chosen, ip_version=zeroconf.IPVersion.V4Only)
    with ExitStack() as undo:
        undo.callback(running.close)
        name = f"{label}.{SERVICE_TYPE}"
        info = zeroconf.ServiceInfo(SERVICE_TYPE, name, port=0, properties=encode_txt(addrs), server=f"{label}.local.")
        running.register_service(info)
        zeroconf.ServiceBrowser(running, SERVICE_TYPE, handlers=[bridge.changed])
        undo.pop_all()
    return running


class _Bridge:
    """From zeroconf's browser thread to trio's."""

    def __init__(
        self, zeroconf: ModuleType, own_name: str, found: Callable[[str], None], token: trio.lowlevel.TrioToken
    ) -> None:
        self._zeroconf = zeroconf
        self._found = found
        self._token = token
        self._names = {own_name}
        self._room = threading.Semaphore(MAX_PENDING)
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def changed(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        """Browser thread. An instance appeared, changed or went."""
        if self._closed or name in self._names or state_change is self._zeroconf.ServiceStateChange.Removed:
            return
        if len(self._names) > MAX_NAMES:
            return
        self._names.add(name)
        try:
            self._look_at(self._text(zeroconf, service_type, name))
        except Exception as error:  # noqa: BLE001  firewall: a record that trips the library must not end its thread
            log.warning("mdns record not understood", name=name[:MAX_TXT_STRING], problem=repr(error))

    def _text(self, zeroconf: Any, service_type: str, name: str) -> bytes:
        """TXT record data of an instance, empty when it has none. Neither call below counts as a success for
        zeroconf, since there is no A record: libp2p puts the addresses into TXT."""
        info = self._zeroconf.ServiceInfo(service_type, name)
        info.load_from_cache(zeroconf)
        if not info.text:
            info.request(zeroconf, LOOKUP_MS)
        text: bytes = info.text or b""
        return text

    def _look_at(self, text: bytes) -> None:
        for addr in decode_txt(text):
            if not self._room.acquire(blocking=False):
                return
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._deliver, addr)

    def _deliver(self, addr: str) -> None:
        """Trio thread."""
        self._room.release()
        if not self._closed:
            self._found(addr)


def encode_txt(addrs: Sequence[str]) -> bytes:
    """TXT record data: one length-prefixed ``dnsaddr=`` string per address."""
    strings = [KEY + addr.encode() for addr in addrs]
    fitting = [string for string in strings if len(string) <= MAX_TXT_STRING]
    return b"".join(bytes((len(string),)) + string for string in fitting[:MAX_ADDRS])


def decode_txt(data: bytes) -> list[str]:
    """The addresses in TXT record data, at most ``MAX_ADDRS``; whatever else is in it is passed over."""
    addrs: list[str] = []
    at = 0
    while at < len(data) and len(addrs) < MAX_ADDRS:
        string = data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
        if string.startswith(KEY) and string.isascii():
            addrs.append(string[len(KEY) :].decode("ascii"))
    return addrs
