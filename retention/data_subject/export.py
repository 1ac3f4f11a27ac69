"""Collect everything that is stored about a customer.

Every SQL table with a column ``customer_id`` and every table of the lake with a column of customer
ids is exported, so a new table cannot be left out by mistake.
"""
# ruff: noqa: S608 - SQL is built from quoted names and escaped literals (mapping.quoted, .literal)

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Table, or_, select

from retention.db import Base, Transaction
from retention.db.tables import Coupon, Job, Outbox, Redemption
from retention.erasure import CUSTOMER_COLUMNS, contact_details, quarantined_rows, rows_of
from retention.lake.importing.mapping import literal
from retention.lake.storage import delta_store
from retention.privacy import mentions
from retention.privacy.redaction import CustomerNames

if TYPE_CHECKING:
    from retention.lake import Lake

# Tables whose customer column has another name, and why they are left out.
NOT_EXPORTED = {"threads": "a pseudonym, for the next question in a Slack thread"}
# Internal values that say nothing about the customer.
_LEFT_OUT = {"team_id", "id", "post_key"}


def exported_tables() -> list[Table]:
    """Return the SQL tables with customers."""
    return [table for table in Base.metadata.sorted_tables if "customer_id" in table.columns]


def export(lake: "Lake", session: Transaction, ids: Sequence[str]) -> tuple[bytes, int]:
    """Return all that is stored about a customer as JSON, and the number of rows.

    Of jobs and messages, which name others too, it has only when and what they were.

    `ids`: all ids of the customer (`retention.erasure.merged_ids`).
    """
    content = _of_lake(lake, ids)
    for table in exported_tables():
        own: ColumnElement[bool] = table.c["customer_id"].in_(ids)
        if table is Redemption.__table__:  # the user of a code may be unknown
            codes = select(Coupon.code).where(Coupon.customer_id.in_(ids))
            own = or_(own, table.c["code"].in_(codes))
        found = session.execute(
            select(table).where(own, table.c["team_id"] == session.settings.team_id)
        )
        content[table.name] = [
            {name: value for name, value in row.items() if name not in _LEFT_OUT}
            for row in found.mappings()
        ]
    contacts = contact_details(lake, ids)
    content["quarantine"] = quarantined_rows(lake, session.settings, [*ids, *contacts])
    content |= _mentions(session, CustomerNames.of(session.settings, ids, contacts), ids)
    content = {name: rows for name, rows in content.items() if rows}
    text = json.dumps(content, indent=1, ensure_ascii=False, default=_plain)
    return text.encode(), sum(map(len, content.values()))


def _of_lake(lake: "Lake", ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the stored rows, also earlier states of an order and unpublished scores."""
    id_list, content = ", ".join(map(literal, ids)), {}
    for table, columns in CUSTOMER_COLUMNS.items():
        if paths := delta_store.files(delta_store.open_table(lake.root, table)):
            where = " OR ".join(f"{column} IN ({id_list})" for column in columns)
            rows = delta_store.rows_sql(table, paths)
            moments = ", ".join(  # zoned ones would need pytz
                f"make_timestamp(epoch_us({column.name})) AS {column.name}"
                for column in table.columns
                if column.kind == "moment"
            )
            query = f"SELECT * REPLACE ({moments}) FROM {rows} WHERE {where}"
            content[table.name] = rows_of(lake, query)
    return content


def _mentions(
    session: Transaction, names: CustomerNames, ids: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    about = {*mentions.jobs_about(session, ids), *mentions.jobs_mentioning(session, names)}
    jobs = select(Job.id, Job.kind, Job.requested_by, Job.created_at).where(Job.id.in_(about))
    keys = mentions.posts_mentioning(session, names)
    posts = select(Outbox.key, Outbox.channel, Outbox.created_at).where(Outbox.key.in_(keys))
    found = {"jobs": session.execute(jobs), "messages": session.execute(posts)}
    return {name: [dict(row) for row in rows.mappings()] for name, rows in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
