"""Erase a customer: everything that says who they were goes, the counts of what happened stay.

Each step may run twice. Rows that others are counted with (arms, sends, coupons) get a random name in the place of the
id; all else is deleted.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)

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
from retention.privacy.erased import Erased
from retention.privacy.redaction import ERASED, Names
from retention.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Update

    from retention.lake import Lake

# Where the lake holds customers: what an erasure deletes, and what is searched for whoever came back.
_PEOPLE = {
    table: [column for column in ("customer_id", "same_as", "other_id") if column in table.names]
    for table in TABLES.values()
    if "customer_id" in table.names
}
_NAMING = (Assignment, Send, Impression, Coupon, Redemption, DirectoryEntry, Suppression, Feedback)
NOBODY = "erased-"  # how what is counted of somebody begins once they are erased
_DIGITS = 7  # of the shortest telephone number that tells one customer
_QUIETLY = {"synchronize_session": False}


def ids_of(lake: "Lake", customer_id: str) -> list[str]:
    """Every id under which the customer is known: those that were merged with theirs too."""
    people = lake.identities.people()
    whom = people.get(customer_id, customer_id)
    return sorted({whom, customer_id, *(one for one, other in people.items() if other == whom)})


def ids_in_directory(session: Session, settings: Settings, ids: Sequence[str]) -> list[str]:
    """Ids that are one person with these by SQL's directory, which goes last: a second run finds no links in the lake."""
    mine = DirectoryEntry.team_id == settings.team_id
    canonical = func.coalesce(DirectoryEntry.canonical_id, DirectoryEntry.customer_id)
    whom = select(canonical).where(mine, DirectoryEntry.customer_id.in_(ids))
    return list(
        session.scalars(select(DirectoryEntry.customer_id).where(mine, canonical.in_(whom)))
    )


def contact_of(lake: "Lake", ids: Sequence[str]) -> list[str]:
    """E-mail addresses and telephone numbers of these ids: they too tell who somebody was."""
    rows = lake.table("customers", identity="stored")
    found = rows.filter(rows.customer_id.isin(list(ids))).select("email", "phone").execute()
    cells = {value.strip() for column in found for value in found[column] if isinstance(value, str)}
    return sorted(value for value in cells if _reaches(value))


def _reaches(cell: str) -> bool:
    """Whether a cell looks like an address or a number: of "unknown", "no" or "-" others have more than one."""
    return "@" in cell or sum(map(str.isdigit, cell)) >= _DIGITS


def from_lake(lake: "Lake", ids: Sequence[str]) -> dict[str, int]:
    """Delete the customer's rows of every table of the lake; how many, by table.

    No reader sees them from now on; the files that held them are dropped by the nightly tidying, a day later.
    """
    listed = ", ".join(literal(one) for one in ids)
    gone: dict[str, int] = {}
    for table, columns in _PEOPLE.items():
        predicate = " OR ".join(f"{column} IN ({listed})" for column in columns)
        with store.locked(lake.root, table):
            before = _rows(lake.root, table)
            if before:
                store.delete(lake.root, table, predicate)
            gone[table.name] = before - _rows(lake.root, table)
    return gone


def from_quarantine(lake: "Lake", settings: Settings, told: Sequence[str]) -> int:
    """Delete quarantined rows in which any column holds an id, an address (in any case) or a number of the customer's."""
    con, gone = lake.duckdb, 0
    listed = ", ".join(literal(one) for one in told)
    addresses = ", ".join(literal(one.lower()) for one in told if "@" in one) or "NULL"
    for path in quarantine.files(settings):
        read = f"read_parquet({literal(path)})"
        columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
        own = [quoted(name) for name in columns if name not in quarantine.META]
        named = (
            " OR ".join(
                f"coalesce({cell} IN ({listed}), false) OR coalesce(lower(trim({cell})) IN ({addresses}), false)"
                for cell in (f"{column}::VARCHAR" for column in own)
            )
            or "false"
        )
        held, hit = con.execute(
            f"SELECT count(*), count(*) FILTER ({named}) FROM {read}"
        ).fetchall()[0]
        if hit == held:
            path.unlink(missing_ok=True)
        elif hit:
            aside = path.with_suffix(".erasing")
            con.execute(
                f"COPY (SELECT * FROM {read} WHERE NOT ({named})) TO {literal(aside)} (FORMAT parquet)"
            )
            aside.replace(path)
        gone += hit
    return gone


