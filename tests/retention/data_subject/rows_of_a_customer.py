"""Fill every SQL table with rows of customers, without naming the tables."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import count
from typing import Any

from sqlalchemy import Table, insert, select

from retention.data_subject.export import exported_tables
from retention.db import Transaction

VALUES: dict[type, Any] = {
    **{float: 0.5, bool: False, bytes: b"x", dict: {}, list: []},
    **{datetime: datetime(2025, 1, 1, tzinfo=UTC), date: date(2025, 1, 1)},
}


def fill_tables(session: Transaction, customers: Sequence[str]) -> list[str]:
    """Add a row of each customer to every table with customers; return the tables' names.

    Rows that they refer to are made, too.
    """
    numbers, parents = count(1), {}

    def add(table: Table, customer: str | None) -> dict[str, Any]:
        row: dict[str, Any] = {"team_id": session.settings.team_id}
        for column in table.columns:
            for key in column.foreign_keys:
                parent = key.column.table
                if parent.name not in parents or customer:  # a campaign has a customer once
                    parents[parent.name] = add(parent, customer)
                row[column.name] = parents[parent.name][key.column.name]
            if column.name == "customer_id":
                row[column.name] = customer
            elif column.name not in row and not column.nullable:
                row[column.name] = _value(column, next(numbers))
        session.execute(insert(table).values(row))
        return row

    tables = exported_tables()
    for table in tables:
        for customer in customers:
            stored = select(table).where(table.c["customer_id"] == customer)
            if session.execute(stored).first() is None:
                add(table, customer)
    return [table.name for table in tables]


def _value(column: Any, number: int) -> Any:
    kind = getattr(column.type, "impl_instance", column.type).python_type
    if kind is str:
        length = getattr(column.type, "length", None) or 12
        return f"{number:x}"[:length]
    return VALUES.get(kind, number)
