"""Store sources of scheduled imports and what their pulls brought."""

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from retention import clock
from retention.connect.problems import SourceProblem
from retention.db.audit import record
from retention.db.tables import Connection, Source, SourceRun
from retention.errors import BadInput, Conflict
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.connect.pulling import Batch

_NO_SYNC = {"synchronize_session": False}
MAX_NAME = 40
_NAME = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{MAX_NAME - 1}}}")
KEPT_RUNS = 200  # of each source
GAP_RUNS = 20  # with new rows, that give a source's usual gap
MAX_GAPS, MIN_PERIODS = 3, 2  # silence: so many usual gaps, and at least so many periods
RETRY = timedelta(minutes=10)  # after a temporary failure, or a pull that did not end
PATIENCE = 3  # pulls in a row that may fail for a while before people hear of it


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source that a person adds.

    Parameters
    ----------
    name : str
        A valid name.
    kind : str
        ``files``, ``object_store``, ``query`` or ``shop``.
    location : str
        Pattern, URL without a password, or kind of the platform.
    every : str
        How often it is pulled.
    timezone : str
        IANA zone of ``every``.
    next_at : datetime
        First pull.
    secrets : mapping
        Credentials by name.
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
    session: Session,
    settings: Settings,
    new: NewSource,
    *,
    by: str,
    connection: Connection | None = None,
) -> Source:
    """Store a source.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    new : NewSource
        What to store.
    by : str
        Who adds it.
    connection : Connection, optional
        Of a shop.

    Raises
    ------
    Conflict
        The name is taken, or a second shop is added.
    """
    from retention.connect import secrets

    if new.kind == "shop":
        check_only_shop(session, settings)
    if session.scalar(select(Source.id).where(*_named(settings, new.name))):
        raise Conflict(
            gettext(
                "There is a source {name!r} already; remove it first, or choose another name."
            ).format(name=new.name)
        )
    source = Source(
        team_id=settings.team_id,
        name=new.name,
        kind=new.kind,
        connection_id=connection.id if connection else None,
        location=new.location,
        query=new.query,
        watermark_column=new.watermark_column,
        table_name=new.table_name,
        map_text=new.map_text,
        format_name=new.format_name,
        config=dict(new.config),
        secrets=secrets.encrypt(settings.keys, dict(new.secrets)),
        every=new.every,
        timezone=new.timezone,
        channel=new.channel,
        next_at=new.next_at,
        watermark={},
        columns={},
        problem_facts={},
        created_by=by,
        created_at=clock.now(),
    )
    session.add(source)
    session.flush()
    record(session, settings, by, "source.add", new.name, clock.now(), {"kind": new.kind})
    return source


def check_only_shop(session: Session, settings: Settings) -> None:
    """Check that no shop is connected: ids of two shops could be the same.

    Raises
    ------
    Conflict
        There is one. The message names it.
    """
    shop = session.scalar(
        select(Source).where(Source.team_id == settings.team_id, Source.kind == "shop").limit(1)
    )
    if shop is not None:
        raise Conflict(
            gettext(
                "The shop {name!r} is connected, and one installation holds one shop. Remove it "
                "with `retention source remove {name}`, or use a second installation."
            ).format(name=shop.name)
        )


def check_name(name: str) -> str:
    """Return a valid name in lower case; blanks become hyphens.

    Raises
    ------
    BadInput
        The name is too long or has other characters than letters, digits, - and _.
    """
    lower = "-".join(name.lower().split())
    if not _NAME.fullmatch(lower):
        raise BadInput(
            gettext(
                "{name!r} cannot name a source; use letters, digits and -, at most {limit} "
                "characters, such as orders."
            ).format(name=name, limit=MAX_NAME),
            field="name",
        )
    return lower


