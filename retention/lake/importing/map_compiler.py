"""Compile a map to SQL: canonical columns, and the reason why a row is bad."""
# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from retention import clock
from retention.errors import BadInput
from retention.lake.importing import map_sql
from retention.lake.importing.mapping import ANY_VALUE, Expression, Mapping, literal, quoted
from retention.lake.importing.order_states import FINAL, IS_STATED, LEFT_OUT, PENDING
from retention.lake.importing.quarantine_reasons import Reason, ReasonCode
from retention.lake.reading.column_formats import ZONED, zoned_text
from retention.lake.reading.sources import Source
from retention.lake.schema import EARLIEST, SQL_TYPES, Column
from retention.lake.suggesting.statuses import is_final
from retention.text import gettext

UNREADABLE = {
    "number": ReasonCode.NOT_A_NUMBER,
    "flag": ReasonCode.NOT_A_FLAG,
    "moment": ReasonCode.NOT_A_TIME,
    "json": ReasonCode.NOT_JSON,
}


@dataclass(frozen=True, slots=True)
class Staging:
    """SQL that yields the canonical columns and ``_reason``. ``_reason`` is NULL for a good row."""

    all_rows_sql: str
    """Canonical columns and ``_reason``."""
    bad_rows_sql: str
    """``reason`` and the unchanged source columns of bad rows."""
    columns: tuple[str, ...]
    """Canonical columns that the map fills."""
    has_left_out: bool = False
    """Whether rows that ``leave_out`` excludes are there, with `LEFT_OUT` as ``_reason``."""


def compile_staging(
    source: Source,
    mapping: Mapping,
    only: str | None,
    origin: str | None,
    bookkeeping_titles: str | None = None,
) -> Staging:
    """Compile a map for a source.

    `origin`: value of ``events.source``; overrides the map.
    """
    has_left_out = _has_left_out(mapping)
    rows = _rows(source, mapping, only)
    types = _types(source, mapping, only)
    typed, faults = [], [*(["_left_out"] if has_left_out else []), "_unreadable"]
    for column in mapping.table.columns:
        if column.name == "source" and (origin or column.name not in types):
            typed.append(f"{literal(origin or 'import')} AS source")
        elif column.name not in types:
            typed.append(f"NULL::{SQL_TYPES[column.kind]} AS {column.name}")
        elif (constant := mapping.columns[column.name]).is_constant and column.kind == "text":
            typed.append(f"{_constant(constant.value, column, mapping)} AS {column.name}")
        else:
            value = _typed(column, types[column.name], mapping)
            typed.append(f"{value} AS {column.name}")
            faults.extend(_faults(column, value, types[column.name]))
    if mapping.title and bookkeeping_titles:
        is_bookkeeping = (
            f"regexp_full_match(trim(_title::VARCHAR), {literal(bookkeeping_titles)}, 'i')"
        )
        code = ReasonCode.BOOKKEEPING
        faults.append(f"CASE WHEN {is_bookkeeping} THEN {literal(Reason(code).key)} END")
    inner = f"SELECT {', '.join(typed)}, coalesce({', '.join(faults)}) AS _reason"
    named = tuple(name for name in mapping.table.names if name in types)
    good = f"{inner} FROM ({rows})"
    if "stated_at" in named:
        good = _newest_lines(good)
    bad = (
        f"SELECT _reason AS reason, unnest(_row) "
        f"FROM ({inner}, _row FROM ({_rows(source, mapping, only, ', _row')})) "
        f"WHERE _reason IS NOT NULL AND NOT starts_with(_reason, '{LEFT_OUT}')"
    )
    return Staging(good, bad, named, has_left_out)


