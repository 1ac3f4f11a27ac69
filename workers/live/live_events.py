"""Move live events from the inbox into the lake, and score and alert for their customers.

One round takes the events of the last second or two. It appends them to the lake in one commit,
scores exactly the customers touched, and publishes scores, alerts and redeemed codes in the SQL
transaction that deletes the batches from the inbox. A crash before that transaction repeats the
round: the lake recognises its events, so nothing is lost or doubled.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from retention import clock
from retention.alerts.live import LiveChecks, customer_alerts, note_reported
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.campaigns.measurement.late_orders import update_late_results
from retention.connect.live import inbox, silent_senders
from retention.db import Database, Transaction
from retention.db.engine import session_lock
from retention.db.insert import among, insert_missing
from retention.db.tables import DirectoryEntry, EventBatch, LiveScore
from retention.lake import Lake
from retention.lake.customer_lake import CustomerHistory, CustomerLake
from retention.lake.importing.import_log import log_live_events
from retention.paths import create_private_folder
from retention.privacy import pseudonym
from retention.privacy.erased import load_erased
from retention.registry import champion, definition_in_force
from retention.registry.model_cache import churn_model
from retention.risk.policy import load_policy
from retention.settings import Settings
from workers.data import source_pulls
from workers.delivery import outbox
from workers.queue import live_processes
from workers.schedule import due_alerts

if TYPE_CHECKING:
    import pandas as pd

    from retention.alerts.live import LiveCheck
    from retention.lake.importing.live_import import LiveReport
    from retention.risk.live import Population

log = logging.getLogger(__name__)

BATCH_SECONDS = 1.0  # from the start of a round to the next
IDLE_SECONDS = 0.2  # between two looks into an empty inbox
MAX_EVENTS = 100_000  # of one round
# Of the past, in one round: a month costs a file. So no one waits long for them.
MAX_OLD_EVENTS, MAX_OLD_MONTHS = 5_000, 12
MAX_SCORED = 20_000  # customers whose history is in memory together
MAX_WAIT_SECONDS = 30.0  # between two attempts after errors
IDENTIFY_SECONDS = 60.0  # between two merges of customers from `identify`
MEASURE_SECONDS = 3600.0  # between two measurements of the whole population
PRUNE_SECONDS = 600.0
RECOUNT_SECONDS = 3600.0  # between two looks for late orders of closed campaigns
MAX_KNOWN = 1_000_000  # customers that are known to be in the directory
FAILPOINT = "RETENTION_LIVE_FAILPOINT"  # tests: end the process at this step


class TakenByOther(Exception):
    """Another process has published the batches of this round."""


@dataclass(slots=True)
class Scored:
    """Scores of the customers touched, and the alerts that fired."""

    at: datetime
    version: str
    customers: set[str] = field(default_factory=set)
    scores: list[dict[str, Any]] = field(default_factory=list)
    checks: "list[LiveCheck]" = field(default_factory=list)


class Drain:
    """The live path of one installation."""

    def __init__(self, database: Database) -> None:
        self._settings, self._database = database.settings, database
        self._lake = Lake.open(database.settings)
        self._history = CustomerHistory(self._lake)
        self._checks = LiveChecks()
        self._standard = Standard(database)
        self._currency = ""  # not known yet
        self._known: set[str] = set()
        self._identified_at = float("-inf")
        self._pruned_at = self._recounted_at = time.monotonic()
        self._has_new = False

    def round(self) -> int:
        """Handle the waiting events once; return their number."""
        handled = self._events("events") + self._events("old") + self._touched()
        if time.monotonic() - self._identified_at >= IDENTIFY_SECONDS:
            handled += self._customers()
            self._identified_at = time.monotonic()
        if time.monotonic() - self._pruned_at >= PRUNE_SECONDS:
            self._pruned_at = time.monotonic()
            with self._database.transaction() as session:
                inbox.prune_keys(session)
        self._has_new |= handled > 0
        if self._has_new and time.monotonic() - self._recounted_at >= RECOUNT_SECONDS:
            self._recounted_at, self._has_new = time.monotonic(), False
            update_late_results(self._lake, self._database)
        return handled

    def _events(self, kind: Literal["events", "old"]) -> int:
        from retention.lake.importing import live_import

        most = MAX_OLD_EVENTS if kind == "old" else MAX_EVENTS
        batches, lines = self._waiting(kind, most)
        if not batches:
            return 0
        failpoint("read")
        later: list[dict[str, Any]] = []
        if kind == "old":
            rows = [json.loads(line) for line in lines.splitlines()]
            now, later = inbox.split_months(rows, MAX_OLD_MONTHS)
            lines = inbox.ndjson(now)
        report = live_import.append(
            self._lake,
            self._database,
            self._settings,
            lines,
            name=f"{batches[0].received_at:%Y%m%dT%H%M%S%f}-{batches[0].id}",
            currency=self._currency,
        )
        self._currency = report.currency
        failpoint("appended")
        scored = self._scored(report.customers)
        failpoint("scored")
        with self._database.transaction() as session:
            self._publish(session, batches, report.customers, scored, report)
            inbox.put(session, later, "old")
            failpoint("published")
        failpoint("committed")
        if live_import.compact_events(self._lake.root):
            failpoint("compacted")
        return sum(batch.rows for batch in batches) - len(later)

    def _touched(self) -> int:
        """Score customers whose events an import brought."""
        batches, lines = self._waiting("touched")
        if not batches:
            return 0
        customers = frozenset(json.loads(line)["customer_id"] for line in lines.splitlines())
        scored = self._scored(customers)
        with self._database.transaction() as session:
            self._publish(session, batches, customers, scored)
        return sum(batch.rows for batch in batches)

    def _waiting(self, kind: inbox.Kind, most: int = MAX_EVENTS) -> tuple[list[EventBatch], bytes]:
        """Return the oldest batches of a kind, and their rows as NDJSON."""
        with self._database.reading() as session:
            batches = inbox.oldest(session, kind, most)
        return batches, b"\n".join(inbox.unpack(batch.body) for batch in batches)

    # ------------------------------------------------------------ scores and alerts

    def _scored(self, customers: frozenset[str]) -> Scored | None:
        """Score the customers; None if that is not possible now.

        Their events are in the lake, so the next sweep scores them.
        """
        now = clock.now()
        population = self._standard.population(now)
        if population is None or not customers:
            return None
        policy = load_policy(self._settings)
        scored = Scored(now, population.version)
        ordered = sorted(customers)
        try:
            for start in range(0, len(ordered), MAX_SCORED):
                part = ordered[start : start + MAX_SCORED]
                with CustomerLake(self._lake, self._history, part) as lake:
                    frame = population.scores(lake, now, policy)
                    scored.customers |= lake.customers
                    scored.scores += frame.to_dict("records")
                    scored.checks += self._alerts(lake, population, policy, frame, now)
        except Exception:  # a wrong score must not stop the events behind it
            log.exception("live events could not be scored; the next sweep does it")
            return None
        return scored

    def _alerts(
        self, lake: Any, population: "Population", policy: Any, frame: "pd.DataFrame", now: datetime
    ) -> "list[LiveCheck]":
        quiet = due_alerts.quiet_hours(self._settings)
        if quiet and quiet.contains(now.astimezone(self._settings.zone).time()):
            return []  # the check after the quiet hours finds them
        with self._database.reading() as session:
            stored = customer_alerts(session)
            if not stored:
                return []
            return self._checks.run(
                session, lake, stored, now, frame, lambda at: population.scores(lake, at, policy)
            )

    # ------------------------------------------------------------ publishing

    def _publish(
        self,
        session: Transaction,
        batches: Sequence[EventBatch],
        customers: frozenset[str],
        scored: Scored | None,
        report: "LiveReport | None" = None,
    ) -> None:
        """Delete the batches and publish everything that follows from them."""
        settings = self._settings
        if not inbox.remove(session, batches):
            raise TakenByOther
        if report and report.codes:
            uses = [
                CodeUse(use.code, use.at, "event", use.customer_id, use.order_id, use.event_id)
                for use in report.codes
            ]
            redeem(session, uses)
        # A customer may have been erased since the append.
        gone = load_erased(self._database, settings).among(customers)
        self._add_to_directory(session, customers - gone)
        if report:
            log_live_events(session, report.report)
            back = silent_senders.note(session, report.sources, clock.now())
            for post in source_pulls.back_posts(session, back, clock.now()):
                outbox.put(session, post, default_channel=None)
        if scored is None:
            return
        _store_scores(session, scored, gone)
        if scored.checks:
            note_reported(session, scored.checks, scored.at)
            results = [(check.alert_id, check.check) for check in scored.checks]
            key = f"live-{batches[0].id}-{batches[0].received_at:%Y%m%d%H%M%S%f}"
            for post in due_alerts.publish(session, results, scored.at, key):
                outbox.put(session, post, default_channel=None)

    def _add_to_directory(self, session: Transaction, customers: frozenset[str]) -> None:
        """Add new customers, so that commands know them; imports fill in the rest."""
        new = sorted(customers - self._known)
        people = self._lake.identities.canonical_ids() if new else {}
        rows = [
            {
                "team_id": self._settings.team_id,
                "customer_id": customer,
                "canonical_id": people.get(customer),
                "pseudonym": pseudonym(self._settings.key, customer),
            }
            for customer in new
        ]
        insert_missing(session, DirectoryEntry, rows)
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        self._known.update(new)

    # ------------------------------------------------------------ customers

    def _customers(self) -> int:
        """Merge the customers of `identify` calls into the lake."""
        from retention.lake.importing.live_import import merge

        batches, lines = self._waiting("customers")
        if not batches:
            return 0
        merge(self._lake, self._database, lines)
        failpoint("merged")
        with self._database.transaction() as session:
            if not inbox.remove(session, batches):
                raise TakenByOther
        return sum(batch.rows for batch in batches)


class Standard:
    """The newest measurement of the whole population.

    The first one is made at once. Later ones are made in a thread with a connection of its own,
    while the old one still serves.
    """

    def __init__(self, database: Database) -> None:
        self._settings, self._database = database.settings, database
        self._population: Population | None = None
        self._measured = float("-inf")
        self._thread: threading.Thread | None = None

    def population(self, now: datetime) -> "Population | None":
        """Return the newest measurement; None while there are no customers."""
        if self._population is None:
            if time.monotonic() - self._measured > IDENTIFY_SECONDS:
                self._measure(now)
        elif self._is_old() and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(
                target=self._measure, args=(now,), name="population", daemon=True
            )
            self._thread.start()
        return self._population

    def _is_old(self) -> bool:
        from retention.risk import rules

        if time.monotonic() - self._measured > MEASURE_SECONDS:
            return True
        with self._database.reading() as session:
            row = champion(session, "churn")
        version = row.version if row else rules.VERSION
        return self._population is not None and version != self._population.version

    def _measure(self, now: datetime) -> None:
        from retention.risk.live import measure_population

        self._measured = time.monotonic()
        try:
            lake = Lake.open(self._settings)
            with self._database.reading() as session:
                row = champion(session, "churn")
            definition = definition_in_force(lake, self._database)
            self._population = measure_population(
                lake,
                churn_model(self._settings, row) if row else None,
                now,
                window=definition.window,
            )
            lake.con.disconnect()
        except Exception:
            log.exception("the population could not be measured; it is tried again later")


def _store_scores(session: Transaction, scored: Scored, gone: Collection[str]) -> None:
    """Replace the live scores of the customers; inactive and erased ones have none."""
    team_id = session.settings.team_id
    touched = among(session, LiveScore.customer_id, sorted(scored.customers))
    session.change(delete(LiveScore).where(LiveScore.team_id == team_id, touched))
    shared = {"team_id": team_id, "as_of": scored.at, "model_version": scored.version}
    left = (score for score in scored.scores if score["customer_id"] not in gone)
    insert_missing(session, LiveScore, [{**score, **shared} for score in left])


def failpoint(step: str) -> None:
    """End the process as ``kill -9`` would, if a test asks for it at this step."""
    if os.environ.get(FAILPOINT) == step:
        os._exit(137)


@contextmanager
def only_one(settings: Settings) -> Iterator[bool]:
    """Take the lock of the live path, of this host or of all that share a store.

    It ends with the process.
    """
    if settings.lake_store:
        with session_lock(settings, f"live {settings.lake_store}", wait=False) as is_ours:
            yield is_ours
        return
    path = create_private_folder(settings.home / "run") / "live.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def run(settings: Settings, stop: threading.Event) -> None:
    """Handle live events until ``stop`` is set."""
    database = Database.of(settings)
    live_processes.keep_reporting(database, "live", stop)
    while not stop.is_set():
        with only_one(settings) as is_ours:
            if is_ours:
                _loop(database, stop)
        stop.wait(5)


def _loop(database: Database, stop: threading.Event) -> None:
    drain: Drain | None = None
    wait = BATCH_SECONDS
    while not stop.is_set():
        started, handled = time.monotonic(), 0
        try:
            if drain is None and _has_work(database):
                drain = Drain(database)  # the lake's libraries need much memory
            handled = drain.round() if drain else 0
            wait = BATCH_SECONDS
        except Exception as error:
            if isinstance(error, SQLAlchemyError | TakenByOther):
                log.warning("live events wait: %s", error)
            else:
                log.exception("a round of live events failed; it is repeated")
            wait = min(2 * wait, MAX_WAIT_SECONDS)
        if handled or wait > BATCH_SECONDS:
            stop.wait(max(0.0, wait - (time.monotonic() - started)))
        else:
            stop.wait(IDLE_SECONDS)


def _has_work(database: Database) -> bool:
    with database.reading() as session:
        return inbox.waiting(session) > 0
