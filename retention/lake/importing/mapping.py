"""Read and check map files. `map_compiler` applies them.

See docs/operator/maps.md.
"""

import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from retention.clock import time_zones
from retention.errors import BadInput
from retention.lake.importing import map_sql
from retention.lake.schema import TABLES, Table
from retention.policy_file import explain_toml_error, read_text
from retention.text import gettext
from retention.window import Means

_TEXT_OPTIONS = ("encoding", "delimiter", "decimal", "date_format", "sheet", "means")
_BOOLEAN_OPTIONS = ("dayfirst", "header")
# No directive, or one that DuckDB's strptime does not know.
_UNKNOWN_DIRECTIVE = re.compile(r"^[^%]*$|%(?!-?[dmyHIjMS]|[abcfghnpuwxzABGTUVWXYZ%])")
_SETTINGS = ("where", "leave_out", "from", "optional", *_TEXT_OPTIONS, *_BOOLEAN_OPTIONS)
OPTIONS = ("timezone", *_SETTINGS)
_DECLARES_TIMEZONE = re.compile(r"time\s*zone|(Z|[+-]\d\d(:?\d\d)?)'", re.IGNORECASE)
ANY_VALUE = "*"  # in `leave_out`: every row with a value in the column
NO_MAP = "the file (no --map was given)"


@dataclass(frozen=True)
class Expression:
    """Source of a canonical column.

    ``column`` is a source column's name, ``sql`` an expression over source columns in DuckDB's
    dialect, ``value`` a constant. Exactly one is set.
    """

    column: str | None = None
    sql: str | None = None
    value: Any = None

    @property
    def is_constant(self) -> bool:
        """Whether it has the same value in every row."""
        return self.column is None and self.sql is None

    @cached_property
    def columns(self) -> frozenset[str]:
        """Names of source columns, as written in the map."""
        if self.column is not None:
            return frozenset({self.column})
        return _columns_of(self.sql) if self.sql else frozenset()

    @property
    def concatenated_columns(self) -> frozenset[str]:
        """Names of source columns that its SQL only puts together with other text."""
        return self.columns - _columns_of(self.sql, computed=True) if self.sql else frozenset()

    @property
    def cast_to_times(self) -> frozenset[str]:
        """Names of source columns that its SQL casts to a date or time."""
        from sqlglot import exp

        casts = _parsed(self.sql, "the map").find_all(exp.Cast) if self.sql else ()
        return frozenset(
            cast.this.parts[0].name
            for cast in casts
            if isinstance(cast.this, exp.Column) and cast.to.is_type(*exp.DataType.TEMPORAL_TYPES)
        )

    @cached_property
    def text(self) -> str:
        """Its SQL."""
        if self.column is not None:
            return quoted(self.column)
        return f"({self.sql}\n)" if self.sql is not None else literal(self.value)


@dataclass(frozen=True)
class Mapping:
    """A map file's section for one table.

    ``rows`` is a SELECT (key ``from``) over the table ``source``, the file's rows with their number
    in ``_line``. It makes the rows to map. ``leave_out`` lists, by column, the values of rows that
    are no sale, such as cancelled orders; an import counts them. Other values of these columns that
    say cancelled or refunded are left out, too (`map_compiler.with_unlisted`). ``optional`` columns
    may be missing in a file. ``title`` is the item's title in events. It is not stored; it
    identifies bookkeeping lines.

    Options that are None are detected: the file's encoding, delimiter and header, the decimal mark
    of its numbers (``decimal``), and whether dates start with the day (``dayfirst``) or have an
    unusual format (``date_format``, for strptime), and the ``sheet`` of a workbook, by its columns.
    ``means`` says what a purchase is: an order, a renewal or an activity.
    """

    table: Table
    columns: dict[str, Expression]
    timezone: str = "UTC"
    declares_timezone: bool = False  # False if UTC is only the default
    where: Expression | None = None
    leave_out: tuple[tuple[str, tuple[str, ...]], ...] = ()
    rows: str | None = None
    title: Expression | None = None
    optional: tuple[str, ...] = ()
    encoding: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    date_format: str | None = None
    dayfirst: bool | None = None
    header: bool | None = None
    sheet: str | None = None
    means: Means | None = None
    name: str = "the map"

    def source_columns_of(self, *kinds: str) -> frozenset[str]:
        """Return source columns mapped directly to these kinds."""
        return frozenset(
            expression.column
            for name, expression in self.columns.items()
            if expression.column is not None and self.table[name].kind in kinds
        )

    @property
    def unzoned_columns(self) -> frozenset[str]:
        """Lower-case source columns of times without a zone."""
        return frozenset(
            source_column.casefold()
            for name, expression in self.columns.items()
            if self.table[name].kind == "moment"
            if not (expression.sql and _DECLARES_TIMEZONE.search(expression.sql))
            for source_column in expression.columns
        )

    @property
    def values(self) -> dict[str, Expression]:
        """Expressions by name: the columns and the title."""
        return self.columns | ({"title": self.title} if self.title else {})

    @property
    def named(self) -> frozenset[str]:
        """All source columns used, in lower case."""
        used = [*self.values.values(), *((self.where,) if self.where else ())]
        names = [name for expression in used for name in expression.columns]
        return frozenset(map(str.casefold, [*names, *(name for name, _ in self.leave_out)]))

    @property
    def left_out_sql(self) -> str:
        """Condition of the rows that ``leave_out`` names; "" without any."""
        conditions = []
        for name, values in self.leave_out:
            text = f"trim({quoted(name)}::VARCHAR)"
            listed = ", ".join(map(literal, values))
            conditions.append(f"{text} <> ''" if ANY_VALUE in values else f"{text} IN ({listed})")
        return " OR ".join(f"coalesce({condition}, false)" for condition in conditions)

    @property
    def expressions(self) -> list[Expression]:
        """The map's SQL expressions, including the filter."""
        return [
            expression
            for expression in (*self.values.values(), self.where)
            if expression is not None and expression.sql is not None
        ]