def find(session: Session, settings: Settings, name: str) -> Source:
    """Return a source by name.

    Raises
    ------
    BadInput
        There is none. The message names the nearest.
    """
    source = session.scalar(select(Source).where(*_named(settings, "-".join(name.lower().split()))))
    if source is not None:
        return source
    names = [other.name for other in sources(session, settings)]
    nearest = difflib.get_close_matches(name.lower(), names, 1)
    message = (
        gettext("There is no source {name!r}. Did you mean {nearest}?")
        if nearest
        else gettext("There is no source {name!r}; `/retention source list` shows all.")
    )
    raise BadInput(message.format(name=name, nearest="".join(nearest)))


def sources(session: Session, settings: Settings) -> list[Source]:
    """Return all sources by name."""
    return list(
        session.scalars(
            select(Source).where(Source.team_id == settings.team_id).order_by(Source.name)
        )
    )


def due(session: Session, settings: Settings, now: datetime) -> list[Source]:
    """Return the active sources whose next pull is due."""
    return list(
        session.scalars(
            select(Source)
            .where(
                Source.team_id == settings.team_id,
                Source.state == "active",
                Source.next_at <= now,
            )
            .order_by(Source.next_at, Source.id)
        )
    )


def next_due(session: Session, settings: Settings, after: datetime) -> datetime | None:
    """Return the time of the next pull after a moment; overdue ones do not hide it."""
    return session.scalar(
        select(Source.next_at)
        .where(
            Source.team_id == settings.team_id,
            Source.state == "active",
            Source.next_at > after,
        )
        .order_by(Source.next_at)
        .limit(1)
    )


def pause(session: Session, settings: Settings, name: str, by: str) -> Source:
    """Pause a source; pausing twice changes nothing."""
    source = find(session, settings, name)
    if source.state != "paused":
        source.state = "paused"
        record(session, settings, by, "source.pause", source.name, clock.now(), {})
    return source


def resume(session: Session, settings: Settings, name: str, by: str, next_at: datetime) -> Source:
    """Resume a paused source with its next pull; pulls of the pause are not made up for.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    name : str
        Name of the source.
    by : str
        Who resumes it.
    next_at : datetime
        Next pull.
    """
    source = find(session, settings, name)
    if source.state == "paused":
        now = clock.now()
        source.state, source.next_at = "active", next_at
        # The time of the pause is no silence.
        source.new_rows_at = now if source.new_rows_at else None
        record(session, settings, by, "source.resume", source.name, now, {})
    return source


def store_batch(session: Session, source_id: int, batch: "Batch", now: datetime) -> None:
    """Store what an import brought: the watermark, the columns, and when rows were new.

    Parameters
    ----------
    session : Session
        The transaction that follows the import.
    source_id : int
        Id of the source; one that was removed is ignored.
    batch : Batch
        The import.
    now : datetime
        Business time.
    """
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
    """What changed for the people of a source's channel.

    Parameters
    ----------
    problem : str or None
        Code of a problem that began.
    over : str or None
        Code of a problem that is over.
    facts : dict
        Of the problem.
    """

    problem: str | None = None
    over: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def store_run(
    session: Session,
    source_id: int,
    job_id: str,
    total: "Batch | None",
    problem: SourceProblem | None,
    now: datetime,
    period: timedelta,
    *,
    is_unfinished: bool = False,
) -> News:
    """Store a pull, and say what is news.

    People hear of a problem once, and once that it is over. A temporary one is news after
    `PATIENCE` pulls in a row.

    Parameters
    ----------
    session : Session
        The job's last transaction.
    source_id : int
        Id of the source; one that was removed has no news.
    job_id : str
        The job.
    total : Batch or None
        Sum of its imports.
    problem : SourceProblem or None
        What stopped it.
    now : datetime
        Business time.
    period : timedelta
        Time between two pulls.
    is_unfinished : bool
        Whether the source has more, which a pull soon after brings.
    """
    source = session.get(Source, source_id)
    if source is None:
        return News()
    counts = total.counts() if total else {}
    session.add(
        SourceRun(
            team_id=source.team_id,
            source_id=source.id,
            job_id=job_id,
            at=now,
            problem=problem.code if problem else None,
            **counts,
        )
    )
    session.flush()
    _drop_old_runs(session, source.id)
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
    session: Session, source: Source, now: datetime, period: timedelta
) -> SourceProblem | None:
    """Return the problem of a source without new rows for much longer than usual.

    Parameters
    ----------
    session : Session
        Open session.
    source : Source
        As stored, after its pull.
    now : datetime
        Business time.
    period : timedelta
        Time between two pulls.
    """
    if source.new_rows_at is None:
        return None
    times = session.scalars(
        select(SourceRun.at)
        .where(SourceRun.source_id == source.id, SourceRun.rows_accepted > 0)
        .order_by(SourceRun.at.desc())
        .limit(GAP_RUNS)
    ).all()
    limit = longest_usual_gap(times, period)
    if now - source.new_rows_at <= limit:
        return None
    return SourceProblem("silent", since=source.new_rows_at.isoformat())


