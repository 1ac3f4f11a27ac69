"""Store sources of scheduled imports and what their pulls brought, and remove them."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Select, delete, exists, func, select
from sqlalchemy.exc import IntegrityError

from retention import clock
from retention.connect import connections
from retention.connect.contract import ConnectorError
from retention.connect.shops import webhook_inbox
from retention.db import Transaction, tables
from retention.db.audit import record
from retention.db.tables import Connection, ShopDiscount, Source, SourceRun, Webhook
from retention.errors import BadInput, Conflict, unknown_name
from retention.text import gettext

if TYPE_CHECKING:
    from retention.connect.sources.pulling import Batch


ProblemCode = Literal[
    "access_denied",
    "unavailable",  # temporary
    "schema_changed",
    "shrunk",
    "currency_changed",
    "unreadable",
    "silent",  # nothing is wrong with what came, but nothing new comes
]


class SourceProblem(Exception):
    """Stop a pull; nothing was imported."""

    def __init__(self, code: ProblemCode, **facts: Any) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


def problem_of(error: ConnectorError) -> SourceProblem:
    """Return the problem of a source whose platform did not do what was asked."""
    if error.code in ("access_denied", "scope_missing"):
        return SourceProblem("access_denied", detail=error.detail)
    if error.is_temporary:
        return SourceProblem("unavailable", detail=error.detail)
    if error.code == "changed_schema":
        return SourceProblem("schema_changed", detail=error.detail)
    return SourceProblem("unreadable", text=error.detail or error.code)


MAX_NAME = 40
_AT_THE_SHOP = ("wanted", "made")  # states of codes that only this access can delete
_NAME = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{MAX_NAME - 1}}}")
COUNTS = ("read", "accepted", "duplicate", "quarantined", "late")  # rows of a pull
KEPT_RUNS = 200  # of each source
GAP_RUNS = 20  # with new rows, that give a source's usual gap
MAX_GAPS, MIN_PERIODS = 3, 2  # silence: so many usual gaps, and at least so many periods
RETRY = timedelta(minutes=10)  # after a temporary failure, or a pull that did not end
PATIENCE = 3  # pulls in a row that may fail for a while before people hear of it


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source that a person adds.

    `kind`: ``files``, ``object_store``, ``query`` or ``shop``.
    `location`: pattern, URL without a password, or kind of the platform.
    `timezone`: IANA zone of ``every``.
    """

    name: str
    kind: str
    location: str
    every: str
    timezone: str
    next_at: datetime
    query: str | None = None
    watermark_column: str | None = None
    table_name: str | None = None
    map_text: str | None = None
    format_name: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    channel: str | None = None


def add(
    session: Transaction, new: NewSource, *, by: str, connection: Connection | None = None
) -> Source:
    """Store a source.

    Raises `Conflict`: the name is taken, or a second shop is added.
    """
    if new.kind == "shop":
        check_only_shop(session)
    if _find(session, new.name):
        message = gettext(
            "There is a source {name!r} already; remove it first, or choose another name."
        )
        raise Conflict(message.format(name=new.name))
    plain = asdict(new)
    secrets = connections.encrypt(session.settings.keys, new.secrets, place_of(new))
    source = Source(
        **plain | {"secrets": secrets},
        team_id=session.settings.team_id,
        connection_id=connection.id if connection else None,
        watermark={},
        columns={},
        problem_facts={},
        created_by=by,
        created_at=clock.now(),
    )
    session.add(source)
    session.flush()
    record(session, by, "source.add", new.name, clock.now(), {"kind": new.kind})
    return source


def check_only_shop(session: Transaction) -> None:
    """Check that no shop is connected: ids of two shops could be the same."""
    shop = session.scalar(session.own(Source, kind="shop").limit(1))
    if shop is not None:
        message = gettext(
            "The shop {name!r} is connected, and one installation holds one shop. Remove it "
            "with `retention source remove {name}`, or use a second installation."
        )
        raise Conflict(message.format(name=shop.name))


def check_name(name: str) -> str:
    """Return a valid name in lower case; blanks become hyphens."""
    lower = "-".join(name.lower().split())
    if not _NAME.fullmatch(lower):
        message = gettext(
            "{name!r} cannot name a source; use letters, digits and -, at most {limit} "
            "characters, such as orders."
        )
        raise BadInput(message.format(name=name, limit=MAX_NAME), field="name")
    return lower


def find(session: Transaction, name: str) -> Source:
    if source := _find(session, "-".join(name.lower().split())):
        return source
    similar = gettext("There is no source {name!r}. Did you mean {nearest}?")
    other = gettext("There is no source {name!r}.")
    raise unknown_name(
        name, [each.name for each in sources(session)], similar, other, hint="sources"
    )


