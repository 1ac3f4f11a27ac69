"""Erase a customer: everything that says who they were goes, the counts of what happened stay.

Each step may run twice. Rows that others are counted with (arms, sends, coupons) get a random name in the place of the
id; all else is deleted.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from retention.db.tables import (
    Assignment,
    Coupon,
    DirectoryEntry,
    Feedback,
    Impression,
    Job,
    Outbox,
    Redemption,
    Send,
    Suppression,
)
from retention.lake import quarantine, store
from retention.lake.mapping import literal, quoted
from retention.lake.schema import LINKS, TABLES
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake

_WHERE = {"links": ("customer_id", "same_as"), "relations": ("customer_id", "other_id")}
_QUIETLY = {"synchronize_session": False}


def ids_of(lake: "Lake", customer_id: str) -> list[str]:
    """Every id under which the customer is known: those that were merged with theirs too."""
    people = lake.identities.people()
    whom = people.get(customer_id, customer_id)
    return sorted({whom, customer_id, *(one for one, other in people.items() if other == whom)})


def contact_of(lake: "Lake", ids: Sequence[str]) -> list[str]:
    """E-mail addresses and telephone numbers of these ids: they too tell who somebody was."""
    rows = lake.table("customers", identity="stored")
    found = rows.filter(rows.customer_id.isin(list(ids))).select("email", "phone").execute()
    return sorted({value for column in found for value in found[column] if isinstance(value, str) and value})


def from_lake(lake: "Lake", ids: Sequence[str]) -> dict[str, int]:
    """Delete the customer's rows of every table of the lake; how many, by table.

    No reader sees them from now on; the files that held them are dropped by the nightly tidying, a day later.
    """
    listed = ", ".join(literal(one) for one in ids)
    gone: dict[str, int] = {}
    for table in (*TABLES.values(), LINKS):
        if not {"customer_id"} & set(table.names) or table.name in gone:
            continue
        predicate = " OR ".join(
            f"{column} IN ({listed})" for column in _WHERE.get(table.name, ("customer_id",))
        )
        with store.locked(lake.root, table):
            before = _rows(lake.root, table)
            if before:
                store.delete(lake.root, table, predicate)
            gone[table.name] = before - _rows(lake.root, table)
    return gone


def from_quarantine(lake: "Lake", settings: Settings, told: Sequence[str]) -> int:
    """Delete quarantined rows in which any column holds an id, an address or a number of the customer's."""
    con, gone = lake.duckdb, 0
    listed = ", ".join(literal(one) for one in told)
    for path in quarantine.files(settings):
        read = f"read_parquet({literal(path)})"
        columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
        own = [quoted(name) for name in columns if name not in quarantine.META]
        named = " OR ".join(f"coalesce({column}::VARCHAR IN ({listed}), false)" for column in own) or "false"
        held, hit = con.execute(f"SELECT count(*), count(*) FILTER ({named}) FROM {read}").fetchall()[0]
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
    """Delete or rename the customer's rows in SQL; how many, by table. Codes not used become void, copies not sent are cancelled."""
    gone: dict[str, int] = {}

    def run(statement: Any, table: Any) -> None:
        done = session.execute(statement, execution_options=_QUIETLY)
        gone[table.__tablename__] = gone.get(table.__tablename__, 0) + int(done.rowcount)  # type: ignore[attr-defined]

    session.execute(
        update(Send).where(Send.customer_id.in_(ids), Send.state == "queued").values(state="cancelled", error="erased"),
        execution_options=_QUIETLY,
    )  # fmt: skip
    session.execute(
        update(Coupon)
        .where(Coupon.customer_id.in_(ids), Coupon.state.in_(("reserved", "issued")))
        .values(state="void"),
        execution_options=_QUIETLY,
    )
    for one in ids:
        nobody = f"erased-{secrets.token_hex(8)}"
        for table in (Assignment, Send, Impression):
            run(update(table).where(table.customer_id == one).values(customer_id=nobody), table)
        run(update(Coupon).where(Coupon.customer_id == one).values(customer_id=nobody, order_id=None), Coupon)
        used = update(Redemption).where(Redemption.customer_id == one)
        run(used.values(customer_id=nobody, order_id=None), Redemption)
    for dropped in (DirectoryEntry, Suppression, Feedback):
        run(delete(dropped).where(dropped.customer_id.in_(ids)), dropped)
    return gone


def jobs_about(session: Session, settings: Settings, ids: Sequence[str]) -> list[str]:
    """Jobs that were asked about the customer (score, recommend, forget)."""
    asked = [Job.args[name].as_string().in_(ids) for name in ("customer_id", "merged")]
    return list(session.scalars(select(Job.id).where(Job.team_id == settings.team_id, or_(*asked))))


def posts_about(session: Session, settings: Settings, job_ids: Sequence[str]) -> list[tuple[str, str]]:
    """(key, channel) of the messages with those jobs' results."""
    keys = [f"job:{one}" for one in job_ids]
    rows = select(Outbox.key, Outbox.channel).where(
        Outbox.team_id == settings.team_id, or_(Outbox.job_id.in_(job_ids), Outbox.key.in_(keys))
    )
    return list(session.execute(rows).tuples())


def scrub_jobs(session: Session, job_ids: Sequence[str]) -> None:
    """What those jobs were asked and found out, away."""
    session.execute(
        update(Job).where(Job.id.in_(job_ids)).values(args={"customer_id": "erased"}, result=None),
        execution_options=_QUIETLY,
    )


def forget_question(session: Session, job_id: str) -> None:
    """Whom the erasing job itself was asked to erase, away; what it came to stays."""
    session.execute(
        update(Job).where(Job.id == job_id).values(args={"customer_id": "erased"}), execution_options=_QUIETLY
    )


def left(session: Session, ids: Sequence[str]) -> int:
    """Rows of SQL that still name the customer, for whoever wants to be sure."""
    tables = (Assignment, Send, Impression, Coupon, Redemption, DirectoryEntry, Suppression, Feedback)
    return sum(
        session.scalar(select(func.count()).select_from(table).where(table.customer_id.in_(ids))) or 0
        for table in tables
    )


def _rows(root: Path, table: Any) -> int:
    delta = store.opened(root, table)
    return 0 if delta is None else sum(store.rows_of(Path(path)) for path in store.files(delta))