def canonical_mapping(table: Table, source_columns: list[str]) -> Mapping:
    """Return the map of a source with canonical names.

    `source_columns`: columns without a canonical name are ignored.
    """
    names = {column.name for column in table.public}
    known = {name: Expression(column=name) for name in source_columns if name in names}
    return Mapping(table, known, name=NO_MAP)


def read_map(path: Path, table: Table, timezone: str | None = None) -> Mapping:
    """Read a map file's section for a table.

    `timezone`: default time zone; without it, UTC.
    Raises `BadInput`: if the file cannot be read, or names an unknown column, option or time zone.
    """
    sections = read_sections(path)
    if table.name not in sections:
        present = ", ".join(f"[{name}]" for name in sections) or gettext("nothing")
        text = gettext("The map {file} has no section [{table}]; it has {present}.")
        raise BadInput(text.format(file=path.name, table=table.name, present=present))
    known = {"timezone": timezone} if timezone else {}
    return parse_section({**known, **sections[table.name]}, table, path.name)


def read_sections(path: Path) -> dict[str, Any]:
    """Return a map file's sections."""
    try:
        return tomllib.loads(text := read_text(path))
    except OSError as error:
        message = gettext("The map {file} cannot be read: {reason}.")
        raise BadInput(message.format(file=path.name, reason=error.strerror or error)) from None
    except UnicodeDecodeError as error:
        message = gettext("The map {name} is not TOML: {error}.")
        raise BadInput(message.format(name=path.name, error=error)) from None
    except tomllib.TOMLDecodeError as error:
        message = gettext("The map {name} is not TOML: {explanation}.")
        explanation = explain_toml_error(error, text)
        raise BadInput(message.format(name=path.name, explanation=explanation)) from None


def parse_section(section: dict[str, Any], table: Table, name: str) -> Mapping:
    """Turn a map's section into a `Mapping`."""
    where = f"{name} [{table.name}]"
    section = dict(section)
    declares_timezone = "timezone" in section and not _is_column(section["timezone"], table)
    timezone = section.pop("timezone") if declares_timezone else "UTC"
    title = section.pop("title", None) if table.name == "events" else None
    for key in section:
        if key not in (names := [column.name for column in table.public]) and key not in OPTIONS:
            message = gettext("{where} {key}: {name} has no such column{nearest}.").format(
                where=where, key=key, name=table.name, nearest=_nearest(key, [*names, *OPTIONS])
            )
            raise BadInput(message)
    if not isinstance(timezone, str) or timezone not in time_zones():
        text = gettext(
            "{where} timezone: {timezone!r} is no IANA time zone; write it like Europe/London."
        )
        raise BadInput(text.format(where=where, timezone=timezone))
    options = _options(section, where)
    columns = {
        key: _expression(value, where, key)
        for key, value in section.items()
        if key not in _SETTINGS
    }
    return Mapping(
        table,
        columns,
        timezone=timezone,
        declares_timezone=declares_timezone,
        where=_expression(section["where"], where, "where") if "where" in section else None,
        title=None if title is None else _expression(title, where, "title"),
        name=name,
        **options,
    )


