"""Propose a map from column names and contents."""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from retention.errors import BadInput
from retention.lake import formats
from retention.lake.importing.mapping import Mapping, quoted
from retention.lake.reading import sources
from retention.lake.schema import TABLES, Table
from retention.lake.suggesting import map_lines
from retention.lake.suggesting.columns import ColumnChoice, events_columns
from retention.lake.suggesting.event_lines import EventLines
from retention.lake.suggesting.fields import field_map, role_of
from retention.lake.suggesting.map_lines import Doubt, DoubtCode, Line, column_line, sql_line
from retention.lake.suggesting.order_rows import check_orders
from retention.lake.suggesting.profiles import SAMPLE_ROWS, Profile, profile_columns
from retention.lake.suggesting.statuses import Status, find_statuses
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.lake import Lake

_SHOPS = {"shopify": "Shopify", "woocommerce": "WooCommerce"}


class MissingColumns(BadInput):
    """Refuse a source in which no column fits a required column."""

    def __init__(self, message: str, missing: Sequence[str], columns: Sequence[str]) -> None:
        super().__init__(message)
        self.missing, self.columns = tuple(missing), tuple(columns)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed map.

    `format_name`: known export (`formats`) to import without a map, such as "shopify-orders".
    `targets`: canonical columns that have a column of the file, also ``price``.
    """

    table: str
    text: str
    format_name: str | None = None
    doubts: tuple[Doubt, ...] = ()
    statuses: tuple[Status, ...] = ()
    targets: frozenset[str] = frozenset()

    @property
    def fit(self) -> tuple[bool, bool, int]:
        """How well the rows fit the table, to compare sheets."""
        has_sales = bool(self.targets & {"amount", "price"})
        guesses = sum(doubt.code is DoubtCode.CONTENT for doubt in self.doubts)
        return self.guessed_customer is None, has_sales, len(self.targets) - guesses

    @property
    def guessed_customer(self) -> Doubt | None:
        """The doubt about customers that no column's name speaks of; only a person knows them."""
        guesses = (doubt for doubt in self.doubts if doubt.code is DoubtCode.CONTENT)
        return next((doubt for doubt in guesses if doubt.target == "customer_id"), None)


def suggest(lake: "Lake", table_name: str, file: str, query: str | None = None) -> str:
    """Return the text of a proposed map; see `propose`."""
    return propose(lake, table_name, file, query).text


def propose(
    lake: "Lake",
    table_name: str,
    file: str,
    query: str | None = None,
    others: Sequence[str] = (),
    *,
    sheet: str | None = None,
    is_beside_renewals: bool = False,
) -> Proposal:
    """Propose a map for files of one shape, or a database query.

    Of a workbook's sheets, it takes the one that fits best.

    `others`: more files that the map is for. Those with the columns of the first count as well: a
    later export may have the first refund.
    `is_beside_renewals`: whether another export has the shop's subscriptions.
    """
    table, con = TABLES[table_name], lake.duckdb
    named = Mapping(table, {}, sheet=sheet) if sheet else None
    with _open_files(con, [file, *others], query, named) as opened:
        source = _flatten(con, opened)
        if known := formats.detect_format(source.columns, table_name):
            name, format_table = known
            shop, _, content = name.partition("-")
            comment = gettext(
                "{file} reads like a {shop} export of {content}: import it with "
                "--format {format}, no map is needed:"
            ).format(file=source.name, shop=_SHOPS[shop], content=content, format=name)
            command = f"retention import {format_table} {source.name} --format {name}"
            return Proposal(format_table, f"# {comment}\n#   {command}\n", name)
        proposals, errors = [], []
        for each in (opened, *opened.others):
            try:
                flat = _flatten(con, each)
                of_field = (
                    _propose_field(con, table, flat, sheet, is_beside_renewals=is_beside_renewals)
                    if table_name == "events" and role_of(flat.columns)
                    else None
                )
                proposals.append(of_field or _propose(lake, table, each, flat, sheet))
            except BadInput as error:
                errors.append(error)
        if not proposals:
            raise errors[0]
        return max(proposals, key=lambda each: each.fit)


