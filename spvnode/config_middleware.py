"""``[[rpc.middleware]]`` of the configuration: steps that requests go through besides the built-in ones."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, get_args

from msgspec import Meta, Struct

from spvnode.errors import InputError
from spvnode.inputs import shown

MAX_MIDDLEWARE = 16
"""Steps in ``rpc.middleware``; every request goes through all of them. The operator fills it."""
MAX_NAMED = 128
"""Methods or paths that one step names; all methods fit."""
MAX_PATH = 128
"""Characters of a path that a step names; each request's is compared with all of them."""
MAX_ADDED_HEADERS = 8
"""Headers that one ``response-headers`` adds to every answer."""
MAX_HEADER_NAME = 64
"""Characters of an added header's name."""
MAX_HEADER_VALUE = 256
"""Characters of an added header's value; a policy fits."""
KINDS = ("operator", "token", "anonymous")
"""Callers that a step may be about. This user on the unix socket is none of them: whoever shut everybody out can so
always undo it."""
OWN_HEADERS = frozenset({
    "allow", "cache-control", "connection", "content-encoding", "content-length", "content-security-policy",
    "content-type", "keep-alive", "retry-after", "sec-websocket-accept", "set-cookie", "te", "trailer",
    "transfer-encoding", "upgrade", "www-authenticate", "x-request-id",
})  # fmt: skip
"""Headers that the server says itself, or that change where a message ends; and cookies, which browsers would send to
every port of a host."""
_CROSS_ORIGIN = "access-control-"
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+\Z")  # RFC 9110, 5.6.2, in lower case
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\Z")


class Middleware(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="step"):
    """One table; ``step`` says which."""

    once: ClassVar[bool] = False
    """A second one would say the same again."""

    def check(self, field: str) -> None:
        """Raises InputError for what the types do not tell; ``field`` names the table."""


class RequestIdConfig(Middleware, tag="request-id", frozen=True):
    """Gives each request an id: in `X-Request-Id` of the answer, and as `request_id` in every line that is logged
    meanwhile."""

    once: ClassVar[bool] = True

    accept: bool = True
    """Take the client's `X-Request-Id` (up to 64 of A-Z a-z 0-9 . _ -) where it sends one."""


class MaintenanceConfig(Middleware, tag="maintenance", frozen=True):
    """Answers 503 with `Retry-After` to all but the operator."""

    once: ClassVar[bool] = True

    retry_after: Annotated[int, Meta(ge=1, le=86_400)] = 60
    """Seconds after which callers shall come again."""
    kinds: tuple[str, ...] = ("token", "anonymous")
    """Whom it shuts out: `operator` (who shows the cookie), `token`, `anonymous`."""

    def check(self, field: str) -> None:
        """See ``Middleware``."""
        _check_kinds(self.kinds, field)


class DenyConfig(Middleware, tag="deny", frozen=True):
    """Refuses methods and paths with 403."""

    methods: tuple[str, ...] = ()
    """JSON-RPC methods, such as `stop`."""
    paths: tuple[str, ...] = ()
    """Beginnings of paths, whole segments, whether or not a network stands before them: `/rest` is also
    `/signet/rest/chaininfo.json`. `/` is every path, and so all methods."""
    kinds: tuple[str, ...] = KINDS
    """Whom it refuses: `operator` (who shows the cookie), `token`, `anonymous`."""

    def check(self, field: str) -> None:
        """See ``Middleware``."""
        if not self.methods and not self.paths:
            raise InputError(f"{field}.methods", "names nothing to deny, nor does paths")
        _check_kinds(self.kinds, field)
        _check_methods(self.methods, field)
        _check_count(self.paths, f"{field}.paths", MAX_NAMED)
        for i, path in enumerate(self.paths):
            place = f"{field}.paths[{i}]"
            if not path.startswith("/") or (len(path) > 1 and path.endswith("/")):
                raise InputError(place, f"{shown(path)}: must begin with / and not end with it")
            if len(path) > MAX_PATH:
                raise InputError(place, f"longer than {MAX_PATH} characters")