def from_sql(session: Session, settings: Settings, ids: Sequence[str]) -> dict[str, int]:
    """Delete or rename the customer's rows in SQL but for the directory; how many, by table.

    Codes not used become void, copies not sent are cancelled. Of campaigns that have not gone live nothing of them stays: nobody
    was written to and nothing is counted, but somebody without a name would be sent a code.
    """
    gone: dict[str, int] = {}

    def run(statement: Any, table: Any) -> None:
        done = session.execute(statement, execution_options=_QUIETLY)
        gone[table.__tablename__] = gone.get(table.__tablename__, 0) + int(done.rowcount)  # type: ignore[attr-defined]

    unsent = select(Campaign.id).where(Campaign.window_ends_at.is_(None))
    for counted in (Coupon, Assignment):
        run(
            delete(counted).where(counted.customer_id.in_(ids), counted.campaign_id.in_(unsent)),
            counted,
        )
    session.execute(
        update(Send)
        .where(Send.customer_id.in_(ids), Send.state == "queued")
        .values(state="cancelled", error="erased", error_code="erased"),
        execution_options=_QUIETLY,
    )
    session.execute(
        update(Coupon)
        .where(Coupon.customer_id.in_(ids), Coupon.state.in_(("reserved", "issued")))
        .values(state="void"),
        execution_options=_QUIETLY,
    )
    for one in ids:
        nobody = f"{NOBODY}{secrets.token_hex(8)}"
        for table in (Assignment, Send, Impression):
            run(update(table).where(table.customer_id == one).values(customer_id=nobody), table)
        run(
            update(Coupon)
            .where(Coupon.customer_id == one)
            .values(customer_id=nobody, order_id=None),
            Coupon,
        )
        used = update(Redemption).where(Redemption.customer_id == one)
        run(used.values(customer_id=nobody, order_id=None), Redemption)
    for dropped in (Suppression, Feedback):
        run(delete(dropped).where(dropped.customer_id.in_(ids)), dropped)
    return gone


def from_directory(session: Session, ids: Sequence[str]) -> int:
    """Delete the customer's rows of the directory; how many."""
    rows = delete(DirectoryEntry).where(DirectoryEntry.customer_id.in_(ids))
    return int(session.execute(rows, execution_options=_QUIETLY).rowcount)  # type: ignore[attr-defined]


def jobs_about(session: Session, settings: Settings, ids: Sequence[str]) -> list[str]:
    """Jobs that were asked about the customer (score, recommend, forget)."""
    asked = [Job.args[name].as_string().in_(ids) for name in ("customer_id", "merged")]
    return list(session.scalars(select(Job.id).where(Job.team_id == settings.team_id, or_(*asked))))


def posts_about(
    session: Session, settings: Settings, job_ids: Sequence[str]
) -> list[tuple[str, str]]:
    """(key, channel) of the messages with those jobs' results."""
    keys = [f"job:{one}" for one in job_ids]
    rows = select(Outbox.key, Outbox.channel).where(
        Outbox.team_id == settings.team_id, or_(Outbox.job_id.in_(job_ids), Outbox.key.in_(keys))
    )
    return list(session.execute(rows).tuples())


def scrub_jobs(session: Session, job_ids: Sequence[str]) -> None:
    """What those jobs were asked and found out, or why they failed, away."""
    error = case((Job.error.is_not(None), ERASED))
    session.execute(
        update(Job)
        .where(Job.id.in_(job_ids))
        .values(args={"customer_id": ERASED}, request_key=None, result=None, error=error),
        execution_options=_QUIETLY,
    )


