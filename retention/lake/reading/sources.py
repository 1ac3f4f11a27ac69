"""Open files and databases as DuckDB relations.

Formats: CSV, TSV, Parquet, JSON Lines (plain, .gz, .zst, .zip), workbooks and SQL databases.
Text formats are read as text: `00123` stays `00123`, and a bad value spoils only its row.
`retention.lake.reading.column_formats` then converts the columns that a map uses.
"""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retention.errors import BadInput
from retention.lake.importing import map_sql
from retention.lake.importing.mapping import Mapping, literal, quoted
from retention.lake.reading import NoRows, archives
from retention.lake.reading.column_formats import IDENTITIES, ColumnReading, detect_readings
from retention.lake.reading.dialect import (
    Dialect,
    check_header,
    detect,
    remove_broken_lines,
    required_columns,
)
from retention.number_format import count
from retention.paths import is_url
from retention.privacy import unpacking
from retention.text import gettext

LARGE_ROW_GROUP = 250_000
MAX_ROWS_IN_MEMORY = 4_000_000  # most rows in memory, a few hundred bytes each
LARGE_TEXT = 1 << 28  # bytes
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
    **dict.fromkeys(archives.WORKBOOKS, "workbook"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to import.

    `rejected`: lines that are not rows, counted by reason. The table ``rejected_lines`` (reason,
    line) stores them.
    `files`: parquet files of the rows; empty if DuckDB holds them as a table.
    `base`: relation before columns were added.
    `naive`: time columns with values that lack a time zone.
    """

    name: str
    relation: str
    columns: dict[str, str]
    readings: dict[str, ColumnReading] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    detected: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    added: str = ""
    base: str = ""
    naive: tuple[str, ...] = ()
    others: tuple["Source", ...] = ()

    def type_of(self, column: str) -> str:
        """Return a column's DuckDB type in expressions."""
        return self.readings[column].type if column in self.readings else self.columns[column]


# Called with a file, its source, the map, and the number of rows once they are read (else None).
SourceCheck = Callable[[str, Source, Mapping, int | None], None]


def accept_any(file: str, source: Source, mapped: Mapping, rows: int | None) -> None:
    """Accept any source."""


@contextmanager
def open_source(
    con: Any,
    file: str,
    mapping: Mapping | None,
    query: str | None,
    condition: str | None = None,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Iterator[Source]:
    """Open a file or database as a relation.

    Temporary tables and files are deleted at the end.

    `on_rows`: called with the number of rows read, if rows are fetched before DuckDB reads them.
    """
    with archives.scratch_folder() as folder:
        try:
            if is_url(file):
                yield _database(con, file, query, folder, on_rows)
            else:
                yield _open(con, file, mapping, query, condition, folder)
        except BadInput as error:
            if str(folder) in str(error):  # the file will be gone when the message is read
                raise BadInput(_without(folder, Path(file).name, str(error))) from None
            raise
        finally:
            for table in ("raw_rows", "shaped_rows", "rejected_lines"):
                con.execute(f"DROP TABLE IF EXISTS {table}")


def expand_paths(files: list[str]) -> list[str]:
    """Expand patterns such as ``data/*.csv.gz`` to files."""
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
    """Split a source to fit into memory."""
    if source.files:
        sql = f"SELECT file_name, num_rows FROM parquet_file_metadata({_listed(source.files)})"
        counted = con.execute(sql).fetchall()
        parts = [
            (f"{_read_parquet([Path(name)], ', file_row_number = true')}", "file_row_number", rows)
            for name, rows in counted
        ]
    else:
        rows = con.execute(f"SELECT count(*) FROM {source.relation}").fetchall()[0][0]
        parts = [(source.base or source.relation, "rowid", rows)]
    for relation, number, rows in parts:
        if len(parts) == 1 and rows <= MAX_ROWS_IN_MEMORY:
            yield source, rows
            continue
        left_out = "* EXCLUDE (file_row_number)" if source.files else "*"
        for start in range(0, rows, MAX_ROWS_IN_MEMORY):
            stop = min(rows, start + MAX_ROWS_IN_MEMORY)
            piece = (
                f"(SELECT {left_out}{source.added} FROM {relation} "
                f"WHERE {number} >= {start} AND {number} < {stop})"
            )
            yield replace(source, relation=piece), stop - start


def _listed(files: Sequence[Path]) -> str:
    return f"[{', '.join(map(literal, files))}]"


def _read_parquet(files: Sequence[Path], options: str = "") -> str:
    return f"read_parquet({_listed(files)}, hive_partitioning = false{options})"


def apply_readings(con: Any, source: Source, mapping: Mapping) -> Source:
    """Attach the detected column conversions to a source."""
    result = detect_readings(
        con,
        source.relation,
        source.columns,
        mapping,
        source.detected.get("format") in ("parquet", "database"),
    )
    scientific_notes = [
        _check_scientific(source.name, name, rows, mapping)
        for name, rows in result.scientific.items()
    ]
    duplicate_notes = [
        gettext(
            "{column}: several columns are called so, and the first of them is read; give the "
            "others names of their own."
        ).format(column=name)
        for name in source.detected.get("twice", ())
        if name.casefold() in mapping.named
    ]
    properties = {
        "decimal": result.decimal,
        "dates": result.dates,
        "notes": [
            *source.detected.get("notes", ()),
            *duplicate_notes,
            *scientific_notes,
            *result.notes,
        ],
    }
    detected = source.detected | {name: value for name, value in properties.items() if value}
    moments = mapping.source_columns_of("moment")
    typed = [name for name in moments if source.columns.get(name) in ZONELESS]
    naive = (*result.naive, *sorted(typed))
    return replace(source, readings=result.columns, detected=detected, naive=naive)


def _check_scientific(file: str, column: str, rows: int, mapping: Mapping) -> str:
    """Warn that a spreadsheet cut ids; refuse it where customers or orders merge."""
    text = gettext(
        "{file}: {rows} of {column} are in scientific notation, like 9.94E+14: a spreadsheet "
        "cut the number, so different ones look equal. Export {column} as text."
    ).format(file=file, rows=count(rows, "value"), column=column)
    targets = [target for target, each in mapping.columns.items() if each.column == column]
    if {*targets} & {*IDENTITIES}:
        raise BadInput(text)
    return text


def _open(
    con: Any,
    file: str,
    mapping: Mapping | None,
    query: str | None,
    condition: str | None,
    folder: Path,
) -> Source:
    from retention.lake.reading.database import check_not_sqlite

    path = Path(file)
    check_not_sqlite(path)
    if query is not None:
        text = gettext("--query goes with a database URL; {file} is a file.")
        raise BadInput(text.format(file=file))
    if path.is_dir():
        text = gettext("{file} is a folder; name its files, like {example}.")
        raise BadInput(text.format(file=file, example=path / "*.csv"))
    if not path.is_file():
        raise BadInput(gettext("{file} cannot be read: there is no such file.").format(file=file))
    if path.stat().st_size == 0:
        raise NoRows(gettext("{name} is empty.").format(name=path.name))
    if path.suffix.lower() == ".zip":
        inside = archives.extract_table(path, folder, SUFFIXES)
        source = _open(con, str(inside), mapping, query, condition, folder)
        return replace(source, name=path.name, detected=source.detected | {"inside": inside.name})
    kind, compression = _format(path)
    if not (kind == "parquet" and compression):  # this is checked as it is unpacked
        unpacking.check_file(path)
    try:
        if kind == "workbook":
            return _workbook(con, path, mapping, folder)
        if mapping and mapping.sheet:
            text = gettext("A sheet can be named for a workbook; {name} is none.")
            raise BadInput(text.format(name=path.name))
        if kind == "parquet":
            return _parquet(con, path, compression, condition, folder)
        if kind == "json":
            return _json(con, path, compression, folder)
        return _csv(con, path, kind, compression, mapping, folder)
    except BadInput:
        raise
    except Exception as error:  # any error of the reader is a fault of the file
        reason = str(error).strip().splitlines()[0]
        reason = _without(folder, path.name, reason)
        if compression:
            archives.check_compression(path, compression, reason)
        text = gettext("{name} cannot be read as {format}: {reason}")
        raise BadInput(text.format(name=path.name, format=kind.upper(), reason=reason)) from error


def _without(folder: Path, name: str, text: str) -> str:
    """Name a file instead of its scratch copy."""
    return re.sub(re.escape(str(folder)) + r"[^\s'\"]*", name, text)


def _format(path: Path) -> tuple[str, str | None]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = {".gz": "gzip", ".zst": "zstd"}.get(suffixes[-1]) if suffixes else None
    plain = []
    if len(suffixes) >= (2 if compression else 1):
        plain = suffixes[-2 if compression else -1 :][:1]
    if not plain or plain[0] not in SUFFIXES:
        text = gettext(
            "{name} is of no kind that can be imported; use .csv, .tsv, .parquet, .jsonl "
            "(plain, .gz, .zst or .zip) or .xlsx."
        )
        raise BadInput(text.format(name=path.name))
    return SUFFIXES[plain[0]], compression


def _parquet(
    con: Any, path: Path, compression: str | None, condition: str | None, folder: Path
) -> Source:
    name = path.name
    if compression:
        path = archives.decompress(path, compression, folder)
        unpacking.check_file(path)
    relation = _read_parquet([path])
    largest, rows = con.execute(
        "SELECT max(row_group_num_rows), sum(row_group_num_rows) "
        "FROM (SELECT DISTINCT row_group_id, row_group_num_rows "
        f"FROM parquet_metadata({literal(path)}))"
    ).fetchall()[0]
    detected = {"format": "parquet"}
    files: tuple[Path, ...] = (path,)
    # A single core reads a row group, but all cores read a table in memory.
    if (largest or 0) > LARGE_ROW_GROUP and rows <= MAX_ROWS_IN_MEMORY:
        where = f" WHERE {condition}" if condition else ""
        con.execute(f"CREATE OR REPLACE TABLE raw_rows AS SELECT * FROM {relation}{where}")
        relation, files = "raw_rows", ()
    return Source(name, relation, column_types(con, relation), detected=detected, files=files)


def _workbook(con: Any, path: Path, mapping: Mapping | None, folder: Path) -> Source:
    """Read the sheets with the map's columns, or else the first ones of one shape.

    `Source.others` has the rest.
    """
    sheets = archives.convert_workbook(path, folder)
    named = mapping.sheet if mapping else None
    if named is not None and sheets.get(named) is None:
        message = gettext('{file} has no rows in a sheet "{sheet}"; there are {sheets}.')
        raise BadInput(message.format(file=path.name, sheet=named, sheets=", ".join(sheets)))
    required = required_columns(mapping)
    groups: dict[Any, list[str]] = {}  # sheets by their columns, or by how many the map finds
    for sheet, file in sheets.items():
        if file and named in (None, sheet):
            columns = tuple(column_types(con, _read_parquet([file])))
            # A map's `from` adds columns that no sheet has.
            group = len(required & {*map(str.casefold, columns)}) if required else columns
            groups.setdefault(group, []).append(sheet)
    sources = []
    for names in groups.values():
        left_out = gettext("{sheet} (left out: other columns or no rows)")
        labels = [*names, *(left_out.format(sheet=one) for one in sheets if one not in names)]
        detected: dict[str, Any] = {"format": "workbook", "sheets": labels}
        if named is None and len(names) < len(filled := [one for one in sheets if sheets[one]]):
            text = gettext(
                "{file}: sheets left out, with other columns: {others}. Sheets read: {sheets}."
            )
            detected["notes"] = [
                text.format(
                    file=path.name,
                    sheets=", ".join(names),
                    others=", ".join(one for one in filled if one not in names),
                )
            ]
        files = [file for name in names if (file := sheets[name])]
        relation = _read_parquet(files, ", union_by_name = true")
        sources.append(Source(path.name, relation, column_types(con, relation), detected=detected))
    chosen = sources[[*groups].index(max(groups))] if required else sources[0]
    con.execute(f"CREATE OR REPLACE TABLE raw_rows AS SELECT * FROM {chosen.relation}")
    others = tuple(one for one in sources if one is not chosen)
    return replace(chosen, relation="raw_rows", others=others)


def _csv(
    con: Any, path: Path, kind: str, compression: str | None, mapping: Mapping | None, folder: Path
) -> Source:
    import duckdb

    dialect = detect(con, path, kind, compression, mapping, folder)
    broken_lines: list[str] = []
    try:
        files = _load_delimited(con, dialect, folder)
        sql = "SELECT 1 FROM rejected_lines WHERE fault = 'UNQUOTED VALUE' LIMIT 1"
        has_open_quotes = bool(con.execute(sql).fetchall())
    except duckdb.InvalidInputException:
        has_open_quotes = True
    if has_open_quotes:  # an open quote hides the lines after it
        name = path.name
        dialect, broken_lines = remove_broken_lines(dialect, name, folder / "whole-records.csv")
        files = _load_delimited(con, dialect, folder)
    con.execute(
        "INSERT INTO rejected_lines SELECT 'UNQUOTED VALUE', unnest(?::VARCHAR[])", [broken_lines]
    )
    con.execute(
        "CREATE OR REPLACE TABLE rejected_lines AS "
        "SELECT 'broken_line {\"fault\":\"' || lower(fault) || '\"}' AS reason, line "
        "FROM rejected_lines"
    )
    source = _loaded_source(con, path.name, {"format": kind, **dialect.as_dict()}, files)
    check_header(dialect, path.name, source.columns)
    return source


def _load_delimited(con: Any, dialect: Dialect, folder: Path) -> tuple[Path, ...]:
    """Load delimited text. Rejected lines go into ``rejected_lines`` (fault, line)."""
    con.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    files = _load(con, dialect.reader, dialect.path, folder)
    con.execute(
        "CREATE OR REPLACE TABLE rejected_lines AS "
        "SELECT replace(any_value(error_type)::VARCHAR, '_', ' ') AS fault, "
        "any_value(csv_line) AS line FROM reject_errors GROUP BY line"
    )
    con.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    return files


def _json(con: Any, path: Path, compression: str | None, folder: Path) -> Source:
    options = [
        "format = 'newline_delimited'",
        "ignore_errors = true",
        "maximum_object_size = 67108864",
    ]
    if compression:
        options.append(f"compression = '{compression}'")
    sniffed = column_types(
        con,
        f"read_json({literal(path)}, {', '.join(options)}, "
        "sample_size = -1, map_inference_threshold = -1)",
    )
    # Read these as they are written.
    text = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE", "TIME", "UUID", "JSON")
    columns = ", ".join(
        f"{literal(name)}: {literal('VARCHAR' if type_ in text else type_)}"
        for name, type_ in sniffed.items()
    )
    reader = f"read_json({literal(path)}, {', '.join(options)}, columns = {{{columns}}})"
    return _loaded_source(con, path.name, {"format": "json"}, _load(con, reader, path, folder))


def _database(
    con: Any, url: str, query: str | None, folder: Path, on_rows: Callable[[int], None]
) -> Source:
    from retention.lake.reading.database import fetch_rows

    name, paths = fetch_rows(url, query, folder, on_rows)
    relation = _read_parquet(paths)
    detected = {"format": "database"}
    files = tuple(paths)
    return Source(name, relation, column_types(con, relation), detected=detected, files=files)


def _load(con: Any, reader: str, path: Path, folder: Path) -> tuple[Path, ...]:
    """Load a text file into ``raw_rows``; return the scratch file of a large one."""
    if path.stat().st_size <= LARGE_TEXT:
        con.execute(f"CREATE OR REPLACE TABLE raw_rows AS SELECT * FROM {reader}")
        return ()
    scratch_file = folder / "raw_rows.parquet"
    con.execute(f"COPY (SELECT * FROM {reader}) TO {literal(scratch_file)} (FORMAT parquet)")
    return (scratch_file,)


def _loaded_source(
    con: Any, name: str, detected: dict[str, Any], files: tuple[Path, ...]
) -> Source:
    rejected: dict[str, int] = {}
    if con.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'rejected_lines'").fetchall():
        sql = "SELECT reason, count(*) FROM rejected_lines GROUP BY reason"
        rejected = dict(con.execute(sql).fetchall())
    relation = _read_parquet(files) if files else "raw_rows"
    types = column_types(con, relation)
    return Source(name, relation, types, rejected=rejected, detected=detected, files=files)


def column_types(con: Any, relation: str) -> dict[str, str]:
    """Return the DuckDB types of a relation's columns."""
    rows = con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {row[0]: row[1] for row in rows}


# ---------------------------------------------------------------- shape


def reshape(con: Any, source: Source, mapping: Mapping) -> Source:
    """Add columns and rows that a map expects.

    Optional columns that the file lacks become NULL. The map's ``from`` computes rows. Nested
    fields that the map names become columns.

    Raises `BadInput`: if DuckDB refuses the SELECT of the map's ``from``.
    """
    present = {name.casefold() for name in source.columns}
    missing = [name for name in mapping.optional if name.casefold() not in present]
    added = "".join(f", NULL::VARCHAR AS {quoted(name)}" for name in missing)
    if mapping.rows is not None:
        source, added = _run_from(con, source, added, mapping), ""
    for name, sql in nested_fields(con, source).items():
        if name.casefold() in mapping.named:
            added += f", {sql} AS {quoted(name)}"
    if not added:
        return source
    relation = f"(SELECT *{added} FROM {source.relation})"
    types = column_types(con, relation)
    return replace(source, relation=relation, columns=types, added=added, base=source.relation)


def _run_from(con: Any, source: Source, added: str, mapping: Mapping) -> Source:
    """Run the map's ``from`` on a source."""
    import duckdb

    numbered = f"SELECT *{added}, row_number() OVER () AS _line FROM {source.relation}"
    rows = f"SELECT * FROM ({mapping.rows}\n)"
    try:
        map_sql.bind(column_types(con, f"({numbered})"), rows)
        with map_sql.time_limit(con, f"{mapping.name} from"):
            con.execute(
                f"CREATE OR REPLACE TABLE shaped_rows AS WITH source AS ({numbered}) {rows}"
            )
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        if column := re.search(r'olumn "([^"]+)" (in REPLACE list )?not found', reason):
            text = gettext('it has no column "{column}"; there are {columns}.')
            reason = text.format(column=column[1], columns=", ".join(source.columns))
        message = gettext("{file} does not fit {map_name} [{table}]: {reason}").format(
            file=source.name, map_name=mapping.name, table=mapping.table.name, reason=reason
        )
        raise BadInput(message) from None
    columns = column_types(con, "shaped_rows")
    return replace(source, relation="shaped_rows", columns=columns, files=())


def is_nested(type_: str) -> bool:
    """Return whether a DuckDB type is a struct."""
    return type_.startswith("STRUCT(") and type_.endswith(")")


def nested_fields(con: Any, source: Source) -> dict[str, str]:
    """Find the fields of a source's nested columns.

    Returns: dotted name, such as ``user.id``, to the SQL of the field.
    """
    fields: dict[str, str] = {}
    columns = source.columns.items()
    waiting: list[tuple[tuple[str, ...], str]] = [((name,), type_) for name, type_ in columns]
    while waiting:
        path, type_ = waiting.pop(0)
        sql = ".".join(map(quoted, path))
        if is_nested(type_):
            inner_types = column_types(con, f"(SELECT unnest({sql}) FROM {source.relation})")
            waiting += [((*path, name), inner) for name, inner in inner_types.items()]
        elif len(path) > 1:
            fields[".".join(path)] = sql
    return fields
