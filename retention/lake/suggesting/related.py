"""Join files that belong together by their keys, such as order lines, orders and products."""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from retention.errors import BadInput
from retention.lake import formats
from retention.lake.importing.mapping import literal, quoted
from retention.lake.reading import sources
from retention.lake.reading.archives import WORKBOOKS, scratch_folder
from retention.lake.suggesting.profiles import EXACT, plain, similarity, synonyms
from retention.lake.suggesting.statuses import is_status_name
from retention.number_format import count
from retention.paths import is_url
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.lake import Lake

MIN_UNIQUE = 0.98  # share of a key's values that occur once
MIN_FILLED = 0.9  # share of rows with a key; exports end with empty lines
MIN_MATCHES = 0.9  # share of the different values that the other file has
MAX_LOST = 0.05  # share of orders that may lack a line; they are not imported
PACKED = 8  # size of a file's text, in sizes of the packed file; a common ratio
_KEY_WORDS = ("id", "key", "no", "nr", "number", "code", "sku")
_ENTITIES = ("order_id", "item_id", "customer_id")
# What a file may tell of an item or a customer; of an order, it may tell everything.
_TOLD = {"item_id": {"price", "amount", "title", "currency"}, "customer_id": {"country"}}
_SALES = {"amount", "price"}


@dataclass(frozen=True, slots=True)
class RelatedTable:
    """Rows of the files or sheets that have the same columns."""

    name: str
    files: tuple[str, ...]
    relation: str
    columns: tuple[str, ...]
    rows: int
    broken_lines: int = 0

    @property
    def targets(self) -> set[str]:
        """Canonical columns of events that its columns are named like."""
        return _targets(self.columns)


@dataclass(frozen=True, slots=True)
class _Link:
    """A column whose values are the unique values of another table's column."""

    table: int
    column: str
    other: int
    key: str
    share: float  # of the different values that the other table has


