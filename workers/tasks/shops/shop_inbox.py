"""Import the webhooks of connected shops.

Rows are imported before the deliveries are marked as done. After a kill in between, the next
attempt imports them again, which changes nothing.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery.exceptions import SoftTimeLimitExceeded

from retention import clock, erasure, faults
from retention.campaigns.measurement.redemption_and_bounce_files import LISTENER
from retention.connect import connections, registry
from retention.connect.connections import first_cancelled
from retention.connect.contract import ConnectorError, Page, chunks
from retention.connect.live import events, inbox
from retention.connect.registry import SHOPS
from retention.connect.shops import webhook_inbox
from retention.connect.shops.loading import import_page, shop_customers
from retention.connect.shops.webhook_inbox import MAX_ATTEMPTS, MAX_TRIES, Results, next_attempt
from retention.data_subject.export import export
from retention.db import Transaction
from retention.db.tables import Connection, Job, Webhook
from retention.errors import BadInput, Refused
from retention.lake import Lake
from retention.text import gettext
from workers import user_roles
from workers.data import source_pulls
from workers.job_requests import Forget, ShopInbox
from workers.queue import jobs
from workers.queue.completion import publish_part
from workers.tasks.interface import Attachment, Context, Outcome, Post

if TYPE_CHECKING:
    from retention.connect.contract import Notice

log = logging.getLogger(__name__)

AT_ONCE = 500  # deliveries of one import
SCORED_SINCE = timedelta(days=2)  # customers of older events are scored by the next sweep
ERASED_AT_ONCE = 500  # customers of one job, when a shop erases all of them


@dataclass
class Batch:
    """Deliveries of one connection on their way into the lake."""

    connection: Connection
    results: "Results"
    attempts: dict[int, int]
    """Earlier attempts by delivery."""
    notices: list[tuple[int, "Notice"]] = field(default_factory=list)
    problems: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of deliveries by code and detail, of those that cannot be imported."""

    def set_aside(self, delivery_id: int, code: str, detail: str) -> None:
        """Set a delivery aside with its reason."""
        self.results.set_aside[delivery_id] = f"{code}: {detail}" if detail else code
        self.problems[code, detail] += 1

    def settle(self, broken: "dict[int, Exception]") -> None:
        """Try deliveries later that break the import; raise what breaks every one of several.

        That is a fault of the lake or of this release, and no delivery may be blamed for it.
        """
        if len(broken) > 1 and len(broken) == len(self.imported()):
            first, *others = broken.values()
            if all(type(each) is type(first) for each in others):
                raise first
        for delivery_id, error in broken.items():
            self.failed(delivery_id, error)

    def failed(self, delivery_id: int, error: Exception) -> None:
        """Try a delivery later that breaks the import, or quarantine it after the last try."""
        name, attempts = self.connection.name, self.attempts[delivery_id]
        log.error("the webhook %s of %s breaks the import", delivery_id, name, exc_info=error)
        if attempts + 1 < MAX_TRIES:
            self.results.later[delivery_id] = next_attempt(attempts, None)
        else:
            self.results.quarantined[delivery_id] = f"unreadable: {type(error).__name__}"
            self.problems["unreadable", ""] += 1

    def imported(self) -> "list[tuple[int, Notice]]":
        """Return the notices that were neither set aside nor put off."""
        results = self.results
        other = {*results.set_aside, *results.quarantined, *results.later}
        return [(number, notice) for number, notice in self.notices if number not in other]


def run(request: ShopInbox, context: Context) -> Outcome:
    """Import all waiting deliveries, oldest first."""
    lake = Lake.open(context.settings)
    counts: Counter[str] = Counter(done=0, set_aside=0, later=0)
    while True:
        with context.database.reading() as session:
            deliveries = webhook_inbox.waiting(session, AT_ONCE)
            ids = dict.fromkeys(row.connection_id for row in deliveries)
            connections = [session.get_one(Connection, each) for each in ids]
        if not deliveries:
            break
        for connection in connections:
            own = [row for row in deliveries if row.connection_id == connection.id]
            counts.update(_import_deliveries(lake, context, connection, own, counts))
    with context.database.transaction() as session:
        webhook_inbox.drop_old(session)
    return Outcome(dict(counts))


