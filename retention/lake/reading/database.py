"""Stream a SQL query into Parquet files."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from retention.errors import BadInput
from retention.lake.reading import NoRows
from retention.text import gettext

BATCH_ROWS = 50_000
_SQLITE = b"SQLite format 3\0"
# A query that writes is an error of the database.
_READ_ONLY = {"sqlite": "PRAGMA query_only = ON", "postgresql": "SET TRANSACTION READ ONLY"}
_SCALARS = (str, int, float, bool, bytes, Decimal, datetime, date, time)


def check_not_sqlite(path: Path) -> None:
    """Refuse an SQLite file, and say how to read it."""
    if not path.is_file():
        return
    with path.open("rb") as opened:
        if opened.read(len(_SQLITE)) != _SQLITE:
            return
    text = gettext(
        "{name} is an SQLite database. Name it by its URL, and say with --query what to read: "
        "'sqlite:///{path}' --query 'SELECT * FROM {table}'. {tables}"
    )
    raise BadInput(text.format(name=path.name, path=path, **_sqlite_tables(path)))


def _sqlite_tables(path: Path) -> dict[str, str]:
    """Return a likely table of an SQLite file, and a sentence with all tables."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            rows = opened.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite_%' ORDER BY name"
            ).fetchall()
    except sqlite3.Error:
        rows = []
    names = [name for (name,) in rows]
    if not names:
        return {"table": "…", "tables": gettext("It has no tables.")}
    table = next((name for name in names if "order" in name.lower()), names[0])
    text = gettext("Its tables are {names}.")
    return {"table": f'"{table}"', "tables": text.format(names=", ".join(names))}


def fetch_rows(
    url: str, query: str | None, folder: Path, on_rows: Callable[[int], None]
) -> tuple[str, list[Path]]:
    """Store the rows of a query as Parquet files.

    Rows are streamed: memory holds one batch of `BATCH_ROWS` rows.

    Returns: the database's name without its password, and files with equal schemas.
    """
    from retention.db.engine import driver_errors

    if query is None:
        message = gettext("A database needs --query, the SELECT whose rows are to be imported.")
        raise BadInput(message)
    try:
        parsed = sa.make_url(url)
        # A query such as ?password=… may hold secrets, too.
        name = parsed.set(query={}).render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            text = gettext("There is no file {database!r} for the database {name}.")
            # SQLite would create the file.
            raise BadInput(text.format(database=parsed.database, name=name))
        with driver_errors(url):
            engine = sa.create_engine(url)
        try:
            with engine.connect() as connection, _ParquetFiles(folder) as files:
                if read_only := _READ_ONLY.get(engine.dialect.name):
                    connection.execute(sa.text(read_only))
                streamed = connection.execution_options(
                    stream_results=True, max_row_buffer=BATCH_ROWS
                )
                result = streamed.execute(sa.text(query))
                columns = list(result.keys())
                for rows in result.partitions(BATCH_ROWS):
                    files.write(columns, rows)
                    on_rows(files.rows)
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        text = gettext("The database cannot be read: {error}")
        raise BadInput(text.format(error=str(error).strip().splitlines()[0])) from None
    if not files.rows:
        raise NoRows(gettext("The query on {name} has no rows.").format(name=name))
    return name, files.unify_schemas()


class _ParquetFiles:
    """Write a stream to Parquet files. A wider type starts a new file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = 0
        self.paths: list[Path] = []
        self._schema: Any = None
        self._writer: Any = None

    def __enter__(self) -> "_ParquetFiles":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write(self, columns: list[str], rows: Sequence[Any]) -> None:
        """Append rows."""
        values = [_array(column) for column in zip(*rows, strict=True)]
        piece = pa.table(values, names=columns)
        schema = piece.schema if self._schema is None else _widen(self._schema, piece.schema)
        if self._writer is None or schema != self._schema:
            self.__exit__()
            self._schema = schema
            self.paths.append(self.folder / f"rows-{len(self.paths)}.parquet")
            self._writer = pq.ParquetWriter(self.paths[-1], schema)
        self._writer.write_table(_cast(piece, schema))
        self.rows += len(rows)

    def unify_schemas(self) -> list[Path]:
        """Rewrite files with narrower types; return all."""
        schema = pa.schema(
            [
                field.with_type(pa.string()) if pa.types.is_null(field.type) else field
                for field in self._schema
            ]
        )
        final = []
        for path in self.paths:
            wide = path.with_name(f"wide-{path.name}")
            file = pq.ParquetFile(path)
            if file.schema_arrow == schema:
                final.append(path)
                continue
            with pq.ParquetWriter(wide, schema) as writer:
                for batch in file.iter_batches(BATCH_ROWS):
                    writer.write_table(_cast(pa.Table.from_batches([batch]), schema))
            path.unlink()
            final.append(wide)
        return final


def _array(values: Sequence[Any]) -> Any:
    try:
        array = pa.array(values)
        if not pa.types.is_nested(array.type) and not isinstance(array.type, pa.ExtensionType):
            return array
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        pass
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    """Convert documents, UUIDs and mixed types to text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, _SCALARS) or not isinstance(value, dict | list):
        return str(value)
    return json.dumps(value)


def _widen(left: Any, right: Any) -> Any:
    fields = []
    for left_field, right_field in zip(left, right, strict=True):
        try:
            unified = pa.unify_schemas(
                [pa.schema([left_field]), pa.schema([right_field])], promote_options="permissive"
            )
            fields.append(unified.field(0))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            fields.append(pa.field(left_field.name, pa.string()))
    return pa.schema(fields)


def _cast(table: Any, schema: Any) -> Any:
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values = [
            column
            if column.type == field.type
            else pa.array([_text(value) for value in column.to_pylist()], pa.string())
            for column, field in zip(table.columns, schema, strict=True)
        ]
        return pa.table(values, names=schema.names).cast(schema)