@contextmanager
def joined_files(
    lake: "Lake", files: Sequence[str], sheet: str | None
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the files to read, and how they were joined, for people.

    Files of one shape stay as they are, and so do large ones, several complete ones, and those of
    a named sheet. Otherwise the file with the most detail gets what the others tell of its orders,
    items and customers. The result is a temporary file: it holds personal data.

    Raises `BadInput`: a file shares no key with the others, or many of its orders are not in the
    other.
    """
    named = sources.expand_paths([*files])
    is_single = len(named) == 1 and Path(named[0]).suffix.lower() not in WORKBOOKS
    if sheet or is_single or any(map(is_url, named)) or _begin_alike(named):
        yield named, []
        return
    with scratch_folder() as folder:
        try:
            related = _relate(lake.duckdb, named, folder)
        finally:
            sql = "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, 'related_')"
            for (table,) in lake.duckdb.execute(sql).fetchall():
                lake.duckdb.execute(f"DROP TABLE {table}")
        yield related


def _relate(con: Any, named: list[str], folder: Path) -> tuple[list[str], list[str]]:
    """Return the files to read, and how they were joined."""
    tables = _load(con, named)
    if len(tables) < 2:
        return named, []
    base, links = _choose_base(_links(con, tables), tables)
    if not links or formats.detect_format(tables[base].columns, "events"):
        return named, []
    used = {base, *(link.other for link in links)}
    if any(_suffices(table) for place, table in enumerate(tables) if place not in used):
        return named, []
    read = {file for place in used for file in tables[place].files}
    unused = [table for table in tables if read.isdisjoint(table.files)]
    if unused:
        message = gettext(
            "{file} cannot be joined with {other}: both need a column of one name and the same "
            "values, which occur once in one of them. Leave it out."
        )
        raise BadInput(message.format(file=unused[0].name, other=tables[base].name))
    lost = [_lost(con, tables, link) for link in links]
    columns, joins = _join(tables, base, links)
    if len(columns) == len(tables[base].columns):
        text = gettext("{other} adds nothing to the sales of {table}, and is left out.")
        others = ", ".join(tables[link.other].name for link in links)
        text = text.format(other=others, table=tables[base].name)
        return [*tables[base].files], [text, *filter(None, lost)]
    digest = hashlib.sha256("\n".join(map(os.path.abspath, named)).encode()).hexdigest()[:12]
    (folder / digest).mkdir()  # the quarantine of these files is named by it
    path = folder / digest / f"{Path(tables[base].files[0]).name.partition('.')[0]}-joined.jsonl"
    select = f"SELECT {', '.join(columns)} {' '.join(joins)}"
    con.execute(f"COPY ({select}) TO {literal(path)} (FORMAT json)")
    joined = [_told(con, tables, link) for link in links]
    text = gettext("{file}: {lines} cannot be read and are left out.")
    broken = [
        text.format(file=table.name, lines=count(table.broken_lines, "line"))
        for table in tables
        if table.broken_lines
    ]
    return [str(path)], [*joined, *filter(None, lost), *broken]


def _begin_alike(files: list[str]) -> bool:
    """Return whether several files have the same first line, or need not be compared."""
    paths = [Path(file) for file in files]
    if not all(path.is_file() for path in paths):
        return True  # the reader names the missing file
    sizes = [path.stat().st_size * (PACKED if _is_packed(path) else 1) for path in paths]
    if sum(sizes) > sources.LARGE_TEXT:
        return True
    return len(files) > 1 and len({_first_line(path) for path in paths}) == 1


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() in (*WORKBOOKS, ".gz", ".zst", ".zip", ".parquet", ".pq")


def _first_line(path: Path) -> bytes:
    try:
        with pa.input_stream(str(path), compression="detect") as content:
            return bytes(content.read(1 << 16)).partition(b"\n")[0]
    except (OSError, pa.ArrowException):
        return path.name.encode()  # the reader says what is wrong with it


def _load(con: Any, files: list[str]) -> list[RelatedTable]:
    """Load the rows of the files, one table for each set of columns.

    None of a workbook whose sheets need not be joined.
    """
    groups: dict[frozenset[str], tuple[str, list[str], list[str], list[int]]] = {}
    for file in files:
        with sources.open_source(con, file, None, None) as opened:
            opened_all = (opened, *opened.others)
            if len(files) == 1 and any(map(_suffices, opened_all)):
                return []
            for source in opened_all:
                key = frozenset(map(str.casefold, source.columns))
                rows = f"SELECT COLUMNS(*)::VARCHAR FROM {source.relation}"
                if key in groups:
                    con.execute(f"INSERT INTO {groups[key][0]} BY NAME {rows}")
                else:
                    groups[key] = (f"related_{len(groups)}", [], [], [])
                    con.execute(f"CREATE OR REPLACE TABLE {groups[key][0]} AS {rows}")
                sheets = source.detected.get("sheets")
                groups[key][1].append(sheets[0] if sheets else source.name)
                groups[key][2].append(file)
                groups[key][3].append(sum(source.rejected.values()))
    tables = []
    for relation, names, of_files, broken in groups.values():
        columns = tuple(sources.column_types(con, relation))
        rows = con.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0]
        name, lines = ", ".join(names), sum(broken)
        tables.append(RelatedTable(name, tuple(of_files), relation, columns, rows, lines))
    return tables


# ---------------------------------------------------------------- names


def _target(name: str) -> str | None:
    """Return the canonical column of events that a name is a synonym of."""
    words = synonyms()["events"]
    scores = {target: similarity(name, words[target]) for target in words}
    best = max(scores, key=lambda target: scores[target])
    return best if scores[best] >= EXACT else None


def _entity(column: str, table: str) -> str:
    """Return what a key's name speaks of: an order, item or customer, or else its first word."""
    word = plain(column)
    if word in _KEY_WORDS:  # orders.id
        word = plain(table.partition(".")[0]).removesuffix("s") + word
    words = synonyms()["events"]
    for target in _ENTITIES:
        if similarity(word, words[target]) >= EXACT:
            return target
    ending = next((key for key in _KEY_WORDS if word.endswith(key)), "")
    stem = word.removesuffix(ending)
    return next((target for target in _ENTITIES if similarity(stem, words[target]) >= EXACT), stem)


def _targets(columns: Iterable[str]) -> set[str]:
    return {target for name in columns if (target := _target(name))}


def _suffices(table: RelatedTable | sources.Source) -> bool:
    """Return whether a table alone has customers, times and sales."""
    targets = _targets(table.columns)
    return {"customer_id", "occurred_at"} <= targets and bool(_SALES & targets)


# ---------------------------------------------------------------- keys


def _value(column: str, of: str = "") -> str:
    return f"nullif(regexp_replace(trim({of}{quoted(column)}), '\\.0+$', ''), '')"


def _links(con: Any, tables: list[RelatedTable]) -> list[_Link]:
    """Find the columns of one name and unique values in another table, the best for each pair.

    Numbers of rows are unique in both tables, and equal by chance. Complete tables are two exports,
    unless one has the lines of the other's orders.
    """
    complete = [_suffices(table) for table in tables]
    keys = {
        (place, name): _entity(name, table.name)
        for place, table in enumerate(tables)
        for name in table.columns
        if _is_unique(con, table, name)
    }
    best: dict[tuple[int, int], _Link] = {}
    for place, table in enumerate(tables):
        for column in table.columns:
            entity = _entity(column, table.name)
            for (other, key), of_key in keys.items():
                if other == place or of_key != entity:
                    continue
                if complete[other] and entity != "order_id":
                    continue
                if (place, column) in keys and (
                    entity not in _ENTITIES or (complete[place] and complete[other])
                ):
                    continue
                share = _matches(con, table, column, tables[other], key)
                known = best.get((place, other))
                if share >= MIN_MATCHES and (known is None or share > known.share):
                    best[place, other] = _Link(place, column, other, key, share)
    return [*best.values()]


def _is_unique(con: Any, table: RelatedTable, column: str) -> bool:
    sql = f"SELECT count({_value(column)}), count(DISTINCT {_value(column)}) FROM {table.relation}"
    filled, distinct = con.execute(sql).fetchall()[0]
    return bool(
        distinct > 1 and distinct >= MIN_UNIQUE * filled and filled >= MIN_FILLED * table.rows
    )


def _matches(con: Any, table: RelatedTable, column: str, other: RelatedTable, key: str) -> float:
    share = con.execute(
        f"SELECT avg((value IN (SELECT {_value(key)} FROM {other.relation}))::INTEGER) "
        f"FROM (SELECT DISTINCT {_value(column)} AS value FROM {table.relation}) "
        "WHERE value IS NOT NULL"
    ).fetchall()[0][0]
    return float(share or 0.0)


def _choose_base(links: list[_Link], tables: list[RelatedTable]) -> tuple[int, list[_Link]]:
    """Choose the table whose rows stay, and the links to the tables that it reaches."""
    paths = [_reach(links, place) for place in range(len(tables))]

    def rank(place: int) -> tuple[int, int, int]:
        return len(paths[place]), len(tables[place].targets), tables[place].rows

    base = max(range(len(tables)), key=rank)
    return base, paths[base]


def _reach(links: list[_Link], start: int) -> list[_Link]:
    """Return the links to each table in reach, in an order to join by."""
    reached, path = [start], []
    for place in reached:  # grows
        for link in links:
            if link.table == place and link.other not in reached:
                reached.append(link.other)
                path.append(link)
    return path


# ---------------------------------------------------------------- rows


def _join(tables: list[RelatedTable], base: int, links: list[_Link]) -> tuple[list[str], list[str]]:
    """Return SQL of the columns and of the joins: the base's rows with what the others add."""
    names = {name.casefold() for name in tables[base].columns}
    targets = tables[base].targets
    columns = [f"t{base}.{quoted(name)}" for name in tables[base].columns]
    joins = [f"FROM {tables[base].relation} AS t{base}"]
    for link in links:
        other, alias = tables[link.other], f"t{link.other}"
        entity = _entity(link.column, tables[link.table].name)
        key = _value(link.key)
        joins.append(
            f"LEFT JOIN (SELECT *, {key} AS _key FROM {other.relation} "
            f"QUALIFY row_number() OVER (PARTITION BY {key}) = 1) AS {alias} "
            f"ON {alias}._key = {_value(link.column, f't{link.table}.')}"
        )
        for name in other.columns:
            if name != link.key and _adds(name, entity, targets):
                title = name if name.casefold() not in names else f"{_stem(other)} {name}"
                names.add(title.casefold())
                columns.append(f"{alias}.{quoted(name)} AS {quoted(title)}")
        targets |= other.targets if entity == "order_id" else other.targets & _told_of(entity)
    return columns, joins


def _adds(name: str, entity: str, present: set[str]) -> bool:
    """Return whether a column tells something of a sale that is not known yet."""
    target = _target(name)
    if plain(name) == synonyms()["events"]["customer_id"][0]:
        return True  # a person, where "customer_id" may be new for each order, as in Olist's files
    if target in present or (target in _SALES and present & _SALES):
        return False
    if entity == "order_id":
        return True
    return target in _told_of(entity) and not is_status_name(name)


def _told_of(entity: str) -> set[str]:
    return _TOLD.get(entity, {"country"})


def _stem(table: RelatedTable) -> str:
    return table.name.partition(".")[0]


def _told(con: Any, tables: list[RelatedTable], link: _Link) -> str:
    """Say how two tables are joined, and what has no match."""
    table, other = tables[link.table], tables[link.other]
    rows = con.execute(
        f"SELECT count(*) FROM {table.relation} WHERE {_value(link.column)} IS NULL OR "
        f"{_value(link.column)} NOT IN (SELECT {_value(link.key)} FROM {other.relation} "
        f"WHERE {_value(link.key)} IS NOT NULL)"
    ).fetchall()[0][0]
    text = gettext("{table} joined with {other}: {column} = {key}; {rows} without a match.")
    column = link.column
    return text.format(
        table=table.name, other=other.name, column=column, key=link.key, rows=count(rows, "row")
    )


def _lost(con: Any, tables: list[RelatedTable], link: _Link) -> str:
    """Say which orders are not in the table whose rows stay; "" without any."""
    table, other = tables[link.table], tables[link.other]
    lost = 1 - _matches(con, other, link.key, table, link.column)
    if not lost or _entity(link.column, table.name) != "order_id":
        return ""
    message = gettext("{lost:.1%} of the orders of {other} are not in {table}")
    share = message.format(lost=lost, other=other.name, table=table.name)
    if lost > MAX_LOST:
        text = gettext(
            "{share} and would be lost. Export {table} for the same orders, or leave it out."
        )
        raise BadInput(text.format(share=share, table=table.name))
    return gettext("{share}, and are left out.").format(share=share)