def _import_deliveries(
    lake: "Lake",
    context: Context,
    connection: Connection,
    deliveries: Sequence[Webhook],
    before: Counter[str],
) -> dict[str, int]:
    """Import deliveries of one connection, and store what became of them."""
    batch = Batch(connection, Results(), {row.id: row.attempts for row in deliveries})
    _read(context, batch, deliveries)
    batch.settle(_import(lake, context, batch, batch.notices))
    _set_unclear_erasures_aside(context, batch)
    posts = [*_export_posts(lake, context, batch), *_problem_posts(context, batch)]
    batch.results.done = [number for number, _ in batch.imported()]
    erased = [
        (f"hook:{number}:{part}", ids)
        for number, notice in batch.imported()
        for part, ids in enumerate(_to_erase(lake, notice, connection.kind))
    ]
    submitted: list[Job] = []

    def apply(session: Transaction) -> None:
        webhook_inbox.mark(session, batch.results)
        _score_soon(session, batch)
        submitted[:] = _submit_erasures(session, connection, erased)

    results = batch.results
    set_aside = len(results.set_aside) + len(results.quarantined)
    counts = {"done": len(results.done), "set_aside": set_aside, "later": len(results.later)}
    publish_part(context, dict(before + Counter(counts)), apply, posts)
    jobs.wake_all(context.settings, submitted)
    return counts


def _read(context: Context, batch: Batch, deliveries: Sequence[Webhook]) -> None:
    """Read deliveries; those that the platform cannot explain now are tried later."""
    try:
        access = connections.access(context.settings, batch.connection)
        keep = first_cancelled(context.database, batch.connection)
        connector: Any = registry.connector(batch.connection.kind, access, keep)
    except (BadInput, Refused) as error:
        for row in deliveries:
            batch.results.later[row.id] = next_attempt(row.attempts, None)
        log.error("the connection %s cannot be used: %s", batch.connection.name, error)
        return
    try:
        for row in deliveries:
            try:
                notice = connector.read(row.topic, row.body, row.delivery_id)
                "".join([*notice.forget, *notice.export]).encode()  # no lone surrogates
            except ConnectorError as error:
                # A key that was changed at the shop first is changed here soon.
                may_change = error.is_temporary or error.code in ("access_denied", "scope_missing")
                if may_change and row.attempts < MAX_ATTEMPTS:
                    batch.results.later[row.id] = next_attempt(row.attempts, error.retry_at)
                else:
                    batch.set_aside(row.id, error.code, error.detail)
            except (TypeError, ValueError, KeyError, LookupError, AttributeError):
                log.exception("cannot read the webhook %s of %s", row.id, batch.connection.name)
                batch.set_aside(row.id, "changed_schema", row.topic)
            except SoftTimeLimitExceeded:  # it is raised once
                raise
            except Exception as error:
                batch.failed(row.id, error)
            else:
                batch.notices.append((row.id, notice))
    finally:
        connector.close()


def _import(
    lake: "Lake", context: Context, batch: Batch, notices: "Sequence[tuple[int, Notice]]"
) -> dict[int, Exception]:
    """Import the rows of deliveries together; if that fails, those of each half.

    Returns the errors of those that break the import.
    """
    try:
        _import_pages(lake, context, batch, [page for _, each in notices for page in each.pages])
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        if not isinstance(error, BadInput) and faults.diagnose(error, context.settings):
            raise  # a full disk, for example, is no fault of a delivery
        if len(notices) > 1:
            middle = len(notices) // 2
            first = _import(lake, context, batch, notices[:middle])
            return first | _import(lake, context, batch, notices[middle:])
        if not isinstance(error, BadInput):
            return {notices[0][0]: error}
        batch.set_aside(notices[0][0], "refused", str(error))
    return {}