def _newest_lines(rows: str) -> str:
    """Return SQL of rows in which a newer line of the same order and item ends an older one.

    ``stated_at`` becomes that of the order: a line that did not change has an older time.
    """
    usable = f"({IS_STATED} AND (_reason IS NULL OR starts_with(_reason, '{LEFT_OUT}')))"
    order = f"PARTITION BY source, customer_id, order_id, occurred_at, {usable}"
    line = f"{order}, item_id"
    same = f"{line}, _reason, event_id, quantity, amount"
    later = (
        f"min(_first) OVER ({line} ORDER BY _last "
        "RANGE BETWEEN INTERVAL 1 MICROSECOND FOLLOWING AND UNBOUNDED FOLLOWING)"
    )
    return f"""
        SELECT * EXCLUDE (_first, _last, _next, _known) REPLACE (
            max(stated_at) OVER ({order}) AS stated_at,
            greatest(_next, CASE WHEN _next IS NOT NULL THEN _last END) AS superseded_at,
            CASE WHEN _first > _known THEN greatest(available_at, _first) ELSE available_at END
                AS available_at
        ) FROM (
            SELECT *, CASE WHEN {usable} THEN {later} END AS _next,
                CASE WHEN {usable} THEN min(_first) OVER ({line}) END AS _known
            FROM (
                SELECT *, min(stated_at) OVER ({same}) AS _first,
                    max(stated_at) OVER ({same}) AS _last FROM ({rows})
            )
        )"""


def _has_left_out(mapping: Mapping) -> bool:
    """Return whether rows that are left out are the states of orders."""
    return bool(mapping.leave_out and "order_id" in mapping.columns)


def with_unlisted(con: Any, source: Source, mapping: Mapping, only: str | None) -> Mapping:
    """Return a map whose ``leave_out`` has all values that say cancelled or refunded.

    The export that a map was made from may have been without them.
    """
    leave_out = []
    for name, values in mapping.leave_out:
        if ANY_VALUE not in values:
            text = f"trim({quoted(name)}::VARCHAR)"
            rows = con.execute(f"SELECT DISTINCT {text} FROM ({_read(source, only)}) ORDER BY 1")
            others = [value for (value,) in rows.fetchall() if value and value not in values]
            values = (*values, *(value for value in others if is_final(name, value)))
        leave_out.append((name, values))
    return replace(mapping, leave_out=tuple(each for each in leave_out if each[1]))


def left_out_sql(source: Source, mapping: Mapping, only: str | None) -> str:
    """Return SQL that counts what a map's ``leave_out`` excludes.

    Returns: one row for each column and value: column, value, rows and orders. The column of the
    last row is NULL; it counts all rows and orders that the map's ``where`` accepts. A row without
    an order id is an order.
    """
    order = mapping.columns.get("order_id")
    key = f"coalesce({_raw(order)}::VARCHAR, _number::VARCHAR)" if order else "_number"
    where = f" WHERE {mapping.where.text}" if mapping.where else ""
    meant = (
        f"(SELECT *, {key} AS _order FROM (SELECT *, row_number() OVER () AS _number "
        f"FROM ({_read(source, only)})){where})"
    )
    counted = "count(*) AS lines, count(DISTINCT _order) AS orders"
    parts = [
        f"SELECT {literal(name)} AS name, {_shown(name, values)} AS value, {counted} FROM {meant} "
        f"WHERE {Mapping(mapping.table, {}, leave_out=((name, values),)).left_out_sql} GROUP BY 2"
        for name, values in mapping.leave_out
    ]
    parts.append(f"SELECT NULL AS name, NULL AS value, {counted} FROM {meant}")
    return f"{' UNION ALL '.join(parts)} ORDER BY name NULLS LAST, lines DESC, value"


def _shown(column: str, values: tuple[str, ...]) -> str:
    """Return SQL of the value that a left-out row is counted by."""
    return literal(ANY_VALUE) if ANY_VALUE in values else f"trim({quoted(column)}::VARCHAR)"


def _rows(source: Source, mapping: Mapping, only: str | None, extra: str = "") -> str:
    """Return SQL of the raw values as ``_<name>``.

    With ``extra=", _row"`` it includes the unchanged source row.
    """
    raw = ", ".join(f"{_raw(value)} AS _{name}" for name, value in mapping.values.items())
    conditions = [f"(({mapping.where.text}) OR _unreadable IS NOT NULL)"] if mapping.where else []
    if _has_left_out(mapping):
        raw += f", {_left_out_sql(mapping)} AS _left_out"
    elif mapping.leave_out:
        conditions.append(f"NOT ({mapping.left_out_sql})")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {raw}, _unreadable{extra} FROM ({_read(source, only)}){where}"


def _left_out_sql(mapping: Mapping) -> str:
    """Return SQL of the reason of rows that are left out: for good, or as yet."""
    final = tuple(
        (name, values)
        for name, each in mapping.leave_out
        if (values := tuple(value for value in each if is_final(name, value)))
    )
    is_final_sql = replace(mapping, leave_out=final).left_out_sql or "false"
    return (
        f"CASE WHEN {is_final_sql} THEN '{LEFT_OUT}{FINAL}' "
        f"WHEN {mapping.left_out_sql} THEN '{LEFT_OUT}{PENDING}' END"
    )


