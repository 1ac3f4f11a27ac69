"""Export spans with OpenTelemetry. Its standard variables say where to."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C = TraceContextTextMapPropagator()


class Exporter:
    """Opens spans, and exports them in a thread.

    `service`: name of this process, unless ``OTEL_SERVICE_NAME`` is set.
    """

    def __init__(self, service: str) -> None:
        name = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": service}
        self._provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("retention")

    @contextmanager
    def span(
        self,
        name: str,
        parent: str | None,
        since: datetime | None,
        attributes: Mapping[str, str | int],
    ) -> Iterator[str | None]:
        """Run a block as a span; yield its ``traceparent``, or None if the SDK is disabled."""
        with self._tracer.start_as_current_span(
            name,
            _W3C.extract({"traceparent": parent} if parent else {}, Context()),
            attributes=attributes,
            start_time=int(since.timestamp() * 1e9) if since else None,
            record_exception=False,  # its text may name a customer
            set_status_on_exception=False,
        ):
            ids: dict[str, str] = {}
            _W3C.inject(ids)
            try:
                yield ids.get("traceparent")
            except Exception as error:
                self.fail(type(error).__name__)
                raise

    def fail(self, code: str) -> None:
        """Mark the span as failed."""
        span = trace.get_current_span()
        span.set_status(trace.StatusCode.ERROR)
        span.set_attribute("error.type", code)

    def flush(self) -> None:
        """Export all spans."""
        self._provider.force_flush()
