"""Write the lines of a proposed map, and find nested order lines and attributes."""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from retention.lake.importing.mapping import literal, quoted
from retention.lake.reading.sources import Source, column_types, is_nested, nested_fields
from retention.lake.schema import Table
from retention.lake.suggesting.profiles import (
    MAX_CATEGORIES,
    SAMPLE_ROWS,
    Profile,
    number_sql,
    similarity,
    synonyms,
)
from retention.text import gettext

# Columns that lists of items use; see docs/data_scientist/reranking.md.
ITEM_ATTRIBUTES = ("recalled", "recall", "parent_id", "parent", "variant_of", "style")
MAX_VARIANTS = 10  # mean items per style; above, "style" means a taste (casual, boho)
MIN_CONSTANT_SHARE = 0.98  # of customers with several rows
MIN_ITEM_SIMILARITY = 0.9  # of a field of the list to the synonyms of an item id
ORDER_LINE = "line"  # name of the unnested row: its fields are line.sku, line.quantity …
MIN_LINES = 20  # with several pieces
PRICE_GROWTH = 0.75  # between 1 (price of the line) and at most ½ (price per piece)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a map. The key (column, ``from``, ``where`` …), the TOML value and the reason."""

    key: str
    value: str
    reason: str = ""


def sql_line(key: str, sql: str, reason: str = "") -> Line:
    """Return a line whose value is an SQL expression."""
    return Line(key, f"{{ sql = '''{sql}''' }}", reason)


class DoubtCode(StrEnum):
    """Why a part of a map needs a check."""

    SIMILAR_NAME = "similar_name"  # chosen by a name that is only like a known one
    CONTENT = "content"  # chosen by values alone
    NEW_CUSTOMERS = "new_customers"  # nearly every row has a customer of its own
    CUSTOMER_NAMES = "customer_names"  # people's names as customer ids
    STATUS = "status"
    ORDER_TOTAL = "order_total"  # the amount is the order's, repeated on each line
    DISCOUNT_RATE = "discount_rate"
    NO_SALES = "no_sales"  # neither a price nor an amount
    SEVERAL = "several"  # another column fits as well
    PERIOD = "period"  # how often a subscription is paid
    EXPORT_STATE = "export_state"  # what was known at the export only


@dataclass(frozen=True, slots=True)
class Doubt:
    """A part of a proposed map that a person should check."""

    code: DoubtCode
    target: str
    column: str
    text: str


def column_line(target: str, profile: Profile, *, is_quarantined: bool = True) -> Line:
    """Map a canonical column to a file's column.

    `is_quarantined`: whether rows without a customer id are quarantined.
    """
    if profile.filled >= 0.9995:
        reason = gettext("{distinct:,} different, like {example}")
    elif target == "customer_id" and is_quarantined:
        reason = gettext(
            "{distinct:,} different, like {example}; {missing:.1%} missing "
            "(those rows are quarantined)"
        )
    else:
        reason = gettext("{distinct:,} different, like {example}; {missing:.1%} missing")
    distinct = profile.distinct
    return Line(
        target,
        toml_string(profile.name),
        reason.format(distinct=distinct, example=profile.example[:30], missing=1 - profile.filled),
    )


def write_map(
    table: Table,
    source: Source,
    profiles: list[Profile],
    lines: list[Line],
    doubts: Sequence[Doubt] = (),
) -> str:
    """Write a map, and list doubts and unused columns."""
    detected = source.detected.items()
    properties = ", ".join(f"{key} {value}" for key, value in detected if key != "header")
    names = " ".join(line.value for line in lines)
    unused = [
        profile.name
        for profile in profiles
        if toml_string(profile.name) not in names and quoted(profile.name) not in names
    ]
    width = max(len(line.key) for line in lines)
    if profiles[0].rows == SAMPLE_ROWS:
        evidence = gettext("the first {rows:,} rows").format(rows=SAMPLE_ROWS)
    else:
        evidence = gettext("contents")
    query = " --query 'SELECT …'" if source.detected.get("format") == "database" else ""
    head = [
        "# "
        + gettext(
            "A map for {file} ({properties}), proposed by its columns' names and {evidence}. "
            "Read it, then:"
        ).format(file=source.name, properties=properties, evidence=evidence),
        f"#   retention import {table.name} {source.name}{query} --map THIS_FILE",
        f"[{table.name}]",
    ]
    body = [
        f"{line.key:{width}} = {line.value}"
        + (f"  # {_comment(line.reason)}" if line.reason else "")
        for line in lines
    ]
    checks = [f"# {_comment(gettext('Check: {doubt}').format(doubt=each.text))}" for each in doubts]
    tail = (
        ["# " + gettext("Not used: {columns}.").format(columns=_comment(", ".join(unused)))]
        if unused
        else []
    )
    return "\n".join([*head, *body, *checks, *tail]) + "\n"