def _options(section: dict[str, Any], where: str) -> dict[str, Any]:
    """Check the options about file format and rows."""
    for option in _TEXT_OPTIONS:
        if option in section and not isinstance(section[option], str):
            text = gettext("{where} {option}: {section!r} is not text.")
            raise BadInput(text.format(where=where, option=option, section=section[option]))
    date_format = section.get("date_format")
    if date_format is not None and (not date_format or _UNKNOWN_DIRECTIVE.search(date_format)):
        text = gettext(
            "{where} date_format: {date_format!r} is no way to write a time; write its "
            "parts as in %d.%m.%Y %H:%M:%S (day, month, year, hours, minutes, seconds)."
        )
        raise BadInput(text.format(where=where, date_format=date_format))
    for option in _BOOLEAN_OPTIONS:
        if option in section and not isinstance(section[option], bool):
            text = gettext("{where} {option}: {section!r} is neither true nor false.")
            raise BadInput(text.format(where=where, option=option, section=section[option]))
    if section.get("decimal", ".") not in (".", ","):
        text = gettext('{where} decimal: {decimal!r} is no decimal mark; use "." or ",".')
        raise BadInput(text.format(where=where, decimal=section["decimal"]))
    if section.get("means", "order") not in get_args(Means):
        text = gettext("{where} means: {means!r} is unknown; write one of {known}.")
        known = ", ".join(get_args(Means))
        raise BadInput(text.format(where=where, means=section["means"], known=known))
    optional = section.get("optional", [])
    if not isinstance(optional, list) or not all(isinstance(name, str) for name in optional):
        text = gettext("{where} optional: {optional!r} is no list of column names.")
        raise BadInput(text.format(where=where, optional=optional))
    rows = section.get("from")
    if rows is not None and not (
        isinstance(rows, dict) and [*rows] == ["sql"] and isinstance(rows["sql"], str)
    ):
        text = gettext(
            "{where} from: {rows!r} is not understood; write {{ sql = '…' }}, a SELECT from source."
        )
        raise BadInput(text.format(where=where, rows=rows))
    if rows is not None:
        sql = f"SELECT * FROM ({rows['sql']}\n)"  # noqa: S608 - it is only parsed
        map_sql.check_reads(sql, frozenset({"source"}), f"{where} from")
    leave_out = section.get("leave_out", {})
    if not isinstance(leave_out, dict) or not all(
        isinstance(values, list) and all(isinstance(value, str) for value in values)
        for values in leave_out.values()
    ):
        text = gettext(
            "{where} leave_out: {leave_out!r} is not understood; write "
            '{{ "Status" = ["cancelled", "refunded"] }}.'
        )
        raise BadInput(text.format(where=where, leave_out=leave_out))
    options = {
        name: section[name] for name in (*_TEXT_OPTIONS, *_BOOLEAN_OPTIONS) if name in section
    }
    return options | {
        "optional": tuple(optional),
        "rows": rows["sql"] if rows else None,
        "leave_out": tuple((name, tuple(values)) for name, values in leave_out.items()),
    }


def check_mapping(mapping: Mapping, source_columns: list[str], source: str) -> None:
    """Check a map against a source and a table."""
    for column in mapping.table.columns:
        if column.required and column.name not in mapping.columns:
            if mapping.name == NO_MAP:
                table = mapping.table.name
                proposes = ""
                if table in TABLES:
                    text = gettext(" (`retention import {table} --suggest-map FILE` proposes one)")
                    proposes = text.format(table=table)
                message = gettext(
                    "{source} has no column {name}, which {table} need; say in a --map "
                    "which of its columns holds it{proposes}."
                ).format(source=source, name=column.name, table=table, proposes=proposes)
                raise BadInput(message)
            text = gettext("{map} does not say where {column} comes from; {table} need it.")
            map = mapping.name
            raise BadInput(text.format(map=map, column=column.name, table=mapping.table.name))
    by_case = {name.casefold() for name in source_columns}  # as DuckDB compares them
    if mapping.name == NO_MAP:
        _check_kind(mapping, by_case, source)
    others = (
        ("where", mapping.where),
        ("title", mapping.title),
        *(("leave_out", Expression(column=name)) for name, _ in mapping.leave_out),
    )
    for target, expression in [
        *mapping.columns.items(),
        *((key, each) for key, each in others if each),
    ]:
        for name in sorted(expression.columns):
            if name.casefold() not in by_case:
                raise BadInput(
                    gettext(
                        '{map} [{table}] {target} asks for the column "{column}", which {source} '
                        "does not have{nearest}."
                    ).format(
                        map=mapping.name,
                        table=mapping.table.name,
                        target=target,
                        column=name,
                        source=source,
                        nearest=_nearest(name, source_columns),
                    )
                )


