"""Expose request, queue, job and post metrics to Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from bot import health
from retention.connect import inbox
from retention.db import Database
from retention.settings import Settings

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
    """Count one answered request.

    Parameters
    ----------
    path : str
        The route.
    status : int
        HTTP status.
    seconds : float
        Time to answer.
    """
    _REQUESTS.labels(path, str(status)).inc()
    _SECONDS.labels(path).observe(seconds)


class DatabaseCollector(Collector):
    """Read jobs and outbox at each scrape."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("retention_database_up", "Whether the database answers.")
        try:
            with self._database.reading() as session:
                by_state = health.counts(session, self._settings)
                live_events = inbox.waiting(session, self._settings)
        except SQLAlchemyError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        jobs = GaugeMetricFamily("retention_jobs", "Jobs by state.", labels=["state"])
        for state, number in by_state.jobs.items():
            jobs.add_metric([state], number)
        yield jobs
        posts = GaugeMetricFamily("retention_outbox", "Posts to Slack by state.", labels=["state"])
        for state, number in by_state.outbox.items():
            posts.add_metric([state], number)
        yield posts
        depth = GaugeMetricFamily("retention_queue_depth", "Jobs waiting for a worker.")
        depth.add_metric([], by_state.jobs["queued"])
        yield depth
        oldest = GaugeMetricFamily(
            "retention_queue_oldest_seconds", "How long the oldest job has waited."
        )
        oldest.add_metric([], by_state.oldest_queued_seconds)
        yield oldest
        live = GaugeMetricFamily(
            "retention_live_events_waiting", "Live events that wait for the lake."
        )
        live.add_metric([], live_events)
        yield live


def exposition(database: Database, settings: Settings) -> tuple[bytes, str]:
    """Return the metrics and their content type.

    Parameters
    ----------
    database : Database
        The installation's database.
    settings : Settings
        The installation.

    Returns
    -------
    tuple of (bytes, str)
    """
    registry = CollectorRegistry()
    registry.register(_own)
    registry.register(DatabaseCollector(database, settings))
    return generate_latest(registry), CONTENT_TYPE_LATEST
