"""Expose request, queue, job and post metrics to Prometheus."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from bot.http import health
from retention import clock
from retention.connect.live import inbox
from retention.db import Database, Transaction
from retention.db.tables import Campaign, Job, Process, Schedule, Send, Slot, Source

Numbers = dict[tuple[str, ...], float]  # by label values
RECENT, MOST_JOBS = timedelta(hours=1), 2_000  # of which durations are shown
RUNNING = ("sending", "live")  # states of campaigns with copies on their way

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
    """Read what the database says of the installation at each scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        name, text = "retention_database_up", "Whether the database answers."
        yield from self._disk()
        try:
            with self._database.reading() as session:
                found = [metric for part in _PARTS for metric in part(session)]
        except SQLAlchemyError:
            yield GaugeMetricFamily(name, text, 0)
            return
        yield GaugeMetricFamily(name, text, 1)
        yield from found

    def _disk(self) -> Iterator[Metric]:
        with suppress(OSError):
            free = shutil.disk_usage(self._database.settings.home).free
            yield GaugeMetricFamily("retention_disk_free_bytes", "Free space of the home.", free)


def _work(session: Transaction) -> Iterator[Metric]:
    by_state = health.counts(session)
    yield _gauges("retention_jobs", "Jobs by state.", ["state"], _keyed(by_state.jobs))
    text = "Posts to Slack by state."
    yield _gauges("retention_outbox", text, ["state"], _keyed(by_state.outbox))
    text = "Jobs waiting for a worker."
    yield GaugeMetricFamily("retention_queue_depth", text, by_state.jobs["queued"])
    name, text = "retention_queue_oldest_seconds", "How long the oldest job has waited."
    yield GaugeMetricFamily(name, text, by_state.oldest_queued_seconds)


def _durations(session: Transaction) -> Iterator[Metric]:
    since = clock.wall() - RECENT
    columns = (Job.kind, Job.started_at, Job.finished_at)
    recent = session.own(Job, state="done").where(Job.finished_at > since)
    newest = recent.order_by(Job.created_at.desc()).limit(MOST_JOBS).with_only_columns(*columns)
    seconds: dict[tuple[str, ...], list[float]] = {}
    for kind, started, finished in session.execute(newest).tuples():
        if started and finished:
            seconds.setdefault((kind,), []).append((finished - started).total_seconds())
    name, text = "retention_job_seconds", "of the jobs that ended in the last hour"
    longest = {kind: max(all_of_kind) for kind, all_of_kind in seconds.items()}
    yield _gauges(f"{name}_max", f"Longest duration {text}.", ["kind"], longest)
    mean = {kind: sum(all_of_kind) / len(all_of_kind) for kind, all_of_kind in seconds.items()}
    yield _gauges(f"{name}_mean", f"Mean duration {text}.", ["kind"], mean)


def _processes(session: Transaction) -> Iterator[Metric]:
    rows = {(row.name, row.role): row for row in session.scalars(select(Process))}
    now, labels = clock.wall(), ["name", "role"]
    silent: Numbers = {
        key: max(0.0, (now - row.seen_at).total_seconds()) for key, row in rows.items()
    }
    text = "Since the last report of a process."
    yield _gauges("retention_process_silent_seconds", text, labels, silent)
    memory: Numbers = {
        key: row.details["memory"] for key, row in rows.items() if "memory" in row.details
    }
    text = "Memory of a process and its children."
    yield _gauges("retention_process_memory_bytes", text, labels, memory)


def _live_events(session: Transaction) -> Iterator[Metric]:
    name, text = "retention_live_events_waiting", "Live events that wait for the lake."
    yield GaugeMetricFamily(name, text, inbox.waiting(session))
    name, text = "retention_live_oldest_seconds", "How long the oldest live event has waited."
    yield GaugeMetricFamily(name, text, inbox.oldest_seconds(session))


def _sends(session: Transaction) -> Iterator[Metric]:
    # Of running campaigns only: a scrape must not count the sends of years.
    running = (
        session.own(Campaign).where(Campaign.state.in_(RUNNING)).with_only_columns(Campaign.id)
    )
    counted = (
        select(Send.channel, Send.state, func.count())
        .where(Send.campaign_id.in_(running))
        .group_by(Send.channel, Send.state)
    )
    numbers: Numbers = {
        (channel, state): n for channel, state, n in session.execute(counted).tuples()
    }
    text = "Copies of running campaigns."
    yield _gauges("retention_sends", text, ["channel", "state"], numbers)


def _sources(session: Transaction) -> Iterator[Metric]:
    now, labels = clock.now(), ["source"]
    rows = session.scalars(session.own(Source, state="active")).all()
    ages: Numbers = {
        (row.name,): (now - row.pulled_at).total_seconds() for row in rows if row.pulled_at
    }
    text = "Since the last pull of a source, in business time."
    yield _gauges("retention_source_age_seconds", text, labels, ages)
    up: Numbers = {(row.name,): float(row.problem is None) for row in rows}
    yield _gauges("retention_source_up", "Whether a source has no problem.", labels, up)


def _schedules(session: Transaction) -> Iterator[Metric]:
    rows = session.scalars(session.own(Schedule).where(Schedule.active.is_(True))).all()
    paused = sum(row.paused_at is not None for row in rows)
    numbers: Numbers = {("running",): len(rows) - paused, ("paused",): paused}
    yield _gauges("retention_schedules", "Schedules by state.", ["state"], numbers)
    since = clock.now() - timedelta(days=1)
    skipped = session.own(Slot, state="skipped").where(Slot.due_at > since)
    number = session.scalar(skipped.with_only_columns(func.count())) or 0
    name, text = "retention_slots_skipped", "Times of schedules that did not run in the last day."
    yield GaugeMetricFamily(name, text, number)


_PARTS: tuple[Callable[[Transaction], Iterator[Metric]], ...] = (
    _work,
    _durations,
    _processes,
    _live_events,
    _sends,
    _sources,
    _schedules,
)


def _keyed(numbers: Mapping[str, float]) -> Numbers:
    return {(name,): number for name, number in numbers.items()}


def _gauges(name: str, text: str, labels: list[str], numbers: Numbers) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in numbers.items():
        family.add_metric(values, number)
    return family


def exposition(database: Database) -> tuple[bytes, str]:
    """Return the metrics and their content type."""
    registry = CollectorRegistry()
    registry.register(_own)
    registry.register(DatabaseCollector(database))
    return generate_latest(registry), CONTENT_TYPE_LATEST
