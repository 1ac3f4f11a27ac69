"""Give each request, job and message a trace, and export spans with OpenTelemetry.

The ids exist without OpenTelemetry: logs and references show them. Spans are exported if
``OTEL_EXPORTER_OTLP_ENDPOINT`` is set and the extra ``traces`` is installed. Attributes are codes,
numbers and ids of jobs. They never hold a text, a person or the message of an error.
"""

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from retention.traces.exporter import Exporter

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
FLUSH_SECONDS = 2.0  # of an ending process for its last spans, if the collector hangs
service = "retention"  # each process sets its own


@dataclass(frozen=True, slots=True)
class _Place:
    """The span that runs, as a W3C ``traceparent``, and its job."""

    traceparent: str
    job: str | None


_place: ContextVar[_Place | None] = ContextVar("trace", default=None)


@contextmanager
def span(
    name: str,
    parent: str | None = None,
    *,
    job: str | None = None,
    since: datetime | None = None,
    **attributes: str | int,
) -> Iterator[None]:
    """Run a block as a span.

    `parent`: a stored ``traceparent``. By default the span that runs now, or a new trace begins.
    `job`: id of the job that it is about; spans below inherit it.
    `since`: the span began then.
    """
    above = _place.get()
    if above:
        parent, job = parent or above.traceparent, job or above.job
    with ExitStack() as stack:
        made = f"00-{_trace_of(parent) or secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        if exporter := _exporter():
            named = attributes | ({"job": job} if job else {})
            made = stack.enter_context(exporter.span(name, parent, since, named)) or made
        token = _place.set(_Place(made, job))
        stack.callback(_place.reset, token)
        yield


def traceparent() -> str | None:
    """Return the span that runs, to store it with a row."""
    place = _place.get()
    return place.traceparent if place else None


def log_fields() -> dict[str, str]:
    """Return the ids that a log line shows."""
    place = _place.get()
    if place is None:
        return {}
    return {"trace_id": _trace_of(place.traceparent), **({"job": place.job} if place.job else {})}


def reference(error: BaseException) -> str:
    """Return the trace id, for a person to paste, and mark the span as failed."""
    fail(type(error).__name__)
    return _trace_of(traceparent()) or secrets.token_hex(16)


def fail(code: str) -> None:
    """Mark the span as failed."""
    if exporter := _exporter():
        exporter.fail(code)


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function for another thread, where it runs below the span of now."""
    place = _place.get()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        token = _place.set(place)
        try:
            return function(*args, **kwargs)
        finally:
            _place.reset(token)

    return run


def flush() -> None:
    """Export the last spans of an ending process."""
    exporter = _exporter() if _exporter.cache_info().currsize else None
    if exporter:
        thread = threading.Thread(target=exporter.flush, daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


def _trace_of(parent: str | None) -> str:
    return parent.split("-")[1] if parent else ""


@cache
def _exporter() -> "Exporter | None":
    """Return what opens spans of OpenTelemetry, if they are exported."""
    if not any(map(os.environ.get, ENDPOINTS)):
        return None
    try:
        from retention.traces.exporter import Exporter
    except ImportError as error:
        log.warning("no trace is exported: %s; pip install 'retention-desk[traces]'", error)
        return None
    return Exporter(service)