def longest_usual_gap(times: Sequence[datetime], period: timedelta) -> timedelta:
    """Return how long a source may bring no new row before it counts as silent.

    Parameters
    ----------
    times : sequence of datetime
        When new rows came, newest first.
    period : timedelta
        Time between two pulls; the gap of a source that brought rows only once.

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


def summary(session: Session, source: Source) -> dict[str, Any]:
    """Return a source with its last pull as data for lists and ``--json``."""
    run = session.scalar(
        select(SourceRun)
        .where(SourceRun.source_id == source.id)
        .order_by(SourceRun.at.desc(), SourceRun.id.desc())
        .limit(1)
    )
    return {
        "name": source.name,
        "kind": source.kind,
        "location": source.location,
        "table": source.table_name,
        "every": source.every,
        "timezone": source.timezone,
        "channel": source.channel,
        "state": source.state,
        "next_at": source.next_at.isoformat()
        if source.next_at and source.state == "active"
        else None,
        "pulled_at": source.pulled_at.isoformat() if source.pulled_at else None,
        "new_rows_at": source.new_rows_at.isoformat() if source.new_rows_at else None,
        "problem": source.problem,
        "problem_facts": source.problem_facts,
        "last": run_data(run) if run else None,
        "created_by": source.created_by,
    }


def run_data(run: SourceRun) -> dict[str, Any]:
    """Return a pull as data."""
    return {
        "at": run.at.isoformat(),
        "problem": run.problem,
        "read": run.rows_read,
        "accepted": run.rows_accepted,
        "duplicate": run.rows_duplicate,
        "quarantined": run.rows_quarantined,
        "late": run.rows_late,
    }


def runs(session: Session, source: Source, number: int = 10) -> list[dict[str, Any]]:
    """Return the newest pulls of a source as data."""
    newest = select(SourceRun).where(SourceRun.source_id == source.id)
    ordered = newest.order_by(SourceRun.at.desc(), SourceRun.id.desc()).limit(number)
    return [run_data(run) for run in session.scalars(ordered)]


def rotate_all(session: Session, settings: Settings) -> int:
    """Encrypt the credentials of all sources anew with the current key.

    Returns
    -------
    int
        Number of sources.
    """
    from retention.connect import secrets

    rows = sources(session, settings)
    for row in rows:
        row.secrets = secrets.rotate(settings.keys, row.secrets)
    return len(rows)


def _drop_old_runs(session: Session, source_id: int) -> None:
    newest = (
        select(SourceRun.id)
        .where(SourceRun.source_id == source_id)
        .order_by(SourceRun.at.desc(), SourceRun.id.desc())
        .offset(KEPT_RUNS)
    )
    old = session.scalars(newest).all()
    if old:
        session.execute(delete(SourceRun).where(SourceRun.id.in_(old)), execution_options=_NO_SYNC)


def _named(settings: Settings, name: str) -> tuple[Any, ...]:
    return Source.team_id == settings.team_id, Source.name == name
