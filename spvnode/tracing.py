"""OpenTelemetry spans at four places: a call of the RPC, a fetch, a check of a run, a commit.

Off by default, and then ``span`` costs one comparison and nothing of OpenTelemetry is imported. No span holds remote
text or a caller's words: names of methods, networks and of our own errors, and counts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from spvnode.config_trace import TraceConfig
from spvnode.errors import InputError
from spvnode.extras import how_to_install
from spvnode.logs import get_logger
from spvnode.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

MAX_WAITING = 2_048
"""Spans that wait for the exporter, some 1 kB each; more are dropped. A collector that is gone fills it."""
MAX_BATCH = 512
"""Spans in one export."""

_OFF: Final[AbstractContextManager[None]] = nullcontext()
_OTEL_LOGGER = "opentelemetry"

log = get_logger("trace")


class Tracing:
    """The process's tracer, where tracing is on. One a process: spans know their parents by context variables."""

    def __init__(self) -> None:
        self._config = TraceConfig()
        self._provider: TracerProvider | None = None
        self.tracer: Tracer | None = None

    def configure(self, config: TraceConfig) -> None:
        """Begins, changes or ends tracing; blocks while the last spans of an older setting leave. Raises InputError
        where OpenTelemetry is missing, and then nothing has changed."""
        if config == self._config:
            return
        provider = _provider(config) if config.enabled else None
        self.close()
        self._config, self._provider = config, provider
        self.tracer = None if provider is None else provider.get_tracer("spvnode", VERSION)

    def close(self) -> None:
        """Sends what waits, for as long as one export may take, and ends tracing."""
        provider, self._provider, self.tracer, self._config = self._provider, None, None, TraceConfig()
        if provider is not None:
            provider.shutdown()


def require(config: TraceConfig) -> None:
    """Raises InputError where these settings cannot be taken; nothing begins. Blocking."""
    if config.enabled:
        _exporter(config)


_here = Tracing()
configure = _here.configure
close = _here.close


def span(name: str, **attributes: str | int) -> AbstractContextManager[None]:
    """A span around a block; an exception that leaves it makes it an error, told by its type alone."""
    tracer = _here.tracer
    return _OFF if tracer is None else _traced(tracer, name, attributes)


@contextmanager
def _traced(tracer: Tracer, name: str, attributes: dict[str, str | int]) -> Iterator[None]:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - loaded already: there is a tracer

    named = {f"spvnode.{key}": value for key, value in attributes.items()}
    with tracer.start_as_current_span(
        name, attributes=named, record_exception=False, set_status_on_exception=False
    ) as found:
        try:
            yield
        except Exception as error:
            found.set_attribute("error.type", type(error).__name__)
            found.set_status(StatusCode.ERROR)
            raise


def _exporter(config: TraceConfig) -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InputError(
            "trace.enabled", f"OpenTelemetry is missing ({error.name}): {how_to_install('otel')}"
        ) from error
    return OTLPSpanExporter(endpoint=config.endpoint, timeout=config.timeout)


def _provider(config: TraceConfig) -> TracerProvider:
    exporter = _exporter(config)
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

    _forward_logs()
    return provider_with(BatchSpanProcessor(exporter, MAX_WAITING, max_export_batch_size=MAX_BATCH), config.sample)


def provider_with(processor: SpanProcessor, sample: float) -> TracerProvider:
    """A provider of our own, which nothing else in the process sees."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    about = Resource.create({"service.name": "spvnode", "service.version": VERSION})
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(sample)), resource=about, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


class _Forward(logging.Handler):
    """What OpenTelemetry has to say, in our log's form."""

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        log.warning("opentelemetry", said=record.getMessage()[:500])


def _forward_logs() -> None:
    logger = logging.getLogger(_OTEL_LOGGER)
    if not any(isinstance(one, _Forward) for one in logger.handlers):
        logger.addHandler(_Forward(logging.WARNING))
        logger.propagate = False
