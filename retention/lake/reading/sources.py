"""What can be read: CSV, TSV, Parquet, JSON Lines (plain, .gz, .zst, .zip), workbooks and SQL databases, each as a
DuckDB relation.

Text formats are read as text, so that `00123` stays `00123` and a bad value spoils its row and not the file. A column
that an expression of the map computes with is then a number (or a time) where nearly all of its values are.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retention.errors import BadInput
from retention.lake.mapping import Mapping, literal
from retention.lake.reading.archives import WORKBOOKS, check_packing, unzipped, workbook
from retention.lake.reading.columns import Reading, readings
from retention.lake.reading.database import fetched
from retention.lake.reading.dialect import Dialect, detect
from retention.lake.reading.scratch import scratch
from retention.lake.reading.unbalanced_quotes import check_header, mended
from retention.text import gettext
from retention.urls import is_url

LARGE_ROW_GROUP = 250_000
ROWS_AT_ONCE = 4_000_000  # rows that are held in memory, a few hundred bytes each
LARGE_TEXT = 1 << 28
ZONELESS = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
SUFFIXES = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    **dict.fromkeys(WORKBOOKS, "workbook"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to import.

    Attributes
    ----------
    name : str
        As people know it.
    relation : str
        SQL of the rows, for a FROM clause.
    columns : dict of str to str
        The columns and their DuckDB types.
    readings : dict of str to Reading
        Columns to be read as something else, as the map needs them.
    rejected : dict of str to int
        Lines that are no rows at all, counted by reason; they are in the table ``rejected_lines`` (reason, line).
    detected : dict
        What was seen of how the file is written, for people.
    files : tuple of Path
        The Parquet files it is read from, where it is no table of DuckDB's.
    added : str
        SQL of columns that were added to it, beginning with a comma.
    base : str
        The relation that they were added to.
    naive : tuple of str
        Columns of moments of which some name no time zone.
    """

    name: str
    relation: str
    columns: dict[str, str]
    readings: dict[str, Reading] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    detected: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    added: str = ""
    base: str = ""
    naive: tuple[str, ...] = ()

    def type_of(self, column: str) -> str:
        """The type that expressions see."""
        return self.readings[column].type if column in self.readings else self.columns[column]


@contextmanager
def opened(
    con: Any,
    file: str,
    mapping: Mapping | None,
    query: str | None,
    only: str | None = None,
    tell: Callable[[int], None] = lambda rows: None,
) -> Iterator[Source]:
    """Open a file or a database as a relation; what it needed is dropped at the end.

    ``only`` is a condition that the importer will set in any case: rows for which it does not hold need not be kept.
    ``tell`` is called with the number of rows read, where reading takes its time before DuckDB begins.

    Raises
    ------
    BadInput
        Where it cannot be read or holds no rows.
    """
    with scratch() as folder:
        try:
            if is_url(file):
                yield _database(con, file, query, folder, tell)
            else:
                yield _open(con, file, mapping, query, only, folder)
        finally:
            for table in ("raw_rows", "shaped_rows", "rejected_lines"):
                con.execute(f"DROP TABLE IF EXISTS {table}")


def found(files: list[str]) -> list[str]:
    """The files that paths and patterns (``data/*.csv.gz``) name.

    Raises
    ------
    BadInput
        Where a pattern matches no file.
    """
    named: list[str] = []
    for file in files:
        if is_url(file) or Path(file).is_file() or not glob.has_magic(file):
            named.append(file)
        elif matching := sorted(
            path for path in glob.glob(file, recursive=True) if Path(path).is_file()
        ):
            named.extend(matching)
        else:
            raise BadInput(gettext("{file} matches no file.").format(file=file))
    return named


def pieces(con: Any, source: Source) -> Iterator[tuple[Source, int]]:
    """The source in pieces that fit into memory, each with its number of rows."""
    if source.files:
        counted = con.execute(
            f"SELECT file_name, num_rows FROM parquet_file_metadata({_listed(source.files)})"
        ).fetchall()
        parts = [
            (f"{_read_parquet([Path(name)], ', file_row_number = true')}", "file_row_number", rows)
            for name, rows in counted
        ]
    else:
        rows = con.execute(f"SELECT count(*) FROM {source.relation}").fetchall()[0][0]
        parts = [(source.base or source.relation, "rowid", rows)]
    for relation, number, rows in parts:
        if len(parts) == 1 and rows <= ROWS_AT_ONCE:
            yield source, rows
            continue
        left_out = "* EXCLUDE (file_row_number)" if source.files else "*"
        for start in range(0, rows, ROWS_AT_ONCE):
            stop = min(rows, start + ROWS_AT_ONCE)
            piece = f"(SELECT {left_out}{source.added} FROM {relation} WHERE {number} >= {start} AND {number} < {stop})"
            yield replace(source, relation=piece), stop - start


