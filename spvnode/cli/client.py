"""Talks to the daemon over its unix socket, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spvnode.cli.exits import Exit
from spvnode.cli.shell import CommandFailed
from spvnode.client.exchange import MAX_REPLY, TIMEOUT, Params, encode_call, patience
from spvnode.client.sockets import UnixConnection
from spvnode.places import SOCKET_NAME

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7)
_NAMES_PARAMETER = re.compile(r"[a-z_.]+(\[[0-9]+\])?: ")
# Codes of spvnode.rpc.errors, which is not imported here: it would cost msgspec.
IN_WARMUP = -28
METHOD_NOT_FOUND = -32601
# Internal error, the store refused, no peer gives it, no wire is up for it; the rest is bad input.
_EXITS = {-32603: Exit.SOFTWARE, -20: Exit.STORE, -1: Exit.UNAVAILABLE, -31: Exit.UNAVAILABLE}
_USAGE = "Usage: "
"""Ends what -1 says where parameters are too many or missing; else that error is about peers."""


class DaemonError(CommandFailed):
    """The daemon answered with a JSON-RPC error."""

    def __init__(self, rpc_code: int, message: str) -> None:
        super().__init__(Exit.INPUT if _USAGE in message else _EXITS.get(rpc_code, Exit.INPUT), message)
        self.rpc_code = rpc_code


class DaemonAbsent(CommandFailed):
    """No daemon answers in the data directory."""

    def __init__(self, datadir: Path, why: str, *, hint: bool = True) -> None:
        start = f"; start one with: spvnode run --datadir {datadir}, or name another's with --datadir" if hint else ""
        super().__init__(Exit.UNAVAILABLE, f"datadir: no daemon answers in {datadir} ({why}){start}")


class Client:
    """One daemon. Every method raises ``DaemonAbsent`` or ``DaemonError``."""

    def __init__(self, datadir: Path) -> None:
        self._datadir = datadir

    def call(self, method: str, params: Params | None = None, *, about: str = "") -> Any:
        """The result of one call; parameters that are named and None are left out.

        ``about`` names what the user gave, for an error that does not name a parameter itself.
        """
        reply = self._post(encode_call(method, params), patience(method, TIMEOUT))
        if not isinstance(reply, dict):
            raise DaemonAbsent(self._datadir, "the reply is no JSON-RPC object")
        error = reply.get("error")
        if error:
            raise _refused(int(error["code"]), str(error["message"]), about)
        return reply["result"]

    def _post(self, body: Mapping[str, Any], timeout: float) -> Any:
        connection = UnixConnection(self._datadir / SOCKET_NAME, timeout)
        try:
            connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read(MAX_REPLY))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DaemonAbsent(self._datadir, "none runs") from error
        except PermissionError as error:
            from spvnode.config import whose  # noqa: PLC0415 - for this error alone

            why = f"{error.strerror}: {whose(self._datadir)}, who alone may ask here"
            raise DaemonAbsent(self._datadir, why, hint=False) from error
        except NotADirectoryError as error:  # starting one there would fail as well
            raise DaemonAbsent(self._datadir, str(error.strerror), hint=False) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DaemonAbsent(self._datadir, getattr(error, "strerror", None) or str(error)) from error
        finally:
            connection.close()


def _refused(rpc_code: int, message: str, about: str) -> DaemonError:
    if rpc_code in _EXITS and _USAGE not in message:
        about = "daemon"  # nothing that the user gave is at fault
    elif rpc_code == IN_WARMUP:
        about = "network"
    elif _NAMES_PARAMETER.match(message):
        about = ""
    return DaemonError(rpc_code, f"{about}: {message}" if about else message)


def daemon_pid(datadir: Path) -> int | None:
    """The process that listens on the socket in ``datadir``; None where nobody does, or the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(str(datadir / SOCKET_NAME))
            pid, _, _ = _CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
        except OSError:
            return None
    return int(pid) or None


def running(datadir: Path) -> Client | None:
    """A client, if a daemon answers in ``datadir``."""
    client = Client(datadir)
    try:
        client.call("uptime")
    except DaemonAbsent:
        return None
    return client
