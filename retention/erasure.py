"""Erase a customer from lake, database and quarantine.

Rows that enter counts (assignments, sends, coupons) stay under a random name. All other rows are
deleted. Each step may run twice.
"""
# ruff: noqa: S608 - SQL is built from quoted names and escaped literals (mapping.quoted, .literal)

import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Text, case, cast, delete, func, or_, select, update
from sqlalchemy.orm import Session

from retention.db.tables import (
    Assignment,
    Campaign,
    Coupon,
    DirectoryEntry,
    Feedback,
    File,
    Impression,
    Job,
    Outbox,
    Redemption,
    Send,
    Suppression,
)
from retention.lake import quarantine, store
from retention.lake.mapping import literal, quoted
from retention.lake.schema import TABLES
from retention.privacy.erased import ErasedCustomers
from retention.privacy.redaction import ERASED, CustomerNames
from retention.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Update

    from retention.lake import Lake

# Columns of the lake with customer ids. An erasure deletes their rows.
_CUSTOMER_COLUMNS = {
    table: [column for column in ("customer_id", "same_as", "other_id") if column in table.names]
    for table in TABLES.values()
    if "customer_id" in table.names
}
_TABLES_WITH_CUSTOMERS = (
    Assignment,
    Send,
    Impression,
    Coupon,
    Redemption,
    DirectoryEntry,
    Suppression,
    Feedback,
)
ERASED_PREFIX = "erased-"  # prefix of the random name of an erased customer
_DIGITS = 7  # of the shortest telephone number that identifies a customer
_WITHOUT_SYNC = {"synchronize_session": False}


def merged_ids(lake: "Lake", customer_id: str) -> list[str]:
    """Return every id of a customer, merged ones included.

    Parameters
    ----------
    lake : Lake
        The shop's data.
    customer_id : str
        Any of the customer's ids.

    Returns
    -------
    list of str
        Sorted; at least ``customer_id``.
    """
    people = lake.identities.canonical_ids()
    canonical = people.get(customer_id, customer_id)
    return sorted(
        {
            canonical,
            customer_id,
            *(merged for merged, target in people.items() if target == canonical),
        }
    )


def ids_in_directory(session: Session, settings: Settings, ids: Sequence[str]) -> list[str]:
    """Return a customer's ids from the directory.

    The directory is in SQL. It is erased last, so a second run finds the ids here when the lake has
    none.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    ids : sequence of str
        All ids of the customer.

    Returns
    -------
    list of str
        The ids, with those merged into the same customer.
    """
    own_team = DirectoryEntry.team_id == settings.team_id
    canonical = func.coalesce(DirectoryEntry.canonical_id, DirectoryEntry.customer_id)
    canonical_ids = select(canonical).where(own_team, DirectoryEntry.customer_id.in_(ids))
    return list(
        session.scalars(
            select(DirectoryEntry.customer_id).where(own_team, canonical.in_(canonical_ids))
        )
    )


def contact_details(lake: "Lake", ids: Sequence[str]) -> list[str]:
    """Return these customers' e-mail addresses and telephone numbers.

    Parameters
    ----------
    lake : Lake
        The shop's data.
    ids : sequence of str
        Ids of the customers, as stored.

    Returns
    -------
    list of str
        Sorted and distinct. Cells such as "unknown" are left out.
    """
    rows = lake.table("customers", identity="stored")
    contacts = rows.filter(rows.customer_id.isin(list(ids))).select("email", "phone").execute()
    cells = {
        value.strip() for column in contacts for value in contacts[column] if isinstance(value, str)
    }
    return sorted(value for value in cells if _is_contact(value))


def _is_contact(cell: str) -> bool:
    """Return whether a cell is an address or a number.

    Many customers share "unknown" or "-".
    """
    return "@" in cell or sum(map(str.isdigit, cell)) >= _DIGITS