def sources(session: Transaction) -> list[Source]:
    """Return all sources by name."""
    return list(session.scalars(session.own(Source).order_by(Source.name)))


def due(session: Transaction, now: datetime) -> list[Source]:
    """Return the active sources whose next pull is due."""
    active = session.own(Source, state="active").where(Source.next_at <= now)
    return list(session.scalars(active.order_by(Source.next_at, Source.id)))


def next_due(session: Transaction, after: datetime) -> datetime | None:
    """Return the time of the next pull after a moment; overdue ones do not hide it."""
    active = session.own(Source, state="active").where(Source.next_at > after)
    return session.scalar(active.with_only_columns(func.min(Source.next_at)))


def pause(session: Transaction, name: str, by: str) -> Source:
    """Pause a source; pausing twice changes nothing."""
    source = find(session, name)
    if source.state != "paused":
        source.state = "paused"
        record(session, by, "source.pause", source.name, clock.now(), {})
    return source


def resume(session: Transaction, name: str, by: str, next_at: datetime) -> Source:
    """Resume a paused source with its next pull; pulls of the pause are not made up for."""
    source = find(session, name)
    if source.state == "paused":
        now = clock.now()
        source.state, source.next_at = "active", next_at
        # The time of the pause is no silence.
        source.new_rows_at = now if source.new_rows_at else None
        record(session, by, "source.resume", source.name, now, {})
    return source


def store_batch(session: Transaction, source_id: int, batch: "Batch", now: datetime) -> None:
    """Store what an import brought: the watermark, the columns, and when rows were new."""
    source = session.get(Source, source_id)
    if source is None:
        return
    source.watermark = batch.watermark
    if batch.columns:
        source.columns = batch.columns
    if batch.accepted:
        source.new_rows_at = now


@dataclass(frozen=True, slots=True)
class News:
    """What changed for the people of a source's channel."""

    problem: str | None = None
    over: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def store_run(
    session: Transaction,
    run: SourceRun,
    problem: SourceProblem | None,
    period: timedelta,
    *,
    is_unfinished: bool,
) -> News:
    """Store a pull, and say what is news.

    People hear of a problem once, and once that it is over. A temporary one is news after
    `PATIENCE` pulls in a row.

    `run`: with its source, job, time and counts.
    `period`: time between two pulls.
    `is_unfinished`: whether the source has more, which a pull soon after brings.
    """
    source, now = session.get(Source, run.source_id), run.at
    if source is None:
        return News()
    run.team_id, run.problem = source.team_id, problem.code if problem else None
    session.add(run)
    session.flush()
    old = session.scalars(_runs(source.id).with_only_columns(SourceRun.id).offset(KEPT_RUNS)).all()
    session.change(delete(SourceRun).where(SourceRun.id.in_(old)))
    source.pulled_at = now
    is_away = problem is not None and problem.code == "unavailable"
    if is_away or is_unfinished:
        source.next_at = min(source.next_at or now + RETRY, now + RETRY)
    if is_away:
        source.failures += 1
        if source.failures < PATIENCE:
            return News()
    else:
        source.failures = 0
    problem = problem or silence(session, source, now, period)
    code, facts = (problem.code, problem.facts) if problem else (None, {})
    before = source.problem
    # The rows and reasons of a problem change at each pull; only other columns are news.
    is_same = before == code and (code != "schema_changed" or source.problem_facts == facts)
    source.problem, source.problem_facts = code, facts
    if is_same:
        return News()
    return News(code, before if code is None else None, facts)


def silence(
    session: Transaction, source: Source, now: datetime, period: timedelta
) -> SourceProblem | None:
    """Return the problem of a source without new rows for much longer than usual.

    `source`: as stored, after its pull.
    `period`: time between two pulls.
    """
    if source.new_rows_at is None:
        return None
    with_rows = _runs(source.id).where(SourceRun.rows_accepted > 0).limit(GAP_RUNS)
    limit = longest_usual_gap([run.at for run in session.scalars(with_rows)], period)
    if now - source.new_rows_at <= limit:
        return None
    return SourceProblem("silent", since=source.new_rows_at.isoformat())


def longest_usual_gap(times: Sequence[datetime], period: timedelta) -> timedelta:
    """Return how long a source may bring no new row before it counts as silent.

    `times`: when new rows came, newest first.
    `period`: time between two pulls; the gap of a source that brought rows only once.

    Examples
    --------
    >>> from datetime import UTC
    >>> days = [datetime(2025, 7, day, tzinfo=UTC) for day in (9, 7, 5)]
    >>> longest_usual_gap(days, timedelta(days=1)).days
    6
    """
    gaps = [(later - earlier).total_seconds() for later, earlier in itertools.pairwise(times)]
    usual = timedelta(seconds=median(gaps)) if gaps else period
    return max(MAX_GAPS * usual, MIN_PERIODS * period)