def jobs_naming(
    session: Session, settings: Settings, names: Names, since: datetime | None = None
) -> list[str]:
    """Other jobs whose result (a cohort, a dry run) or failure may name the customer; of those that ended since then."""
    ended = () if since is None else (Job.finished_at >= since,)
    text = or_(names.within(Job.result), names.within(Job.error))
    return list(
        session.scalars(select(Job.id).where(Job.team_id == settings.team_id, *ended, text))
    )


def redacted_job(session: Session, names: Names, job_id: str) -> "Update | None":
    """The statement that takes the customer out of what a job found out; None where it names them nowhere.

    It changes nothing where the job says something else meanwhile: it has ended anew, or another erasure was here. A result
    may have 18 MB: this takes seconds.
    """
    text = cast(Job.result, Text)
    held, failure = session.execute(select(text, Job.error).where(Job.id == job_id)).one()
    found = json.loads(held or "null")
    result, error = names.out_of(found), names.out_of(failure)
    if (result, error) == (found, failure):
        return None
    same = (
        Job.id == job_id,
        text.is_not_distinct_from(held),
        Job.error.is_not_distinct_from(failure),
    )
    return update(Job).where(*same).values(result=result, error=error)


def posts_naming(session: Session, settings: Settings, names: Names) -> list[str]:
    """Keys of the messages that may name the customer."""
    named = (
        Outbox.team_id == settings.team_id,
        Outbox.kind == "message",
        names.within(Outbox.payload),
    )
    return list(session.scalars(select(Outbox.key).where(*named)))


def redacted_posts(
    session: Session, names: Names, which: ColumnElement[bool]
) -> list[tuple[str, str, dict[str, Any]]]:
    """(key, channel, payload) of those messages that name the customer, without what names them."""
    rows = select(Outbox.key, Outbox.channel, Outbox.payload).where(Outbox.kind == "message", which)
    changed = []
    for key, channel, payload in session.execute(rows.order_by(Outbox.id).with_for_update()):
        without = names.out_of(payload)
        if without != payload:
            changed.append((key, channel, without))
    return changed


def files_naming(
    session: Session, settings: Settings, names: Names, since: datetime | None = None
) -> list[str]:
    """Files (CSV) still to be sent that name the customer; of those made since then."""
    made = () if since is None else (File.created_at >= since,)
    held = (
        File.team_id == settings.team_id,
        File.sensitive.is_(True),
        File.content.is_not(None),
        *made,
    )
    return [
        file_id
        for file_id, content in session.execute(select(File.id, File.content).where(*held))
        if names.listed_in((content or b"").decode("utf-8-sig", "replace"))
    ]


def forget_question(session: Session, job_id: str) -> None:
    """Whom the erasing job itself was asked to erase, away; what it came to stays."""
    session.execute(
        update(Job).where(Job.id == job_id).values(args={"customer_id": ERASED}, request_key=None),
        execution_options=_QUIETLY,
    )


def left(session: Session, ids: Sequence[str]) -> int:
    """Rows of SQL that still name the customer, for whoever wants to be sure."""
    return sum(
        session.scalar(select(func.count()).select_from(table).where(table.customer_id.in_(ids)))
        or 0
        for table in _NAMING
    )


def returned(lake: "Lake", session: Session, known: Erased) -> list[str]:
    """Ids that were erased and are here again: what had read them before had not stopped yet when they went."""
    if not known.hashes:
        return []
    ids: set[str] = set()
    for table, columns in _PEOPLE.items():
        paths = store.files(store.opened(lake.root, table))
        for column in columns if paths else ():
            found = (
                f"SELECT DISTINCT {column} FROM read_parquet({paths!r}) WHERE {column} IS NOT NULL"
            )
            ids.update(one for (one,) in lake.duckdb.execute(found).fetchall())
    for naming in _NAMING:
        ids.update(filter(None, session.scalars(select(naming.customer_id).distinct())))
    return sorted(known.among(ids))


def _rows(root: Path, table: Any) -> int:
    delta = store.opened(root, table)
    return 0 if delta is None else sum(store.rows_of(Path(path)) for path in store.files(delta))