class AllowMethodsConfig(Middleware, tag="allow-methods", frozen=True):
    """Lets callers use these JSON-RPC methods and no others; the rest is refused with 403."""

    methods: tuple[str, ...]
    """The methods. Their scopes and rates count all the same."""
    kinds: tuple[str, ...] = ("token",)
    """Whom it is about: `operator` (who shows the cookie), `token`."""

    def check(self, field: str) -> None:
        """See ``Middleware``."""
        if not self.methods:
            raise InputError(f"{field}.methods", 'names no method; a step `deny` with paths = ["/"] refuses all')
        _check_kinds(self.kinds, field)
        _check_methods(self.methods, field)


class ResponseHeadersConfig(Middleware, tag="response-headers", frozen=True):
    """Adds fixed headers to every answer that does not say them itself."""

    headers: dict[str, str]
    """Names in lower case, and values."""

    def check(self, field: str) -> None:
        """See ``Middleware``."""
        _check_count(tuple(self.headers), f"{field}.headers", MAX_ADDED_HEADERS)
        for name, value in self.headers.items():
            place = f"{field}.headers.{name[:MAX_HEADER_NAME]}"
            if not _TOKEN.match(name) or len(name) > MAX_HEADER_NAME:
                problem = f"{shown(name)} is no header name in lower case of up to {MAX_HEADER_NAME} characters"
                raise InputError(f"{field}.headers", problem)
            if name in OWN_HEADERS or name.startswith(_CROSS_ORIGIN):
                raise InputError(place, "is said by the server itself, or would open the RPC to other web pages")
            if not _VALUE.match(value) or len(value) > MAX_HEADER_VALUE:
                raise InputError(place, f"must be 1 to {MAX_HEADER_VALUE} printable ASCII characters")


class AccessLogConfig(Middleware, tag="access-log", frozen=True):
    """Logs a line of the level info for each request: who, method, path, route, status, ms and bytes; of JSON-RPC also
    the method. Never credentials, parameters or queries."""

    once: ClassVar[bool] = True

    sample: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Share of the requests that is logged."""


class SlowLogConfig(Middleware, tag="slow-log", frozen=True):
    """Logs a warning for each call that took long, and for each other request."""

    once: ClassVar[bool] = True

    ms: Annotated[int, Meta(ge=1, le=600_000)] = 1_000
    """From how many milliseconds on."""
    ignore: tuple[str, ...] = ("waitforblockheight", "waitfornewblock")
    """Methods that wait by their nature."""

    def check(self, field: str) -> None:
        """See ``Middleware``."""
        _check_methods(self.ignore, field, "ignore")


AnyMiddleware = (
    RequestIdConfig
    | MaintenanceConfig
    | DenyConfig
    | AllowMethodsConfig
    | ResponseHeadersConfig
    | AccessLogConfig
    | SlowLogConfig
)
STEP_NAMES = tuple(str(table.__struct_config__.tag) for table in get_args(AnyMiddleware))
"""What ``step`` may say."""


def check_middleware(steps: tuple[AnyMiddleware, ...], field: str) -> None:
    """Raises InputError, naming the table and its key."""
    _check_count(steps, field, MAX_MIDDLEWARE)
    for i, step in enumerate(steps):
        step.check(f"{field}[{i}]")
        if step.once and any(type(other) is type(step) for other in steps[:i]):
            raise InputError(f"{field}[{i}].step", "is there already, and can be there once")


def _check_count(values: tuple[object, ...], field: str, most: int) -> None:
    if len(values) > most:
        raise InputError(field, f"{len(values)} entries, at most {most}")


def _check_kinds(kinds: tuple[str, ...], field: str) -> None:
    if not kinds:
        raise InputError(f"{field}.kinds", f"names nobody; one or more of {', '.join(KINDS)}")
    for i, kind in enumerate(kinds[: len(KINDS) + 1]):
        if kind not in KINDS:
            raise InputError(f"{field}.kinds[{i}]", f"{shown(kind)} is none of {', '.join(KINDS)}")
    _check_count(kinds, f"{field}.kinds", len(KINDS))


def _check_methods(methods: tuple[str, ...], field: str, key: str = "methods") -> None:
    from spvnode.method_names import METHODS  # noqa: PLC0415 - most configurations name none

    _check_count(methods, f"{field}.{key}", MAX_NAMED)
    for i, name in enumerate(methods):
        if name not in METHODS:  # a typo must not leave a method open
            raise InputError(f"{field}.{key}[{i}]", f"{shown(name)} is no method")