def erase_from_lake(lake: "Lake", ids: Sequence[str]) -> dict[str, int]:
    """Delete the customer's rows from the lake.

    Readers see the change at once. The nightly clean-up deletes the old files a day later.

    Parameters
    ----------
    lake : Lake
        The shop's data.
    ids : sequence of str
        All ids of the customer.

    Returns
    -------
    dict of str to int
        Number of rows by table.
    """
    id_list = ", ".join(literal(customer_id) for customer_id in ids)
    deleted: dict[str, int] = {}
    for table, columns in _CUSTOMER_COLUMNS.items():
        predicate = " OR ".join(f"{column} IN ({id_list})" for column in columns)
        with store.locked(lake.root, table):
            before = _rows(lake.root, table)
            if before:
                store.delete(lake.root, table, predicate)
            deleted[table.name] = before - _rows(lake.root, table)
    return deleted


def erase_from_quarantine(lake: "Lake", settings: Settings, identifiers: Sequence[str]) -> int:
    """Delete quarantined rows that hold a customer's identifier.

    Parameters
    ----------
    lake : Lake
        The shop's data.
    settings : Settings
        Of the installation.
    identifiers : sequence of str
        Ids, e-mail addresses (in any case) and telephone numbers.

    Returns
    -------
    int
        Number of deleted rows.
    """
    con, deleted = lake.duckdb, 0
    identifier_list = ", ".join(literal(identifier) for identifier in identifiers)
    addresses = (
        ", ".join(literal(identifier.lower()) for identifier in identifiers if "@" in identifier)
        or "NULL"
    )
    for path in quarantine.files(settings):
        read = f"read_parquet({literal(path)})"
        columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
        own = [quoted(name) for name in columns if name not in quarantine.META]
        condition = (
            " OR ".join(
                f"coalesce({cell} IN ({identifier_list}), false) OR coalesce(lower(trim({cell})) IN ({addresses}), false)"
                for cell in (f"{column}::VARCHAR" for column in own)
            )
            or "false"
        )
        total, matching = con.execute(
            f"SELECT count(*), count(*) FILTER ({condition}) FROM {read}"
        ).fetchall()[0]
        if matching == total:
            path.unlink(missing_ok=True)
        elif matching:
            rewritten = path.with_suffix(".erasing")
            con.execute(
                f"COPY (SELECT * FROM {read} WHERE NOT ({condition})) TO {literal(rewritten)} (FORMAT parquet)"
            )
            rewritten.replace(path)
        deleted += matching
    return deleted


def erase_from_sql(session: Session, settings: Settings, ids: Sequence[str]) -> dict[str, int]:
    """Delete or rename the customer's rows in SQL.

    The directory is left out.

    Unused codes become void and queued sends are cancelled. In campaigns that are not live yet, the
    customer's rows are deleted: nothing was sent, so no count needs them.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    ids : sequence of str
        All ids of the customer.

    Returns
    -------
    dict of str to int
        Number of deleted or renamed rows by table.
    """
    changed: dict[str, int] = {}

    def run(statement: Any, table: Any) -> None:
        outcome = session.execute(statement, execution_options=_WITHOUT_SYNC)
        changed[table.__tablename__] = changed.get(table.__tablename__, 0) + int(outcome.rowcount)  # type: ignore[attr-defined]

    unsent = select(Campaign.id).where(Campaign.window_ends_at.is_(None))
    for reserved in (Coupon, Assignment):
        run(
            delete(reserved).where(reserved.customer_id.in_(ids), reserved.campaign_id.in_(unsent)),
            reserved,
        )
    session.execute(
        update(Send)
        .where(Send.customer_id.in_(ids), Send.state == "queued")
        .values(state="cancelled", error="erased", error_code="erased"),
        execution_options=_WITHOUT_SYNC,
    )
    session.execute(
        update(Coupon)
        .where(Coupon.customer_id.in_(ids), Coupon.state.in_(("reserved", "issued")))
        .values(state="void"),
        execution_options=_WITHOUT_SYNC,
    )
    for customer_id in ids:
        random_name = f"{ERASED_PREFIX}{secrets.token_hex(8)}"
        for table in (Assignment, Send, Impression):
            run(
                update(table)
                .where(table.customer_id == customer_id)
                .values(customer_id=random_name),
                table,
            )
        run(
            update(Coupon)
            .where(Coupon.customer_id == customer_id)
            .values(customer_id=random_name, order_id=None),
            Coupon,
        )
        used = update(Redemption).where(Redemption.customer_id == customer_id)
        run(used.values(customer_id=random_name, order_id=None), Redemption)
    for personal in (Suppression, Feedback):
        run(delete(personal).where(personal.customer_id.in_(ids)), personal)
    return changed


