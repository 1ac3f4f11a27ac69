"""Rows of any database that SQLAlchemy knows, streamed: a piece at a time into scratch files, never all in memory."""

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from retention.errors import BadInput
from retention.text import gettext

ROWS_AT_ONCE = 50_000
_PLAIN = (str, int, float, bool, bytes, Decimal, datetime, date, time)


def fetched(
    url: str, query: str | None, folder: Path, tell: Callable[[int], None]
) -> tuple[str, list[Path]]:
    """Run a query and keep its rows as Parquet files of one schema.

    Parameters
    ----------
    url : str
        SQLAlchemy URL.
    query : str, optional
        The SELECT; there is no reading without one.
    folder : Path
        Where the files go.
    tell : callable
        Called with the number of rows read so far.

    Returns
    -------
    tuple of str and list of Path
        The database's name without its password, and the files.

    Raises
    ------
    BadInput
        Where there is no query, the database cannot be read, or the query has no rows.
    """
    import sqlalchemy as sa

    from retention.db.driver import driven

    if query is None:
        raise BadInput(
            gettext("A database needs --query, the SELECT whose rows are to be imported.")
        )
    try:
        made = sa.make_url(url)
        name = made.render_as_string(hide_password=True)
        if made.get_backend_name() == "sqlite" and not Path(made.database or "").is_file():
            raise BadInput(
                gettext("There is no file {database!r} for the database {name}.").format(
                    database=made.database, name=name
                )
            )  # SQLite would make one
        with driven(url):
            engine = sa.create_engine(url)
        try:
            with engine.connect() as connection, _Files(folder) as files:
                streamed = connection.execution_options(
                    stream_results=True, max_row_buffer=ROWS_AT_ONCE
                )
                result = streamed.execute(sa.text(query))
                columns = list(result.keys())
                for rows in result.partitions(ROWS_AT_ONCE):
                    files.write(columns, rows)
                    tell(files.rows)
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise BadInput(
            gettext("The database cannot be read: {splitlines}").format(
                splitlines=str(error).strip().splitlines()[0]
            )
        ) from None
    if not files.rows:
        raise BadInput(gettext("The query on {name} has no rows.").format(name=name))
    return name, files.of_one_schema()


class _Files:
    """Parquet files of a stream whose types show only as it goes: a wider type begins a new file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = 0
        self.paths: list[Path] = []
        self._schema: Any = None
        self._writer: Any = None

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write(self, columns: list[str], rows: Sequence[Any]) -> None:
        """Add rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        values = [_array(column) for column in zip(*rows, strict=True)]
        piece = pa.table(values, names=columns)
        schema = piece.schema if self._schema is None else _wider(self._schema, piece.schema)
        if self._writer is None or schema != self._schema:
            self.__exit__()
            self._schema = schema
            self.paths.append(self.folder / f"rows-{len(self.paths)}.parquet")
            self._writer = pq.ParquetWriter(self.paths[-1], schema)
        self._writer.write_table(_cast(piece, schema))
        self.rows += len(rows)

    def of_one_schema(self) -> list[Path]:
        """The files, those that began narrower rewritten as wide as the last."""
        import pyarrow as pa
        import pyarrow.parquet as pq

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
                for batch in file.iter_batches(ROWS_AT_ONCE):
                    writer.write_table(_cast(pa.Table.from_batches([batch]), schema))
            path.unlink()
            final.append(wide)
        return final


def _array(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    try:
        array = pa.array(values)
        if not pa.types.is_nested(array.type) and not isinstance(array.type, pa.ExtensionType):
            return array
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        pass
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    """What no column type holds, or not together with its neighbours: JSON documents, UUIDs, mixed types."""
    if value is None or isinstance(value, str):
        return value
    return (
        str(value)
        if isinstance(value, _PLAIN) or not isinstance(value, dict | list)
        else json.dumps(value)
    )


def _wider(one: Any, other: Any) -> Any:
    import pyarrow as pa

    fields = []
    for mine, theirs in zip(one, other, strict=True):
        try:
            both = pa.unify_schemas(
                [pa.schema([mine]), pa.schema([theirs])], promote_options="permissive"
            )
            fields.append(both.field(0))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            fields.append(pa.field(mine.name, pa.string()))
    return pa.schema(fields)


def _cast(table: Any, schema: Any) -> Any:
    import pyarrow as pa

    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values = [
            column
            if column.type == field.type
            else pa.array([_text(one) for one in column.to_pylist()], pa.string())
            for column, field in zip(table.columns, schema, strict=True)
        ]
        return pa.table(values, names=schema.names).cast(schema)
