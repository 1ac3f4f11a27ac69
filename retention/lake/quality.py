"""The quality report: how fresh the data is, how complete, and what had to be kept aside."""

# ruff: noqa: S608 - SQL is put together from names of our own
from datetime import UTC, datetime
from typing import Any

from retention import clock
from retention.lake import quarantine
from retention.lake.lake import Lake
from retention.settings import Settings

ASKED = {  # the columns whose absence costs something
    "events": ("item_id", "order_id", "quantity", "amount", "currency"),
    "customers": ("email", "marketing_consent"),
    "items": ("title", "category", "price", "margin", "in_stock"),
}


def quality(lake: Lake, settings: Settings) -> dict[str, Any]:
    """Judge what is in the lake before business time.

    Returns
    -------
    dict
        ``rows`` by table; ``first_event`` and ``newest_event`` (ISO 8601, None without events), ``age_days`` of the
        newest; ``days`` between them and ``silent_days`` without any event; ``customers`` with events and
        ``unknown_customers`` among them (no row in customers), ``unknown_items`` likewise; ``filled``: for each table,
        the share of rows that have a value, by column; ``event_types``; ``currencies``; ``quarantine`` by reason.
    """
    now = clock.now()
    names = {
        name: lake.table(name, now).get_name() for name in ("events", "customers", "items", "treatments")
    }
    return {
        "rows": {name: _one(lake, f'SELECT count(*) FROM "{view}"')[0] for name, view in names.items()},
        **_events(lake, names, now),
        "filled": {
            table: dict(zip(columns, _one(lake, _shares(names[table], columns)), strict=True))
            for table, columns in ASKED.items()
        },
        "event_types": _counts(lake, f'SELECT event_type FROM "{names["events"]}"'),
        "currencies": _counts(lake, f'SELECT currency FROM "{names["events"]}" WHERE currency IS NOT NULL'),
        "quarantine": quarantine.counts(lake.duckdb, settings),
    }


def _events(lake: Lake, names: dict[str, str], now: datetime) -> dict[str, Any]:
    first, newest, active, customers = _one(
        lake,
        "SELECT min(occurred_at), max(occurred_at), count(DISTINCT occurred_at::DATE), count(DISTINCT customer_id) "
        f'FROM "{names["events"]}"',
    )
    span = (newest.date() - first.date()).days + 1 if newest else 0
    return {
        "first_event": first and first.replace(tzinfo=UTC).isoformat(),
        "newest_event": newest and newest.replace(tzinfo=UTC).isoformat(),
        "age_days": newest and round((now - newest.replace(tzinfo=UTC)).total_seconds() / 86_400, 1),
        "days": span,
        "silent_days": span - active,
        "customers": customers,
        **{
            f"unknown_{table}": _one(
                lake,
                f'SELECT count(DISTINCT {key}) FROM "{names["events"]}" ANTI JOIN "{names[table]}" USING ({key}) '
                f"WHERE {key} IS NOT NULL",
            )[0]
            for table, key in (("customers", "customer_id"), ("items", "item_id"))
        },
    }


def _shares(view: str, columns: tuple[str, ...]) -> str:
    """Of events, only purchases need have an amount."""
    shares = ", ".join(f"round(count({column}) / count(*), 4)" for column in columns)
    purchases = " WHERE event_type = 'purchase'" if view.startswith("events") else ""
    return f'SELECT {shares} FROM "{view}"{purchases}'


def _counts(lake: Lake, values: str) -> dict[str, int]:
    rows = lake.duckdb.execute(f"SELECT *, count(*) FROM ({values}) GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
    return dict(rows)


def _one(lake: Lake, sql: str) -> tuple:
    return lake.duckdb.execute(sql).fetchall()[0]