def _raw(value: Expression) -> str:
    return f"TRY({value.text})" if value.sql else value.text


def _read(source: Source, only: str | None) -> str:
    """Return SQL of the source's converted columns, ``_unreadable`` and ``_row``."""
    casts = ", ".join(f"{how.sql} AS {quoted(name)}" for name, how in source.readings.items())
    unreadable = " ".join(
        f"WHEN nullif(trim({quoted(name)}::VARCHAR), '') IS NOT NULL AND {how.sql} IS NULL "
        f"THEN {literal(Reason.parse(f'{name} {how.noun}').key)}"
        for name, how in source.readings.items()
        if how.noun
    )
    return (
        f"SELECT * {f'REPLACE ({casts})' if casts else ''}, "
        f"{f'CASE {unreadable} END' if unreadable else 'NULL::VARCHAR'} AS _unreadable, "
        f"_source AS _row FROM {source.relation} AS _source{f' WHERE {only}' if only else ''}"
    )


def _types(source: Source, mapping: Mapping, only: str | None) -> dict[str, str]:
    import duckdb

    source = replace(source, relation="source")
    try:
        described = map_sql.bind(source.columns, _rows(source, mapping, only))
    except duckdb.Error as error:
        key = _refused(source, mapping, only)
        refused = mapping.values.get(key) or mapping.where
        first = str(error).strip().splitlines()[0].rstrip(".")
        used = {name.casefold() for name in refused.columns} if refused else set()
        as_text = [
            name
            for name in source.columns
            if name.casefold() in used and source.type_of(name) == "VARCHAR"
        ]
        hint = ""
        if as_text:
            text = gettext(" ({columns}: text, by most of the values in {source})")
            hint = text.format(columns=", ".join(as_text), source=source.name)
        text = gettext("{map} [{table}] {key}: DuckDB refuses the expression: {first}{hint}.")
        raise BadInput(
            text.format(map=mapping.name, table=mapping.table.name, key=key, first=first, hint=hint)
        ) from None
    own = ("_unreadable", "_left_out")
    return {name[1:]: type_ for name, type_ in described.items() if name not in own}


def _refused(source: Source, mapping: Mapping, only: str | None) -> str:
    """Return the map key that DuckDB refuses."""
    import duckdb

    for name, value in mapping.values.items():
        alone = replace(mapping, columns={name: value}, where=None, title=None, leave_out=())
        try:
            map_sql.bind(source.columns, _rows(source, alone, only))
        except duckdb.Error:
            return name
    return "where"


def _typed(column: Column, type_: str, mapping: Mapping) -> str:
    raw = f"_{column.name}"
    if type_ == '"NULL"':
        return f"NULL::{SQL_TYPES[column.kind]}"
    if column.kind == "moment":
        return _moment(column, type_, mapping)
    if column.kind == "text" and type_ == "VARCHAR" and mapping.table.name != "events":
        # PostgreSQL stores no NUL from padded names and titles. Events are skipped: their texts
        # are ids, and millions of them would cost a second.
        raw = f"replace({raw}, chr(0), '')"
    convert = {"text": _text, "number": _number, "flag": _flag, "json": _json}[column.kind]
    return convert(raw, type_)


def _constant(value: Any, column: Column, mapping: Mapping) -> str:
    """Check a constant text once and return its SQL."""
    if value is None:
        return "NULL::VARCHAR"
    if column.values and value not in column.values:
        message = gettext("{map} [{table}] {column}: {value!r} is none of {values}.").format(
            map=mapping.name,
            table=mapping.table.name,
            column=column.name,
            value=value,
            values=", ".join(column.values),
        )
        raise BadInput(message)
    return literal(str(value))


def _text(raw: str, type_: str) -> str:
    if type_ == "VARCHAR":
        return f"nullif(trim({raw}), '')"
    if type_ in ("DOUBLE", "FLOAT"):  # pandas makes floats of ids with gaps
        return (
            f"CASE WHEN {raw} = trunc({raw}) THEN try_cast({raw} AS HUGEINT)::VARCHAR "
            f"ELSE {raw}::VARCHAR END"
        )
    return f"{raw}::VARCHAR"


