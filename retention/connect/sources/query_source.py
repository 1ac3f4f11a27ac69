"""Read what is new in a SQL query by its watermark column."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from retention.connect.sources.source_records import SourceProblem
from retention.db.engine import driver_errors
from retention.errors import BadInput
from retention.text import gettext

# Read again before the watermark, because a transaction can commit with an earlier time.
OVERLAP = timedelta(minutes=10)
_DENIED = ("password authentication", "permission denied", "access denied", "not authorized")
_WRONG_QUERY = ("no such column", "no such table", "does not exist", "syntax error", "unknown")


@dataclass(frozen=True, slots=True)
class QueryState:
    """The rows of a query before they are read.

    `watermark`: the highest value of the watermark column; empty without such a column or row.
    """

    columns: tuple[str, ...]
    rows: int
    new_rows: int
    watermark: dict[str, Any]


def read_state(
    url: str, query: str, column: str | None, watermark: Mapping[str, Any]
) -> QueryState:
    """Count a query's rows and find its highest watermark.

    `watermark`: watermark of the last pull; empty at first.
    Raises `SourceProblem`: ``access_denied``, ``unavailable`` or ``unreadable``.
    """
    rows, parsed = _rows(query), sa.make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        # SQLite would create the file.
        raise SourceProblem("unavailable", detail=f"no file {parsed.database}")
    try:
        with driver_errors(url):
            engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                nothing = sa.select(sa.text("*")).select_from(rows).where(sa.false())
                columns = tuple(connection.execute(nothing).keys())
                if column is not None:
                    check_column(column, columns)
                highest = sa.func.max(sa.column(column)) if column else sa.null()
                counted = sa.select(sa.func.count(), highest).select_from(rows)
                total, newest = connection.execute(counted).one()
                new_rows: int | None = total
                if column is not None and watermark:
                    since = sa.column(column) >= sa.literal(_since(watermark))
                    new_rows = connection.scalar(
                        sa.select(sa.func.count()).select_from(rows).where(since)
                    )
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise _problem(error) from error
    return QueryState(columns, int(total), int(new_rows or 0), _stored(newest))


def check_column(column: str, columns: tuple[str, ...]) -> None:
    """Check that a query has its watermark column."""
    if column not in columns:
        message = gettext("--watermark is {column!r}; the query has the columns {columns}.")
        raise BadInput(message.format(column=column, columns=", ".join(columns)), field="watermark")


def since_watermark(url: str, query: str, column: str | None, watermark: Mapping[str, Any]) -> str:
    """Return the query of the rows at or above a watermark.

    Rows with an equal value come again, because more of them may have been added. An import of the
    same row changes nothing.

    `column`: watermark column; without one, the query stays as it is.
    `watermark`: watermark of the last pull; empty at first.
    """
    if column is None or not watermark:
        return query
    since = sa.column(column) >= sa.literal(_since(watermark))
    selected = sa.select(sa.text("*")).select_from(_rows(query)).where(since)
    make_dialect: Any = sa.make_url(url).get_dialect()
    dialect = make_dialect(paramstyle="named")  # others double the percent signs
    return str(selected.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _rows(query: str) -> Any:
    return sa.text(f"({query.strip().rstrip(';')}) AS source_rows")


def _stored(value: Any) -> dict[str, Any]:
    """Return a watermark as JSON."""
    if value is None:
        return {}
    if isinstance(value, datetime):
        return {"type": "time", "value": value.isoformat()}
    if isinstance(value, date):
        return {"type": "date", "value": value.isoformat()}
    if isinstance(value, Decimal):
        return {"type": "decimal", "value": str(value)}
    return {"type": "plain", "value": value if isinstance(value, int | float) else str(value)}


def _since(watermark: Mapping[str, Any]) -> Any:
    value = watermark["value"]
    if watermark["type"] == "time":
        return datetime.fromisoformat(value) - OVERLAP
    if watermark["type"] == "date":
        return date.fromisoformat(value)
    return Decimal(value) if watermark["type"] == "decimal" else value


def _problem(error: Exception) -> SourceProblem:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    state = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    lower = str(error).lower()
    if state.startswith("28") or state == "42501" or any(word in lower for word in _DENIED):
        return SourceProblem("access_denied", detail=text)
    if isinstance(error, ImportError) or any(word in lower for word in _WRONG_QUERY):
        return SourceProblem("unreadable", text=text)
    return SourceProblem("unavailable", detail=text)