@contextmanager
def _open_files(
    con: Any, files: Sequence[str], query: str | None, named: Mapping | None
) -> Iterator[sources.Source]:
    """Open the first file with the rows of all files of its shape, in any order."""
    with sources.open_source(con, files[0], named, query) as first:
        if len(files) == 1 or first.others:
            yield first
            return
        sample = f"USING SAMPLE {SAMPLE_ROWS} ROWS (reservoir, 1)"
        con.execute(f"CREATE TABLE files_rows AS SELECT * FROM {first.relation} {sample}")
    try:
        for file in files[1:]:
            with sources.open_source(con, file, named, query) as other:
                if other.columns == first.columns:
                    con.execute(f"INSERT INTO files_rows SELECT * FROM {other.relation} {sample}")
        # Profiles read the first rows only.
        yield replace(first, relation="(FROM files_rows ORDER BY hash(rowid))", files=())
    finally:
        con.execute("DROP TABLE files_rows")


def _propose_field(
    con: Any, table: Table, source: sources.Source, sheet: str | None, *, is_beside_renewals: bool
) -> Proposal | None:
    """Propose a map for an export of subscriptions or of a learning platform."""
    profiles = profile_columns(con, source)
    found = field_map(con, source.relation, profiles, is_beside_renewals=is_beside_renewals)
    if found is None:
        return None
    lines = [*([Line("sheet", map_lines.toml_string(sheet))] if sheet else []), *found.lines]
    text = map_lines.write_map(table, source, profiles, lines, found.doubts)
    targets = frozenset(line.key for line in lines) & {*table.names}
    return Proposal(table.name, text, None, found.doubts, (), targets)


def _propose(
    lake: "Lake",
    table: Table,
    opened: sources.Source,
    source: sources.Source,
    sheet: str | None = None,
) -> Proposal:
    """Propose a map for an open source, as it is and with nested columns flattened."""
    con, lines_select = lake.duckdb, ""
    if table.name == "events":
        unnested, lines_select = map_lines.unnest_lines(con, opened)
        source = _flatten(con, unnested)
    profiles = profile_columns(con, source)
    is_typed = source.detected.get("format") in ("parquet", "database")
    choice = ColumnChoice(
        con, source.relation, profiles, table, has_lines=bool(lines_select), is_typed=is_typed
    )
    chosen, doubts = choice.columns, choice.doubts
    if table.name == "events":
        check_orders(source.name, profiles, chosen)
    missing = [name for name in table.required if name not in chosen and name != "event_type"]
    if missing:
        names = [profile.name for profile in profiles]
        text = gettext(
            "No column of {name} looks like {missing} (there are {columns}); write the map by hand."
        ).format(name=source.name, missing=" or ".join(missing), columns=", ".join(names))
        raise MissingColumns(text, missing, names)
    statuses: list[Status] = []
    if table.name == "events":
        statuses, left_out, status_doubts = find_statuses(
            con, source, profiles, chosen.values(), chosen.get("order_id")
        )
        leave_out = tuple((one.column, one.left_out) for one in statuses)
        events = EventLines(
            con,
            source,
            chosen,
            lake.zone,
            has_lines=bool(lines_select),
            is_order_total=any(doubt.code is DoubtCode.ORDER_TOTAL for doubt in doubts),
            left_out=Mapping(table, {}, leave_out=leave_out).left_out_sql,
        )
        lines = [*left_out, *events.lines()]
        doubts = [*doubts, *status_doubts, *events.doubts, *_no_sales(source, chosen)]
    else:
        lines = [*_group_by_item(con, source, table, profiles, chosen), *_plain_lines(chosen)]
    if table.name == "items" and lines[0].key != "from":
        reason = gettext("what may not be offered any more, and of what it is a size or colour")
        attributes = map_lines.item_attributes(profiles, chosen.values())
        lines += [sql_line("attributes", attributes, reason)] if attributes else []
    if table.name == "customers":
        customer = chosen["customer_id"]
        lines = _skip_guests(customer, lines)
        attributes = map_lines.customer_attributes(con, source, profiles, chosen.values(), customer)
        reason = gettext("to judge groups apart by (--by)")
        lines += [sql_line("attributes", attributes, reason)] if attributes else []
    if lines_select:
        reason = gettext("a row for each line of an order")
        lines.insert(0, sql_line("from", lines_select, reason))
    if sheet:
        lines.insert(0, Line("sheet", map_lines.toml_string(sheet)))
    text = map_lines.write_map(table, source, profiles, lines, doubts)
    targets = frozenset(chosen)
    return Proposal(table.name, text, None, tuple(doubts), tuple(statuses), targets)