def _import_pages(lake: "Lake", context: Context, batch: Batch, pages: Sequence["Page"]) -> None:
    # Rows of one import have the same columns: what a row lacks, it must not overwrite. Events are
    # never overwritten.
    alike: dict[tuple[str, frozenset[str]], list[dict[str, Any]]] = {}
    for page in pages:
        for row in page.rows:
            columns = frozenset(row) if page.table != "events" else frozenset()
            alike.setdefault((page.table, columns), []).append(row)
    order = ("items", "customers", "events")
    for (table, _), rows in sorted(alike.items(), key=lambda item: order.index(item[0][0])):
        page = Page(table, rows, {})  # type: ignore[arg-type]
        import_page(lake, context.database, page, name=batch.connection.name, listener=LISTENER)


def _score_soon(session: Transaction, batch: Batch) -> None:
    """Ask the live path to score the customers of new events and to check alerts for them.

    It gets the ids alone: the lake has the events, and only an import recognises one whose time has
    moved, such as the return of a cancelled order that was edited again.
    """
    since = clock.now() - SCORED_SINCE
    pages = [(number, page) for number, notice in batch.imported() for page in notice.pages]
    touched = {
        (number, row["customer_id"])
        for number, page in pages
        for row in (page.rows if page.table == "events" else ())
        if row["occurred_at"] >= since
    }
    ordered = sorted(touched)
    customers = [{"customer_id": customer} for _, customer in ordered]
    keys = [events.content_key("delivery", *each) for each in ordered]
    inbox.add(session, customers, keys, "touched")


def _problem_posts(context: Context, batch: Batch) -> list[Post]:
    """Say once a day in the channel of the connection what cannot be imported, and why."""
    connection = batch.connection
    with context.database.reading() as session:
        channel = connection.channel or source_pulls.owner(session)
    today = f"{clock.wall().astimezone(context.settings.zone):%Y-%m-%d}"
    return [
        Post(
            "connect/set_aside",
            {"name": connection.name, "code": code, "detail": detail, "number": number},
            key=f"set-aside:{connection.id}:{code}:{today}",
            channel=channel,
        )
        for (code, detail), number in batch.problems.items()
        if channel
    ]


def _export_posts(lake: "Lake", context: Context, batch: Batch) -> list[Post]:
    """Send what is stored about customers who asked for it to an admin."""
    posts: list[Post] = []
    for number, notice in batch.imported():
        if not notice.export:
            continue
        ids = sorted({each for known in notice.export for each in erasure.merged_ids(lake, known)})
        with context.database.reading() as session:
            content, rows = export(lake, session, ids)
            admin = user_roles.an_admin(session, batch.connection.created_by)
        if not admin:
            batch.set_aside(number, "no_admin", "")
            continue
        values = {"name": batch.connection.name, "rows": rows}
        key = f"data-request:{batch.connection.id}:{notice.delivery_id}"
        name = f"data-request-{notice.delivery_id[:20]}.json"
        file = Attachment(name, "application/json", content, sensitive=True)
        posts.append(Post("connect/data_request", values, key=key, channel=admin, file=file))
    return posts


def _set_unclear_erasures_aside(context: Context, batch: Batch) -> None:
    """Refuse to erase a whole shop while customers could be another shop's."""
    own = batch.connection
    with context.database.reading() as session:
        alike = [each for each in connections.connections(session) if each.kind == own.kind]
    others = [each.name for each in alike if each.id != own.id and each.state != "removed"]
    if not others:
        return
    text = gettext(
        "no customer was erased, because {other} is connected too and the customers of both "
        "shops cannot be told apart; erase each with `/retention forget`"
    ).format(other=", ".join(others))
    for number, notice in batch.notices:
        if notice.forget_all:
            batch.set_aside(number, "refused", text)


def _to_erase(lake: "Lake", notice: "Notice", source: str) -> list[tuple[str, ...]]:
    """Return the customers of each erasure."""
    if not notice.forget_all:
        return [tuple(notice.forget)] if notice.forget else []
    found = shop_customers(lake, source, [kind for kind in SHOPS if kind != source])
    return [tuple(some) for some in chunks(found, ERASED_AT_ONCE)]


def _submit_erasures(
    session: Transaction, connection: Connection, erased: Sequence[tuple[str, tuple[str, ...]]]
) -> list[Job]:
    submitted = []
    for idem_key, ids in erased:
        request = Forget(customer_id=ids[0], more_ids=ids[1:])
        submitted += jobs.submit_due(session, request, idem_key, channel=connection.channel).new
    return submitted
