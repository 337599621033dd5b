"""``[trace]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from spvnode.inputs import parse_http_url


class TraceConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[trace]``: OpenTelemetry spans of calls, fetches, checks and commits, sent by OTLP over HTTP. Wants the extra
    ``otel``."""

    enabled: bool = False
    """Whether spans are made at all."""
    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    """Where the collector takes them."""
    sample: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """Share of the traces that are kept, decided where each begins."""
    timeout: Annotated[float, Meta(ge=0.1, le=60)] = 5.0
    """Seconds for one export; also for the last one, at the end of the daemon."""

    def __post_init__(self) -> None:
        parse_http_url(self.endpoint, "trace.endpoint")