def summary(session: Transaction, source: Source) -> dict[str, Any]:
    """Return a source with its last pull as data for lists and ``--json``."""
    same = (
        *("name", "kind", "location", "every", "timezone", "channel", "state"),
        *("problem", "problem_facts", "created_by"),
    )
    next_at = source.next_at if source.state == "active" else None
    return {
        **{name: getattr(source, name) for name in same},
        "table": source.table_name,
        "next_at": next_at and next_at.isoformat(),
        "pulled_at": source.pulled_at and source.pulled_at.isoformat(),
        "new_rows_at": source.new_rows_at and source.new_rows_at.isoformat(),
        "last": next(iter(runs(session, source, 1)), None),
    }


def runs(session: Transaction, source: Source, number: int = 10) -> list[dict[str, Any]]:
    """Return the newest pulls of a source as data."""
    return [
        {"at": run.at.isoformat(), "problem": run.problem}
        | {name: getattr(run, f"rows_{name}") for name in COUNTS}
        for run in session.scalars(_runs(source.id).limit(number))
    ]


def place_of(source: NewSource | Source) -> dict[str, str]:
    """Return where a source's secrets may be sent."""
    return {**source.config, "kind": source.kind, "location": source.location}


def rotate_all(session: Transaction) -> int:
    """Encrypt the credentials of all sources anew with the current key."""
    rows = sources(session)
    for row in rows:
        row.secrets = connections.rotate(session.settings.keys, row.secrets)
    return len(rows)


def _runs(source_id: int) -> Select[SourceRun]:
    """Select the pulls of a source, the newest first."""
    own = select(SourceRun).filter_by(source_id=source_id)
    return own.order_by(SourceRun.at.desc(), SourceRun.id.desc())


def _find(session: Transaction, name: str) -> Source | None:
    return session.scalar(session.own(Source, name=name))


def remove(session: Transaction, name: str, by: str) -> Source:
    """Delete a source, its runs and its access; imported data stays."""
    source = find(session, name)
    connection = session.get(Connection, source.connection_id or 0)
    if connection is not None:
        _check_codes(session, connection)
        _check_webhooks(session, connection)
    runs = delete(SourceRun).filter_by(source_id=source.id)
    for gone in (runs, delete(Source).filter_by(id=source.id)):
        session.change(gone)
    if connection is not None:
        _remove_access(session, connection)
    record(session, by, "source.remove", source.name, clock.now(), {"kind": source.kind})
    return source


def _check_codes(session: Transaction, connection: Connection) -> None:
    """Refuse while codes are valid that nobody could delete at the shop afterwards."""
    campaign, code = tables.Campaign, tables.ShopCode
    has_codes = exists().where(code.discount_id == ShopDiscount.id, code.state.in_(_AT_THE_SHOP))
    own = ShopDiscount.connection_id == connection.id, ShopDiscount.ends_at > clock.now()
    last = session.execute(
        select(campaign.name, ShopDiscount.ends_at)
        .join(campaign, campaign.id == ShopDiscount.campaign_id)
        .where(*own, has_codes)
        .order_by(ShopDiscount.ends_at.desc())
        .limit(1)
    ).first()
    if last is not None:
        raise Conflict(
            gettext(
                "The codes of the campaign {campaign} are valid at {name} until {day}. Stop the "
                "campaign, or remove {name} after that day."
            ).format(
                campaign=last.name,
                name=connection.name,
                day=f"{last.ends_at.astimezone(session.settings.zone):%Y-%m-%d}",
            )
        )


def _check_webhooks(session: Transaction, connection: Connection) -> None:
    """Refuse while webhooks wait that would be lost; those that failed for a day do not count."""
    own = {"connection_id": connection.id, "state": webhook_inbox.WAITING}
    waiting = select(func.count(Webhook.id)).filter_by(**own)
    number = session.scalar(waiting.where(Webhook.attempts < webhook_inbox.MAX_ATTEMPTS))
    if number:
        message = gettext(
            "Webhooks of {name} wait to be imported ({number:,}); remove it in a minute."
        )
        raise Conflict(message.format(number=number, name=connection.name))


def _remove_access(session: Transaction, connection: Connection) -> None:
    """Delete a connection; one that campaigns refer to only loses its secrets and its name."""
    try:
        with session.begin_nested():
            session.change(delete(Connection).where(Connection.id == connection.id))
    except IntegrityError:
        connection.name, connection.state = f"removed-{connection.id}", "removed"
        place = connections.place_of(connection)
        connection.secrets = connections.encrypt(session.settings.keys, {}, place)
