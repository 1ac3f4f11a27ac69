"""Read the lake's tables through Spark to compute features.

Spark reads the live files of the Delta tables, as DuckDB does. It needs no extra Spark packages.
All writes go through deltalake.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retention.errors import BadInput
from retention.lake.schema import DELTA_TYPES, EVENT_IDENTITY, TABLES, TIMES, Column
from retention.lake.storage import delta_store
from retention.text import gettext

if TYPE_CHECKING:
    import ibis

# `schema.EVENT_ID` in Spark's dialect. concat_ws skips missing values, concat does not.
_EVENT_CONTENT = {
    name: f"CAST(CAST(rint({name} * 10000) AS BIGINT) AS STRING)"
    if name in ("quantity", "amount")
    else name
    for name in EVENT_IDENTITY
} | {"occurred_at": "CAST(unix_micros(occurred_at) AS STRING)"}
_EVENT_ID = (
    "coalesce(event_id, md5(concat_ws(chr(31), "
    + ", ".join(f"coalesce({sql}, '')" for sql in _EVENT_CONTENT.values())
    + ")))"
)


class SparkTables:
    """Return canonical tables as Ibis expressions on Spark.

    The session is opened at first use.

    `master`: ``spark://host:port``. If empty, all cores of this machine or the running session.

    Notes
    -----
    Times are naive UTC (``timestamp_ntz``), as in `retention.lake.Lake.table`.
    """

    def __init__(self, root: Path, master: str) -> None:
        self.root = root
        self._master = master
        # Canonical id by merged id, and (customer, order) of cancelled orders, before a time.
        self.people: Callable[[datetime | None], dict[str, str]] = lambda before: {}
        self.cancelled: Callable[[datetime | None], list[tuple[str, str]]] = lambda before: []

    @cached_property
    def con(self) -> Any:
        """Return the Ibis backend."""
        import ibis

        try:
            from pyspark.sql import SparkSession
        except ImportError as missing:
            message = gettext(
                "RETENTION_LAKE_URL names Spark, and pyspark is not installed; run `make "
                "setup-spark`, or use duckdb:///path/to/folder."
            )
            raise BadInput(message) from missing
        session = (
            SparkSession.builder.master(self._master or "local[*]")
            .appName("retention")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
        )
        if not self._master:  # 200 shuffle partitions are too many for one machine
            session = session.config("spark.sql.shuffle.partitions", str(2 * (os.cpu_count() or 1)))
        return ibis.pyspark.connect(session.getOrCreate())

    def table(
        self, name: str, before: datetime | None = None, since: datetime | None = None
    ) -> ibis.Table:
        """Return a canonical table as `retention.lake.Lake.table` does.

        Rows of the table ``customers`` keep their ids.
        """
        table = TABLES[name]
        delta = delta_store.open_table(self.root, table)
        wanted = (
            delta_store.months(since, before) if name == "events" and (since or before) else None
        )
        paths = delta_store.files(delta, wanted)
        session = self.con._session
        if paths:
            rows = session.read.option("mergeSchema", bool(table.later)).parquet(*paths)
        else:
            rows = session.createDataFrame([], _empty_schema(table.columns))
        rows = _with_later_columns(rows, table.later)
        rows = _time_filter(rows, name, since, before).selectExpr(*map(_column_sql, table.public))
        cancelled = self.cancelled(before) if name == "events" else []
        if cancelled:
            rows = _mark_cancelled(session, rows, cancelled)
        people = self.people(before) if name in TIMES else {}
        if people:
            rows = _with_canonical_ids(session, rows, people)
        version, linked = delta_store.version_number(delta), "_linked" if people else ""
        view = re.sub(r"\W", "_", f"{name}_v{version}_{since}_{before}{linked}")
        rows.createOrReplaceTempView(view)
        return self.con.table(view)


def _time_filter(rows: Any, name: str, since: datetime | None, before: datetime | None) -> Any:
    """Filter a Spark frame by time as `retention.lake.Lake.table` does."""
    from pyspark.sql.functions import col

    if name not in TIMES:
        return rows
    at = col(TIMES[name])
    if since is not None:
        rows = rows.where(at >= since.astimezone(UTC))
    if before is not None:
        rows = rows.where(at < before.astimezone(UTC))
    if before is not None and "available_at" in TABLES[name].names:
        is_known = col("available_at").isNull() | (col("available_at") < before.astimezone(UTC))
        rows = rows.where(is_known)
    if name == "events":
        counts = col("superseded_at").isNull()
        if before is not None:
            counts = counts | (col("superseded_at") >= before.astimezone(UTC))
        rows = rows.where(counts)
    return rows


def _with_later_columns(rows: Any, later: tuple[Column, ...]) -> Any:
    """Add the columns that all files lack, because they are older."""
    from pyspark.sql.functions import lit

    for column in later:
        if column.name not in rows.columns:
            rows = rows.withColumn(column.name, lit(None).cast(DELTA_TYPES[column.kind]))
    return rows


def _mark_cancelled(session: Any, rows: Any, cancelled: list[tuple[str, str]]) -> Any:
    """Give purchases of cancelled orders the type ``cancelled``."""
    from pyspark.sql.functions import broadcast, col, lit, when

    from retention.lake.cleaning.returns import CANCELLED

    orders = session.createDataFrame(cancelled, "_who string, _order string")
    is_same_order = (col("customer_id") == col("_who")) & (col("order_id") == col("_order"))
    is_cancelled = col("_who").isNotNull() & (col("event_type") == "purchase")
    event_type = when(is_cancelled, lit(CANCELLED)).otherwise(col("event_type"))
    return (
        rows.join(broadcast(orders), is_same_order, "left")
        .withColumn("event_type", event_type)
        .drop("_who", "_order")
    )


def _with_canonical_ids(session: Any, rows: Any, people: dict[str, str]) -> Any:
    """Replace customer ids by canonical ids."""
    from pyspark.sql.functions import broadcast, coalesce, col

    pairs = session.createDataFrame(list(people.items()), "_old string, _canonical string")
    joined = rows.join(broadcast(pairs), col("customer_id") == col("_old"), "left")
    who = coalesce(col("_canonical"), col("customer_id"))
    return joined.withColumn("customer_id", who).drop("_old", "_canonical")


def _column_sql(column: Column) -> str:
    if column.name == "event_id":
        return f"{_EVENT_ID} AS event_id"
    kind = "timestamp_ntz" if column.kind == "moment" else DELTA_TYPES[column.kind]
    return f"CAST({column.name} AS {kind}) AS {column.name}"


def _empty_schema(columns: tuple[Column, ...]) -> str:
    return ", ".join(f"{column.name} {DELTA_TYPES[column.kind]}" for column in columns)