def _check_kind(mapping: Mapping, there: set[str], source: str) -> None:
    """Refuse an unmapped file that fits another table. Most tables have a customer id."""
    own = mapping.table
    fits = [table for table in TABLES.values() if table.importable and {*table.required} <= there]
    best = max(fits, key=lambda table: (len(table.required), table is own), default=own)
    if best is not own and set(mapping.columns) <= {*own.required}:
        required = " and ".join(own.required)
        message = gettext(
            "{source} says nothing of {table} but {required}; by its columns it is one of "
            "{better}: `retention import {better} {source}`. If {table} are meant, say in a "
            "--map what is what."
        ).format(source=source, table=own.name, required=required, better=best.name)
        raise BadInput(message)


def _is_column(timezone: Any, table: Table) -> bool:
    """Return whether ``timezone`` names a source column.

    Customers have a column of that name. There, only a valid zone name is the option.
    """
    return "timezone" in table.names and not (
        isinstance(timezone, str) and timezone in time_zones()
    )


def quoted(name: str) -> str:
    """Quote a name as an SQL identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def literal(value: Any) -> str:
    """Write a constant as an SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    escaped = str(value).replace("'", "''")
    return f"'{escaped}'"


def _expression(value: Any, where: str, key: str) -> Expression:
    if isinstance(value, str) and key != "where":
        return Expression(column=value)
    if isinstance(value, dict) and len(value) == 1:
        ((form, content),) = value.items()
        if form == "sql" and isinstance(content, str) and content.strip():
            _parsed(content, f"{where} {key}")
            map_sql.check_reads(f"SELECT ({content}\n)", frozenset(), f"{where} {key}")
            return Expression(sql=content)
        if form == "value" and key != "where":
            return Expression(value=content)
    forms = "{ sql = '…' }" if key == "where" else "\"a column\", { sql = '…' } or { value = … }"
    text = gettext("{where} {key}: {value!r} is not understood; write {forms}.")
    raise BadInput(text.format(where=where, key=key, value=value, forms=forms))


def _parsed(sql: str, where: str) -> Any:
    import sqlglot

    try:
        return sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        text = gettext(
            "{where}: the expression {sql!r} is not SQL that can be read{place}; write it "
            'over the file\'s columns, as in {{ sql = \'"Quantity" * "Price"\' }}.'
        )
        raise BadInput(text.format(where=where, sql=sql, place=_error_position(error))) from None
    except RecursionError:
        raise BadInput(map_sql.nested_too_deeply(where)) from None


def _error_position(error: Any) -> str:
    """Return the position of an SQL syntax error."""
    for fault in getattr(error, "errors", ()):
        first = fault["col"] - len(fault["highlight"]) + 1  # "col" is the end of the word
        if fault["line"] > 1:
            return gettext(
                ": something is wrong or missing at {word!r} (line {line}, character {first})"
            ).format(word=fault["highlight"], line=fault["line"], first=first)
        text = gettext(": something is wrong or missing at {word!r} (character {first})")
        return text.format(word=fault["highlight"], first=first)
    return gettext(": a quote may be left open")


def _columns_of(sql: str, computed: bool = False) -> frozenset[str]:
    """Return the names of columns; if computed, of those that are not only concatenated."""
    from sqlglot import exp

    parsed = _parsed(sql, "the map")
    joined = (exp.Concat, exp.ConcatWs, exp.DPipe, exp.Paren)
    names = set()
    for column in parsed.find_all(exp.Column):
        above = column.parent
        while computed and isinstance(above, joined):
            above = above.parent
        if not computed or above is not None or column is parsed:
            names.add(column.parts[0].name)
    return frozenset(names)


def _nearest(name: str, known: list[str]) -> str:
    lowered = {candidate.casefold(): candidate for candidate in known}
    if near := get_close_matches(name.casefold(), list(lowered), n=1, cutoff=0.5):
        return gettext('; the nearest is "{name}"').format(name=lowered[near[0]])
    if not known:
        return ""
    text = gettext("; there are {names}")
    return text.format(names=f"{', '.join(known[:12])}{' …' if len(known) > 12 else ''}")