def _number(raw: str, type_: str) -> str:
    value = f"try_cast({raw} AS DOUBLE)"
    if type_ in ("DOUBLE", "FLOAT", "VARCHAR"):
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    return value


def _flag(raw: str, type_: str) -> str:
    if type_ == "BOOLEAN":
        return raw
    return (
        f"CASE WHEN lower(trim({raw}::VARCHAR)) IN ('true', 't', 'yes', 'y', '1', '1.0') THEN true "
        f"WHEN lower(trim({raw}::VARCHAR)) IN ('false', 'f', 'no', 'n', '0', '0.0') THEN false END"
    )


def _json(raw: str, type_: str) -> str:
    if type_ == "VARCHAR":
        return f"CASE WHEN json_valid({raw}) THEN {raw} END"
    return f"to_json({raw})::VARCHAR"


def _moment(column: Column, type_: str, mapping: Mapping) -> str:
    raw = f"_{column.name}"
    if type_ == "VARCHAR":
        zoned = f"make_timestamp(epoch_us({zoned_text(raw)}))"
        local = _local(f"try_cast({raw} AS TIMESTAMP)", mapping.timezone)
        return f"CASE WHEN regexp_matches({raw}, '{ZONED}') THEN {zoned} ELSE {local} END"
    if type_ == "TIMESTAMP WITH TIME ZONE":
        return f"make_timestamp(epoch_us({raw}))"
    if type_.startswith("TIMESTAMP") or type_ == "DATE":
        return _local(f"{raw}::TIMESTAMP", mapping.timezone)
    message = gettext(
        "{map} [{table}] {column} is of type {type}, not a time; for seconds since "
        "1970 write {{ sql = 'to_timestamp(\"column\")' }}."
    ).format(map=mapping.name, table=mapping.table.name, column=column.name, type=type_)
    raise BadInput(message)


def _local(naive: str, zone: str) -> str:
    return (
        naive if zone == "UTC" else f"make_timestamp(epoch_us(timezone({literal(zone)}, {naive})))"
    )


def _faults(column: Column, value: str, type_: str) -> list[str]:
    """Return SQL of a column's faults. Each is NULL for a good row."""
    raw = f"_{column.name}"
    faults = []
    if not _lossless(column, type_):
        blank = f"({raw} IS NULL OR trim({raw}::VARCHAR) IN ('', 'nan', 'NaN'))"
        reason = Reason(UNREADABLE[column.kind], {"column": column.name})
        faults.append(f"CASE WHEN {value} IS NULL AND NOT {blank} THEN {literal(reason.key)} END")
    if column.required:
        reason = Reason.missing(column.name)
        faults.append(f"CASE WHEN {value} IS NULL THEN {literal(reason.key)} END")
    if column.values:
        listed = ", ".join(literal(known) for known in column.values)
        values = {"column": column.name, "values": ", ".join(column.values)}
        reason = Reason(ReasonCode.UNKNOWN_VALUE, values)
        faults.append(f"CASE WHEN {value} NOT IN ({listed}) THEN {literal(reason.key)} END")
    if column.name == "stars":
        values = {"column": column.name, "values": "1 … 5"}
        reason = Reason(ReasonCode.UNKNOWN_VALUE, values)
        faults.append(f"CASE WHEN {value} NOT BETWEEN 1 AND 5 THEN {literal(reason.key)} END")
    if column.name == "occurred_at":
        tomorrow = f"{clock.wall() + timedelta(days=1):%Y-%m-%d %H:%M:%S}"
        future = literal(Reason(ReasonCode.FUTURE_TIME).key)
        faults.append(f"CASE WHEN {value} > TIMESTAMP '{tomorrow}' THEN {future} END")
        unreadable = literal(Reason(ReasonCode.NOT_A_TIME, {"column": column.name}).key)
        faults.append(f"CASE WHEN {value} < TIMESTAMP '{EARLIEST}' THEN {unreadable} END")
    return faults


def _lossless(column: Column, type_: str) -> bool:
    """Return whether the type always converts without error."""
    if column.kind == "text":
        return True
    if column.kind == "number":
        return type_.endswith("INT") or type_ == "INTEGER"
    return column.kind == "moment" and type_ != "VARCHAR"