def _no_sales(source: sources.Source, chosen: dict[str, Profile]) -> list[Doubt]:
    """Doubt a file of orders without prices, and say how to add them."""
    if {"amount", "price"} & chosen.keys() or "event_type" in chosen:
        return []
    text = gettext(
        "No column is a price or an amount, so sales are unknown. If another file has prices, "
        "read both: retention start {file} PRICES.csv. They are joined by a column of the same "
        "name and values."
    ).format(file=source.name)
    return [Doubt(DoubtCode.NO_SALES, "amount", "", text)]


def _flatten(con: Any, source: sources.Source) -> sources.Source:
    """Replace nested columns by their fields. The fields get dotted names, as in maps."""
    inner = sources.nested_fields(con, source)
    outer = [name for name, type_ in source.columns.items() if not sources.is_nested(type_)]
    names = {name: quoted(name) for name in outer} | inner
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in names.items())
    relation = f"(SELECT {listed} FROM {source.relation})" if inner else source.relation
    return replace(source, relation=relation, columns=dict.fromkeys(names, "VARCHAR"))


# ---------------------------------------------------------------- lines of the map


def _plain_lines(chosen: dict[str, Profile]) -> list[Line]:
    return [
        sql_line(target, f"{quoted(profile.name)} > 0", gettext("pieces in stock"))
        if target == "in_stock" and profile.is_number and profile.largest > 1
        else column_line(target, profile)
        for target, profile in chosen.items()
    ]


def _group_by_item(
    con: Any,
    source: sources.Source,
    table: Table,
    profiles: list[Profile],
    chosen: dict[str, Profile],
) -> list[Line]:
    """Group a file of sales by item.

    Each item gets its most frequent values.

    Single lines may have an odd title, such as "damaged", or none. If prices are of whole lines,
    `chosen` loses the price. The map then divides price by quantity of the most frequent line.
    """
    key = chosen["item_id"] if table.name == "items" else None
    if key is None or key.distinct > 0.5 * key.rows:
        return []
    item = quoted(key.name)
    price = chosen.get("price")
    quantity = events_columns(con, source.relation, profiles).get("quantity")
    price_columns, price_lines = [], []
    if price and quantity and map_lines.is_line_price(con, source.relation, key, quantity, price):
        del chosen["price"]
        line, pieces = quoted(price.name), quoted(quantity.name)
        is_sold = f"FILTER (try_cast({pieces} AS DOUBLE) IS DISTINCT FROM 0)"
        pair = f"struct_pack({pieces} := {pieces}, {line} := {line})"
        price_columns = [f"unnest(mode({pair}) {is_sold})"]
        reason = gettext("the price is of the line")
        price_lines = [sql_line("price", f"{line} / {pieces}", reason)]
    others = [quoted(profile.name) for profile in chosen.values() if profile is not key]
    columns = ", ".join([item, *(f"mode({name}) AS {name}" for name in others), *price_columns])
    sql = f"SELECT {columns} FROM source GROUP BY {item}"
    reason = gettext("what most lines of an item say")
    return [sql_line("from", sql, reason), *price_lines]


def _skip_guests(customer: Profile, lines: list[Line]) -> list[Line]:
    """Skip sales to guests, instead of quarantining them."""
    if customer.filled >= 1 or customer.distinct > 0.5 * customer.rows:
        return lines
    text = gettext("{share:.1%} of the lines are of nobody who is known")
    reason = text.format(share=1 - customer.filled)
    name = customer.name
    condition = sql_line("where", f"{quoted(name)} IS NOT NULL", reason)
    known = column_line("customer_id", customer, is_quarantined=False)
    return [condition, *(known if line.key == "customer_id" else line for line in lines)]