def erase_from_directory(session: Session, ids: Sequence[str]) -> int:
    """Delete the customer's rows of the directory.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    ids : sequence of str
        All ids of the customer.

    Returns
    -------
    int
        Number of deleted rows.
    """
    rows = delete(DirectoryEntry).where(DirectoryEntry.customer_id.in_(ids))
    return int(session.execute(rows, execution_options=_WITHOUT_SYNC).rowcount)  # type: ignore[attr-defined]


def jobs_about(session: Session, settings: Settings, ids: Sequence[str]) -> list[str]:
    """Return the jobs with the customer as argument.

    Their kinds are score, recommend and forget.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    ids : sequence of str
        All ids of the customer.

    Returns
    -------
    list of str
        Job ids.
    """
    conditions = [Job.args[name].as_string().in_(ids) for name in ("customer_id", "merged")]
    return list(
        session.scalars(select(Job.id).where(Job.team_id == settings.team_id, or_(*conditions)))
    )


def posts_about(
    session: Session, settings: Settings, job_ids: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the messages with these jobs' results.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    job_ids : sequence of str
        Ids of the jobs.

    Returns
    -------
    list of tuple[str, str]
        Key and channel of each message.
    """
    keys = [f"job:{job_id}" for job_id in job_ids]
    rows = select(Outbox.key, Outbox.channel).where(
        Outbox.team_id == settings.team_id, or_(Outbox.job_id.in_(job_ids), Outbox.key.in_(keys))
    )
    return list(session.execute(rows).tuples())


def scrub_jobs(session: Session, job_ids: Sequence[str]) -> None:
    """Delete arguments, results and error texts of these jobs.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    job_ids : sequence of str
        Ids of the jobs.
    """
    error = case((Job.error.is_not(None), ERASED))
    session.execute(
        update(Job)
        .where(Job.id.in_(job_ids))
        .values(args={"customer_id": ERASED}, request_key=None, result=None, error=error),
        execution_options=_WITHOUT_SYNC,
    )


def jobs_mentioning(
    session: Session, settings: Settings, names: CustomerNames, since: datetime | None = None
) -> list[str]:
    """Return other jobs that may name the customer.

    The name may be in the result or in the error.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        The installation's.
    names : CustomerNames
        Everything that identifies the customer.
    since : datetime, optional
        Only jobs that ended at or after this time.

    Returns
    -------
    list of str
        Job ids.
    """
    ended = () if since is None else (Job.finished_at >= since,)
    text = or_(names.may_mention(Job.result), names.may_mention(Job.error))
    return list(
        session.scalars(select(Job.id).where(Job.team_id == settings.team_id, *ended, text))
    )


def redacted_job(session: Session, names: CustomerNames, job_id: str) -> "Update | None":
    """Build the update that redacts a job.

    It removes the customer from the job's result and error.

    A result may have 18 MB, so this takes seconds. The statement changes nothing if the job was
    updated meanwhile.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    names : CustomerNames
        Everything that identifies the customer.
    job_id : str
        The job to read.

    Returns
    -------
    Update or None
        None if the job does not name the customer.
    """
    text = cast(Job.result, Text)
    stored, failure = session.execute(select(text, Job.error).where(Job.id == job_id)).one()
    content = json.loads(stored or "null")
    result, error = names.redact(content), names.redact(failure)
    if (result, error) == (content, failure):
        return None
    same = (
        Job.id == job_id,
        text.is_not_distinct_from(stored),
        Job.error.is_not_distinct_from(failure),
    )
    return update(Job).where(*same).values(result=result, error=error)


def posts_mentioning(session: Session, settings: Settings, names: CustomerNames) -> list[str]:
    """Return keys of messages that may name the customer.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    names : CustomerNames
        Everything that identifies the customer.

    Returns
    -------
    list of str
        Outbox keys.
    """
    conditions = (
        Outbox.team_id == settings.team_id,
        Outbox.kind == "message",
        names.may_mention(Outbox.payload),
    )
    return list(session.scalars(select(Outbox.key).where(*conditions)))


def redacted_posts(
    session: Session, names: CustomerNames, which: ColumnElement[bool]
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return redacted messages that named the customer.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    names : CustomerNames
        Everything that identifies the customer.
    which : ColumnElement
        Condition on the outbox. Its rows are locked.

    Returns
    -------
    list of tuple[str, str, dict]
        Key, channel and redacted payload of each message.
    """
    rows = select(Outbox.key, Outbox.channel, Outbox.payload).where(Outbox.kind == "message", which)
    changed = []
    for key, channel, payload in session.execute(rows.order_by(Outbox.id).with_for_update()):
        without = names.redact(payload)
        if without != payload:
            changed.append((key, channel, without))
    return changed


def files_mentioning(
    session: Session, settings: Settings, names: CustomerNames, since: datetime | None = None
) -> list[str]:
    """Return unsent CSV files that name the customer.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    names : CustomerNames
        Everything that identifies the customer.
    since : datetime, optional
        Only files created at or after this time.

    Returns
    -------
    list of str
        Ids of the files.
    """
    created = () if since is None else (File.created_at >= since,)
    conditions = (
        File.team_id == settings.team_id,
        File.sensitive.is_(True),
        File.content.is_not(None),
        *created,
    )
    return [
        file_id
        for file_id, content in session.execute(select(File.id, File.content).where(*conditions))
        if names.is_listed_in((content or b"").decode("utf-8-sig", "replace"))
    ]


def scrub_own_job(session: Session, job_id: str) -> None:
    """Delete the customer's id from the erasing job.

    The job's result stays.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    job_id : str
        Id of the job.
    """
    session.execute(
        update(Job).where(Job.id == job_id).values(args={"customer_id": ERASED}, request_key=None),
        execution_options=_WITHOUT_SYNC,
    )


def remaining_rows(session: Session, ids: Sequence[str]) -> int:
    """Count SQL rows that still name the customer.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    ids : sequence of str
        All ids of the customer.

    Returns
    -------
    int
        0 after a complete erasure.
    """
    return sum(
        session.scalar(select(func.count()).select_from(table).where(table.customer_id.in_(ids)))
        or 0
        for table in _TABLES_WITH_CUSTOMERS
    )


def reappeared_ids(lake: "Lake", session: Session, erased: ErasedCustomers) -> list[str]:
    """Return erased ids that are stored again.

    A job that had read them before the erasure wrote them back.

    Parameters
    ----------
    lake : Lake
        The shop's data.
    session : Session
        The caller's transaction.
    erased : ErasedCustomers
        Hashes of the erased ids.

    Returns
    -------
    list of str
        Sorted.
    """
    if not erased.hashes:
        return []
    ids: set[str] = set()
    for table, columns in _CUSTOMER_COLUMNS.items():
        paths = store.files(store.open_table(lake.root, table))
        for column in columns if paths else ():
            query = (
                f"SELECT DISTINCT {column} FROM read_parquet({paths!r}) WHERE {column} IS NOT NULL"
            )
            ids.update(customer_id for (customer_id,) in lake.duckdb.execute(query).fetchall())
    for naming in _TABLES_WITH_CUSTOMERS:
        ids.update(filter(None, session.scalars(select(naming.customer_id).distinct())))
    return sorted(erased.among(ids))


def _rows(root: Path, table: Any) -> int:
    delta = store.open_table(root, table)
    return 0 if delta is None else sum(store.row_count(Path(path)) for path in store.files(delta))