def _listed(files: Sequence[Path]) -> str:
    return f"[{', '.join(map(literal, files))}]"


def _read_parquet(files: Sequence[Path], options: str = "") -> str:
    return f"read_parquet({_listed(files)}, hive_partitioning = false{options})"


def as_read(con: Any, source: Source, mapping: Mapping) -> Source:
    """The source with its columns read as the map needs them."""
    seen = readings(
        con,
        source.relation,
        source.columns,
        mapping,
        source.detected.get("format") in ("parquet", "database"),
    )
    twice = [
        f"{name}: several columns are called so, and the first of them is read; give the others names of their own."
        for name in source.detected.get("twice", ())
        if name.casefold() in mapping.named
    ]
    told = {"decimal": seen.decimal, "dates": seen.dates, "notes": [*twice, *seen.notes]}
    detected = source.detected | {name: value for name, value in told.items() if value}
    typed = [name for name in mapping.needing("moment") if source.columns.get(name) in ZONELESS]
    return replace(
        source, readings=seen.columns, detected=detected, naive=(*seen.naive, *sorted(typed))
    )


def _open(
    con: Any, file: str, mapping: Mapping | None, query: str | None, only: str | None, folder: Path
) -> Source:
    if query is not None:
        raise BadInput(
            gettext("--query goes with a database URL; {file} is a file.").format(file=file)
        )
    path = Path(file)
    if path.is_dir():
        raise BadInput(
            gettext("{file} is a folder; name its files, like {path}.").format(
                file=file, path=path / "*.csv"
            )
        )
    if not path.is_file():
        raise BadInput(gettext("{file} cannot be read: there is no such file.").format(file=file))
    if path.stat().st_size == 0:
        raise BadInput(gettext("{name} is empty.").format(name=path.name))
    if path.suffix.lower() == ".zip":
        inside = unzipped(path, folder, SUFFIXES)
        opened = _open(con, str(inside), mapping, query, only, folder)
        return replace(opened, name=path.name, detected=opened.detected | {"inside": inside.name})
    kind, packing = _kind(path)
    try:
        if kind == "workbook":
            return _workbook(con, path, folder)
        if kind == "parquet":
            return _parquet(con, path, packing, only, folder)
        if kind == "json":
            return _json(con, path, packing, folder)
        return _csv(con, path, kind, packing, mapping, folder)
    except BadInput:
        raise
    except Exception as error:  # whatever the reader stumbled over is the file's
        first = str(error).strip().splitlines()[0]
        first = re.sub(
            re.escape(str(folder)) + r"[^\s'\"]*", path.name, first
        )  # a scratch file is nobody's
        if packing:
            check_packing(path, packing, first)
        raise BadInput(
            gettext("{name} cannot be read as {upper}: {first}").format(
                name=path.name, upper=kind.upper(), first=first
            )
        ) from error


def _kind(path: Path) -> tuple[str, str | None]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = {".gz": "gzip", ".zst": "zstd"}.get(suffixes[-1]) if suffixes else None
    plain = suffixes[-2 if packing else -1 :][:1] if len(suffixes) >= (2 if packing else 1) else []
    if not plain or plain[0] not in SUFFIXES:
        raise BadInput(
            gettext(
                "{name} is of no kind that can be imported; use .csv, .tsv, .parquet, .jsonl "
                "(plain, .gz, .zst or .zip) or .xlsx."
            ).format(name=path.name)
        )
    return SUFFIXES[plain[0]], packing


def _parquet(con: Any, path: Path, packing: str | None, only: str | None, folder: Path) -> Source:
    if packing:
        import pyarrow as pa

        unpacked = folder / path.with_suffix("").name
        with (
            pa.input_stream(str(path), compression=packing) as packed,
            unpacked.open("wb") as plain,
        ):
            while chunk := packed.read(1 << 20):
                plain.write(chunk)
        path, name = unpacked, path.name
    else:
        name = path.name
    relation = _read_parquet([path])
    largest, rows = con.execute(
        f"SELECT max(row_group_num_rows), sum(row_group_num_rows) FROM (SELECT DISTINCT row_group_id, row_group_num_rows "
        f"FROM parquet_metadata({literal(path)}))"
    ).fetchall()[0]
    if (
        largest or 0
    ) > LARGE_ROW_GROUP and rows <= ROWS_AT_ONCE:  # one core reads a row group; from memory, all do
        condition = f" WHERE {only}" if only else ""
        con.execute(f"CREATE OR REPLACE TABLE raw_rows AS SELECT * FROM {relation}{condition}")
        return Source(name, "raw_rows", described(con, "raw_rows"), detected={"format": "parquet"})
    return Source(
        name, relation, described(con, relation), detected={"format": "parquet"}, files=(path,)
    )


