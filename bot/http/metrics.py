"""Expose request, queue, job and post metrics to Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from bot.http import health
from retention.connect.live import inbox
from retention.db import Database

_own = CollectorRegistry()
_REQUESTS = Counter(
    "retention_http_requests", "Requests answered.", ("path", "status"), registry=_own
)
_SECONDS = Histogram(
    "retention_http_request_seconds",
    "Time to answer a request.",
    ("path",),
    registry=_own,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0),
)
_REFUSED = Counter(
    "retention_http_refused",
    "Requests refused before anything was done with them.",
    ("reason",),
    registry=_own,
)


def refused(reason: str) -> None:
    """Count one refused request."""
    _REFUSED.labels(reason).inc()


def observe(path: str, status: int, seconds: float) -> None:
    """Count one answered request."""
    _REQUESTS.labels(path, str(status)).inc()
    _SECONDS.labels(path).observe(seconds)


class DatabaseCollector(Collector):
    """Read jobs and outbox at each scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        name, text = "retention_database_up", "Whether the database answers."
        try:
            with self._database.reading() as session:
                by_state = health.counts(session)
                live_events = inbox.waiting(session)
        except SQLAlchemyError:
            yield GaugeMetricFamily(name, text, 0)
            return
        yield GaugeMetricFamily(name, text, 1)
        yield _by_state("retention_jobs", "Jobs by state.", by_state.jobs)
        yield _by_state("retention_outbox", "Posts to Slack by state.", by_state.outbox)
        text = "Jobs waiting for a worker."
        yield GaugeMetricFamily("retention_queue_depth", text, by_state.jobs["queued"])
        name, text = "retention_queue_oldest_seconds", "How long the oldest job has waited."
        yield GaugeMetricFamily(name, text, by_state.oldest_queued_seconds)
        text = "Live events that wait for the lake."
        yield GaugeMetricFamily("retention_live_events_waiting", text, live_events)


def _by_state(name: str, text: str, numbers: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, number in numbers.items():
        family.add_metric([state], number)
    return family


def exposition(database: Database) -> tuple[bytes, str]:
    """Return the metrics and their content type."""
    registry = CollectorRegistry()
    registry.register(_own)
    registry.register(DatabaseCollector(database))
    return generate_latest(registry), CONTENT_TYPE_LATEST