def _comment(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


def toml_string(text: str) -> str:
    """Quote a text for TOML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# ---------------------------------------------------------------- order lines


def unnest_lines(con: Any, source: Source) -> tuple[Source, str]:
    """Unnest orders into one row per order line.

    Rows without lines, such as views in a log of all events, stay one row.

    Returns: the rows, and the map's ``from`` that computes them. If no list has a field like an
    item id: the unchanged source and "".
    """
    columns = {name: quoted(name) for name in source.columns} | nested_fields(con, source)
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    types = column_types(con, f"(SELECT {listed} FROM {source.relation})")
    item_words = synonyms()["events"]["item_id"]
    best, best_select = MIN_ITEM_SIMILARITY, ""
    for name, type_ in types.items():
        if type_.endswith("[]") and is_nested(type_.removesuffix("[]")):
            lines = _non_empty_list(con, source, columns[name])
            select = f"SELECT unnest({lines}) AS {ORDER_LINE}, * FROM"
            fields = column_types(
                con, f"(SELECT unnest({ORDER_LINE}) FROM ({select} {source.relation}))"
            )
            score = max(similarity(field, item_words) for field in fields)
            if score > best:
                best, best_select = score, select
    if not best_select or ORDER_LINE in map(str.casefold, source.columns):
        return source, ""
    relation = f"({best_select} {source.relation})"
    unnested = replace(source, relation=relation, columns=column_types(con, relation))
    return unnested, f"{best_select} source"


def _non_empty_list(con: Any, source: Source, column: str) -> str:
    """Return SQL of a list, or [NULL]. Unnesting an empty list would silently drop the order."""
    is_filled = f"len({column}) > 0"
    sql = f"SELECT 1 FROM {source.relation} WHERE NOT coalesce({is_filled}, false) LIMIT 1"
    has_empty = con.execute(sql).fetchone()
    return f"CASE WHEN {is_filled} THEN {column} ELSE [NULL] END" if has_empty else column


def is_line_price(con: Any, rows: str, item: Profile, quantity: Profile, price: Profile) -> bool:
    """Return whether prices are of whole lines.

    Compares the prices of items sold both alone and in lines of several pieces.
    """
    lines, growth = con.execute(
        f"WITH line AS (SELECT {quoted(item.name)} AS item, "
        f"{number_sql(quoted(quantity.name))} AS pieces, "
        f"{number_sql(quoted(price.name))} AS price FROM {rows}), "
        "alone AS (SELECT item, median(price) AS price FROM line "
        "WHERE pieces = 1 AND price > 0 GROUP BY item) "
        "SELECT count(*), median(line.price / alone.price / pieces) "
        "FROM line JOIN alone USING (item) WHERE pieces > 1 AND line.price > 0"
    ).fetchall()[0]
    return bool(lines >= MIN_LINES and growth > PRICE_GROWTH)


# ---------------------------------------------------------------- attributes


def customer_attributes(
    con: Any,
    source: Source,
    profiles: list[Profile],
    chosen: Collection[Profile],
    customer: Profile,
) -> str:
    """Find attributes of customers, such as a country.

    An attribute has few distinct values, is not a number or time, and is constant per customer.
    In a file of sales, this excludes attributes of items.

    Returns: SQL of a JSON object, or "" without attributes.
    """
    candidates = [
        profile
        for profile in profiles
        if profile not in chosen
        and 1 < profile.distinct <= min(MAX_CATEGORIES, profile.rows / 10)
        and not (profile.is_number or profile.is_moment or profile.emails)
    ]
    if not candidates:
        return ""
    differs = ", ".join(
        f"count(DISTINCT {quoted(profile.name)}) > 1 AS differs_{number}"
        for number, profile in enumerate(candidates)
    )
    shares = ", ".join(
        f"avg(differs_{number}::INTEGER) FILTER (lines > 1)" for number in range(len(candidates))
    )
    varying_shares = con.execute(
        f"SELECT {shares} FROM (SELECT count(*) AS lines, {differs} "
        f"FROM (FROM {source.relation} LIMIT {SAMPLE_ROWS}) "
        f"WHERE {quoted(customer.name)} IS NOT NULL GROUP BY {quoted(customer.name)})"
    ).fetchall()[0]
    pairs = zip(candidates, varying_shares, strict=True)
    names = [profile.name for profile, share in pairs if (share or 0.0) <= 1 - MIN_CONSTANT_SHARE]
    listed = ", ".join(f"{literal(_key(name))}, {quoted(name)}" for name in names)
    return f"json_object({listed})" if listed else ""


def item_attributes(profiles: list[Profile], chosen: Collection[Profile]) -> str:
    """Find the columns of `ITEM_ATTRIBUTES`, nested or not.

    Returns: SQL of a JSON object, or "" without attributes.
    """
    columns = {
        _key(profile.name.rpartition(".")[2]): profile
        for profile in profiles
        if profile not in chosen
    }
    style = columns.get("style")
    if style and style.filled * style.rows > MAX_VARIANTS * style.distinct:
        del columns["style"]
    listed = ", ".join(
        f"{literal(key)}, {quoted(columns[key].name)}" for key in ITEM_ATTRIBUTES if key in columns
    )
    return f"json_object({listed})" if listed else ""


def _key(name: str) -> str:
    return re.sub(r"\W+", "_", name.casefold()).strip("_")