def _workbook(con: Any, path: Path, folder: Path) -> Source:
    rows, sheets = workbook(path, folder)
    con.execute(f"CREATE OR REPLACE TABLE raw_rows AS SELECT * FROM {_read_parquet([rows])}")
    return Source(
        path.name,
        "raw_rows",
        described(con, "raw_rows"),
        detected={"format": "workbook", "sheets": sheets},
    )


def _csv(
    con: Any, path: Path, kind: str, packing: str | None, mapping: Mapping | None, folder: Path
) -> Source:
    import duckdb

    dialect = detect(con, path, kind, packing, mapping, folder)
    torn: list[str] = []
    try:
        kept = _rows_and_rejects(con, dialect, folder)
        swallowed = con.execute(
            "SELECT 1 FROM rejected_lines WHERE fault = 'UNQUOTED VALUE' LIMIT 1"
        ).fetchall()
    except duckdb.InvalidInputException:
        swallowed = [()]
    if swallowed:  # a quote that nothing closes took the lines after it with it
        dialect, torn = mended(dialect, path.name, folder / "whole-records.csv")
        kept = _rows_and_rejects(con, dialect, folder)
    con.execute("INSERT INTO rejected_lines SELECT 'UNQUOTED VALUE', unnest(?::VARCHAR[])", [torn])
    con.execute(
        "CREATE OR REPLACE TABLE rejected_lines AS SELECT "
        "'broken_line {\"fault\":\"' || lower(fault) || '\"}' AS reason, line FROM rejected_lines"
    )
    source = _loaded(con, path.name, {"format": kind, **dialect.as_dict()}, kept)
    check_header(dialect, path.name, source.columns)
    return source


def _rows_and_rejects(con: Any, dialect: Dialect, folder: Path) -> tuple[Path, ...]:
    """Read delimited text (see `_kept`); the lines that are no rows go into ``rejected_lines`` (fault, line)."""
    con.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    kept = _kept(con, dialect.reader, dialect.path, folder)
    con.execute(
        "CREATE OR REPLACE TABLE rejected_lines AS SELECT replace(any_value(error_type)::VARCHAR, '_', ' ') AS fault, "
        "any_value(csv_line) AS line FROM reject_errors GROUP BY line"
    )
    con.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    return kept


def _json(con: Any, path: Path, packing: str | None, folder: Path) -> Source:
    options = [
        "format = 'newline_delimited'",
        "ignore_errors = true",
        "maximum_object_size = 67108864",
    ]
    if packing:
        options.append(f"compression = '{packing}'")
    sniffed = described(
        con,
        f"read_json({literal(path)}, {', '.join(options)}, sample_size = -1, map_inference_threshold = -1)",
    )
    text = (
        "TIMESTAMP",
        "TIMESTAMP WITH TIME ZONE",
        "DATE",
        "TIME",
        "UUID",
        "JSON",
    )  # as written, please
    columns = ", ".join(
        f"{literal(name)}: {literal('VARCHAR' if type_ in text else type_)}"
        for name, type_ in sniffed.items()
    )
    reader = f"read_json({literal(path)}, {', '.join(options)}, columns = {{{columns}}})"
    return _loaded(con, path.name, {"format": "json"}, _kept(con, reader, path, folder))


def _database(
    con: Any, url: str, query: str | None, folder: Path, tell: Callable[[int], None]
) -> Source:
    name, paths = fetched(url, query, folder, tell)
    relation = _read_parquet(paths)
    return Source(
        name,
        relation,
        described(con, relation),
        detected={"format": "database"},
        files=tuple(paths),
    )


def _kept(con: Any, reader: str, path: Path, folder: Path) -> tuple[Path, ...]:
    """Read a text file once: into memory, or, where it is large, into a scratch file (which is returned)."""
    if path.stat().st_size <= LARGE_TEXT:
        con.execute(f"CREATE OR REPLACE TABLE raw_rows AS SELECT * FROM {reader}")
        return ()
    scratch = folder / "raw_rows.parquet"
    con.execute(f"COPY (SELECT * FROM {reader}) TO {literal(scratch)} (FORMAT parquet)")
    return (scratch,)


def _loaded(con: Any, name: str, detected: dict[str, Any], kept: tuple[Path, ...]) -> Source:
    rejected: dict[str, int] = {}
    if con.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'rejected_lines'").fetchall():
        rejected = dict(
            con.execute("SELECT reason, count(*) FROM rejected_lines GROUP BY reason").fetchall()
        )
    relation = _read_parquet(kept) if kept else "raw_rows"
    return Source(
        name, relation, described(con, relation), rejected=rejected, detected=detected, files=kept
    )


def described(con: Any, relation: str) -> dict[str, str]:
    rows = con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {row[0]: row[1] for row in rows}
