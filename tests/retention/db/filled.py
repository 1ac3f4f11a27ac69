"""Rows of every table with values that databases store differently, and what a file holds."""

import random
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    LargeBinary,
    Numeric,
    String,
    null,
)
from sqlalchemy import insert as insert_into

from retention.db import Base, Database
from retention.db.tables import Utc

ROWS = 3
_TEXTS = ("Zoë 茶 🙂", "a\nb\t\\N\\.", "'\"%s :x", "")
_JSON = ({"b": 1, "a": [1.5, None, True]}, ["é", 10**15], {"n": 0.1}, None, null())
_FLOATS = (0.1 + 0.2, -1e-300, 1e300, 0.0)


def fill(database: Database, seed: int = 0) -> None:
    """Add rows to every table."""
    draw = random.Random(seed)
    with database.engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            rows = [
                {column.name: _value(column, number, draw) for column in table.c}
                for number in range(ROWS)
            ]
            for row in rows:  # one by one: NULL of JSON is no parameter
                connection.execute(insert_into(table).values(row))


def _value(column: Column[Any], number: int, draw: random.Random) -> Any:
    kind = column.type
    if column.nullable and not isinstance(kind, JSON) and draw.random() < 0.3:
        return None
    match kind:
        case JSON():
            return draw.choice(_JSON if column.nullable else _JSON[:-1])
        case Utc():
            return datetime(2025, 3, 30, 1, 59, tzinfo=UTC) + timedelta(
                microseconds=draw.randrange(10**9)
            )
        case DateTime():
            return datetime(2025, 3, 30, 2, 30, 0, draw.randrange(10**6))
        case Date():
            return date(2024, 2, 29)
        case Boolean():
            return draw.random() < 0.5
        case Float():
            return draw.choice(_FLOATS)
        case Numeric():
            return Decimal("12345678.9012")
        case LargeBinary():
            return draw.randbytes(300)
        case String():
            length = kind.length or 40
            is_key = column.primary_key or column.unique or column.foreign_keys or length < 20
            return f"{number + 1}" if is_key or _is_in_key(column) else draw.choice(_TEXTS)[:length]
    return number + 1


def _is_in_key(column: Column[Any]) -> bool:
    constraints, indexes = column.table.constraints, column.table.indexes
    groups = [*constraints, *(each for each in indexes if each.unique)]
    return any(column.name in each.columns for each in groups)


def stored(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each table of a SQLite file as they are stored, with their types."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table.name: sorted(
                connection.execute(
                    "SELECT "
                    + ", ".join(f'"{c.name}", typeof("{c.name}")' for c in table.c)
                    + f' FROM "{table.name}"'
                ),
                key=repr,
            )
            for table in Base.metadata.sorted_tables
        }
