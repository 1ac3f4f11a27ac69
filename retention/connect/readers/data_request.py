"""Collect what is stored about a customer, for a request under data protection law."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from retention.db import tables
from retention.lake.schema import TABLES

if TYPE_CHECKING:
    from retention.db import Transaction
    from retention.lake import Lake

_SQL_TABLES = (
    *(tables.Assignment, tables.CallEntry, tables.Coupon, tables.Feedback, tables.Impression),
    *(tables.Note, tables.Pause, tables.Redemption, tables.Send, tables.Suppression),
)
# Internal values that say nothing about the customer.
_LEFT_OUT = {"team_id", "id", "post_key"}


def export(lake: "Lake", session: "Transaction", ids: Sequence[str]) -> tuple[bytes, int]:
    """Return all stored rows of a customer as JSON."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, table in TABLES.items():
        if "customer_id" in table.names:
            view = lake.table(name, identity="stored").get_name()
            query = f'SELECT * FROM "{view}" WHERE list_contains(?, customer_id)'  # noqa: S608
            result = lake.duckdb.execute(query, [list(ids)])
            columns = [column[0] for column in result.description]
            rows[name] = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    for sql_table in _SQL_TABLES:
        stored = sql_table.__table__.columns
        own = stored["customer_id"].in_(ids), stored["team_id"] == session.settings.team_id
        found = session.execute(select(*stored).where(*own)).mappings()
        rows[sql_table.__tablename__] = [
            {name: value for name, value in row.items() if name not in _LEFT_OUT} for row in found
        ]
    content = {name: found for name, found in rows.items() if found}
    text = json.dumps(content, indent=1, ensure_ascii=False, default=_plain)
    return text.encode(), sum(map(len, content.values()))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
