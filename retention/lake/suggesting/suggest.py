"""Propose a map from column names and contents."""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

import re
from dataclasses import replace
from typing import Any

from retention.errors import BadInput
from retention.lake import formats, mapping
from retention.lake.mapping import quoted
from retention.lake.reading import sources
from retention.lake.reading.column_formats import ZONED
from retention.lake.schema import TABLES, Table
from retention.lake.suggesting.map_lines import (
    ORDER_LINE,
    Line,
    column_line,
    customer_attributes,
    is_line_price,
    item_attributes,
    toml_string,
    unnest_lines,
    write_map,
)
from retention.lake.suggesting.profiles import (
    MAX_CATEGORIES,
    Profile,
    event_type_of,
    profile_columns,
    similarity,
    synonyms,
)
from retention.templating import count
from retention.text import gettext

_SHOPS = {"shopify": "Shopify", "woocommerce": "WooCommerce"}
# Columns of an order line; the others belong to the order.
_LINE_COLUMNS = ("event_id", "item_id", "quantity", "price", "amount", "discount", "title")
ONLY_SALES = '{ value = "purchase" }'
MAX_NEW_CUSTOMERS = 0.98  # share of rows with a customer of their own; above, the id is doubtful


def suggest(lake: Any, table_name: str, file: str) -> str:
    """Propose a map for a file.

    Parameters
    ----------
    lake : Lake
        Its DuckDB reads the file. Nothing is imported.
    table_name : {"events", "customers", "items", "treatments"}
    file : str
        Path of the file.

    Returns
    -------
    str
        TOML with the reasons as comments. For a known export (`formats`), only a comment that
        names the format.

    Raises
    ------
    BadInput
        If the file cannot be read, or no column fits a required column of the table.
    """
    table, con = TABLES[table_name], lake.duckdb
    with sources.open_source(con, file, None, None) as opened:
        source, lines_select = _flatten(con, opened), ""
        if known := formats.detect_format(source.columns, table_name):
            name, format_table = known
            shop, _, content = name.partition("-")
            comment = gettext(
                "{file} reads like a {shop} export of {content}: import it with "
                "--format {format}, no map is needed:"
            ).format(file=source.name, shop=_SHOPS[shop], content=content, format=name)
            return (
                f"# {comment}\n#   retention import {format_table} {source.name} --format {name}\n"
            )
        if table.name == "events":
            unnested, lines_select = unnest_lines(con, opened)
            source = _flatten(con, unnested)
        profiles = profile_columns(con, source)
        chosen = _choose_columns(profiles, table, has_lines=bool(lines_select))
        missing = [name for name in table.required if name not in chosen and name != "event_type"]
        if missing:
            columns = ", ".join(profile.name for profile in profiles)
            raise BadInput(
                gettext(
                    "No column of {name} looks like {missing} (there are {columns}); write the "
                    "map by hand."
                ).format(name=source.name, missing=" or ".join(missing), columns=columns)
            )
        if table.name == "events":
            lines = _Events(con, source, chosen, lake.zone, has_lines=bool(lines_select)).lines()
        else:
            lines = [*_group_by_item(con, source, table, profiles, chosen), *_plain_lines(chosen)]
        attributes = item_attributes(profiles, chosen.values()) if table.name == "items" else ""
        if attributes and lines[0].key != "from":
            reason = gettext("what may not be offered any more, and of what it is a size or colour")
            lines.append(Line("attributes", f"{{ sql = '''{attributes}''' }}", reason))
        if table.name == "customers":
            customer = chosen["customer_id"]
            lines = _skip_guests(customer, lines)
            attributes = customer_attributes(con, source, profiles, chosen.values(), customer)
            if attributes:
                reason = gettext("to judge groups apart by (--by)")
                lines.append(Line("attributes", f"{{ sql = '''{attributes}''' }}", reason))
        if lines_select:
            reason = gettext("a row for each line of an order")
            lines.insert(0, Line("from", f"{{ sql = '''{lines_select}''' }}", reason))
        return write_map(table, source, profiles, lines)


def _flatten(con: Any, source: sources.Source) -> sources.Source:
    """Replace nested columns by their fields.

    The fields get dotted names, as in maps.
    """
    inner = sources.nested_fields(con, source)
    outer = [name for name, type_ in source.columns.items() if not sources.is_nested(type_)]
    names = {name: quoted(name) for name in outer} | inner
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in names.items())
    relation = f"(SELECT {listed} FROM {source.relation})" if inner else source.relation
    return replace(source, relation=relation, columns=dict.fromkeys(names, "VARCHAR"))


# ---------------------------------------------------------------- choice of columns


def _choose_columns(
    profiles: list[Profile], table: Table, *, has_lines: bool = False
) -> dict[str, Profile]:
    """Choose a column for each canonical column.

    Names decide first, then contents.

    With order lines, columns of the line come from its fields only.
    """
    names = synonyms()[table.name]
    scored = sorted(
        (
            (
                -similarity(profile.name, names[target]) * _fit(profile, target, table),
                place,
                order,
                target,
            )
            for order, target in enumerate(names)
            for place, profile in enumerate(profiles)
            if not has_lines or _belongs_to_level(profile, target)
        )
    )
    chosen: dict[str, Profile] = {}
    for score, place, _, target in scored:
        if -score >= 0.5 and target not in chosen and profiles[place] not in chosen.values():
            chosen[target] = profiles[place]
    if table.name == "events":
        _choose_by_content(profiles, chosen, has_lines=has_lines)
        amount, price = chosen.get("amount"), chosen.get("price")
        if "quantity" not in chosen and amount and price and _is_quantity(amount, price):
            chosen["quantity"] = chosen.pop("amount")
    return chosen


def _is_quantity(amount: Profile, price: Profile) -> bool:
    """Return whether an "amount" is a quantity.

    A quantity has few distinct whole numbers.
    """
    return amount.whole >= 0.999 and 5 * amount.distinct < price.distinct


def _fit(profile: Profile, target: str, table: Table) -> float:
    """Score from 0 to 1 how values fit."""
    if not profile.filled:
        return 0.0
    kind = table[target].kind if target in table.names else {"price": "number"}.get(target, "text")
    if kind == "moment":
        return 1.0 if profile.moments >= 0.8 else 0.0
    if kind == "number":
        return 1.0 if profile.is_number else 0.0
    if target == "event_type":
        return 1.0 if profile.words else 0.0
    if target == "email":
        return 1.0 if profile.emails >= 0.5 else 0.0
    if target.endswith("_id") and (
        profile.is_moment or (profile.is_number and profile.whole < 0.9)
    ):
        return 0.0
    return 1.0


def _belongs_to_level(profile: Profile, target: str) -> bool:
    """Return whether column and target have one level.

    The level is the line or the order.

    An order's total, repeated on each line, would count several times.
    """
    return profile.name.startswith(f"{ORDER_LINE}.") == (target in _LINE_COLUMNS)


def _choose_by_content(
    profiles: list[Profile], chosen: dict[str, Profile], *, has_lines: bool = False
) -> None:
    """Choose columns by content.

    Event words give the event type, the first time is ``occurred_at``, the first repeated id is
    the customer, decimals are amounts, and small counts are quantities.
    """

    def first(target: str, *conditions: Any) -> None:
        for is_match in conditions:
            for profile in profiles:
                fits = is_match(profile) and (not has_lines or _belongs_to_level(profile, target))
                if fits and target not in chosen and profile not in chosen.values():
                    chosen[target] = profile

    if has_lines:
        first("order_id", lambda column: column.name.casefold() == "id")
        # Without an event id, equal lines of an order would be deduplicated.
        first(
            "event_id",
            lambda column: (
                column.name.casefold() == f"{ORDER_LINE}.id" and column.distinct == column.rows
            ),
        )
    first("event_type", lambda column: column.words >= 0.8 and column.distinct > 1)
    first("occurred_at", lambda column: column.is_moment)
    if "amount" not in chosen and "price" not in chosen:
        first(
            "amount",
            lambda column: column.is_number and column.whole < 0.9 and column.filled > 0.5,
        )
    first(
        "customer_id",
        lambda column: column.emails >= 0.5,
        _is_repeated_id,
        lambda column: column.whole >= 0.9 and column.distinct > 1,
    )
    if all(re.fullmatch(r"column\d+", profile.name) for profile in profiles):  # no header
        first(
            "quantity",
            lambda column: (
                column.whole >= 0.9
                and 0 <= column.largest < 10_000
                and column.distinct < 0.2 * column.rows + 5
            ),
        )


def _is_repeated_id(profile: Profile) -> bool:
    return (
        not profile.is_moment
        and (profile.whole >= 0.9 or profile.numbers < 0.5)
        and profile.distinct > min(20, 0.05 * profile.rows)
        and profile.distinct < 0.98 * profile.rows + 1
    )


# ---------------------------------------------------------------- lines of the map


def _plain_lines(chosen: dict[str, Profile]) -> list[Line]:
    return [
        Line(target, f"{{ sql = '''{quoted(profile.name)} > 0''' }}", gettext("pieces in stock"))
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
    price, quantity = (
        chosen.get("price"),
        _choose_columns(profiles, TABLES["events"]).get("quantity"),
    )
    price_columns, price_lines = [], []
    if (
        price
        and quantity
        and is_line_price(con, source.relation, item, quoted(quantity.name), quoted(price.name))
    ):
        del chosen["price"]
        line, pieces = quoted(price.name), quoted(quantity.name)
        is_sold = f"FILTER (try_cast({pieces} AS DOUBLE) IS DISTINCT FROM 0)"
        pair = f"struct_pack({pieces} := {pieces}, {line} := {line})"
        price_columns = [f"unnest(mode({pair}) {is_sold})"]
        reason = gettext("the price is of the line")
        price_lines = [Line("price", f"{{ sql = '''{line} / {pieces}''' }}", reason)]
    others = [quoted(profile.name) for profile in chosen.values() if profile is not key]
    columns = ", ".join([item, *(f"mode({name}) AS {name}" for name in others), *price_columns])
    sql = f"SELECT {columns} FROM source GROUP BY {item}"
    reason = gettext("what most lines of an item say")
    return [Line("from", f"{{ sql = '''{sql}''' }}", reason), *price_lines]


def _skip_guests(customer: Profile, lines: list[Line]) -> list[Line]:
    """Skip sales to guests, instead of quarantining them."""
    if customer.filled >= 1 or customer.distinct > 0.5 * customer.rows:
        return lines
    reason = gettext("{share:.1%} of the lines are of nobody who is known").format(
        share=1 - customer.filled
    )
    condition = Line("where", f"{{ sql = '''{quoted(customer.name)} IS NOT NULL''' }}", reason)
    known = column_line("customer_id", customer, is_quarantined=False)
    return [condition, *(known if line.key == "customer_id" else line for line in lines)]


class _Events:
    """Compute the lines of a map of events."""

    def __init__(
        self,
        con: Any,
        source: sources.Source,
        chosen: dict[str, Profile],
        zone: str,
        *,
        has_lines: bool = False,
    ) -> None:
        self.con, self.source, self.chosen, self.zone, self.has_lines = (
            con,
            source,
            chosen,
            zone,
            has_lines,
        )

    def lines(self) -> list[Line]:
        """Return all lines of the map."""
        direct = [
            column_line(target, self.chosen[target])
            for target in (
                "customer_id",
                "occurred_at",
                "order_id",
                "item_id",
                "quantity",
                "discount",
                "currency",
                "channel",
                "rating",
                "query",
                "title",
                "event_id",
            )
            if target in self.chosen
        ]
        customer = self.chosen["customer_id"]
        if customer.distinct > MAX_NEW_CUSTOMERS * customer.filled * customer.rows:
            doubt = gettext("hardly anybody twice: is it a new one for each order?")
            direct[0] = replace(direct[0], reason=f"{direct[0].reason}; {doubt}")
        event_type = self._event_type()
        place = self._place_of_country() or self._shop_timezone()
        return [*place, *self._where(event_type), *direct, *self._amount(), event_type]

    def _column(self, target: str) -> str | None:
        return quoted(self.chosen[target].name) if target in self.chosen else None

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        # str.format would fail on braces in column names.
        return self.con.execute(sql.replace("{rows}", self.source.relation)).fetchall()

    def _shop_timezone(self) -> list[Line]:
        """Use the installation's zone if times lack one."""
        times = f"{self._column('occurred_at')}::VARCHAR"
        if self.zone == "UTC" or not self._query(
            f"SELECT 1 FROM {{rows}} WHERE NOT regexp_matches({times}, '{ZONED}') LIMIT 1"
        ):
            return []
        reason = gettext("RETENTION_TIMEZONE: the times name no zone")
        return [Line("timezone", toml_string(self.zone), reason)]

    def _place_of_country(self) -> list[Line]:
        """Derive time zone and currency from the country.

        Most rows must have the same country.
        """
        country = self._column("country")
        if country is None:
            return []
        name, share = self._query(
            f"SELECT {country}, count(*) / sum(count(*)) OVER () FROM {{rows}} "
            "GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
        )[0]
        place = synonyms()["countries"].get(str(name).strip().lower())
        if place is None or share < 0.5:
            return []
        timezone, currency = place[0], place[1]
        reason = gettext("{share:.0%} of the rows are of {country}").format(
            share=share, country=name
        )
        lines = [Line("timezone", toml_string(timezone), reason)]
        return (
            lines
            if "currency" in self.chosen
            else [*lines, Line("currency", f'{{ value = "{currency}" }}', reason)]
        )

    def _where(self, event_type: Line) -> list[Line]:
        """Exclude test items, free items, empty orders.

        The cleaning rules (clean.toml) exclude postage and bookkeeping.
        """
        conditions, reason = [], []
        if self.has_lines and event_type.value == ONLY_SALES and (empty := self._count_empty()):
            conditions.append(f"{quoted(ORDER_LINE)} IS NOT NULL")
            reason.append(gettext("{orders} without lines").format(orders=count(empty, "order")))
        if title := self._column("title"):
            is_test = f"regexp_matches(lower({title}), '^test\\b|test product')"
            tests = self._query(f"SELECT count(*) FROM {{rows}} WHERE {is_test}")[0][0]
            if tests:
                conditions.append(f"NOT coalesce({is_test}, false)")
                reason.append(gettext("{tests:,} tests").format(tests=tests))
        price = self.chosen.get("price")
        if price and (price.zero or price.negative):
            conditions.append(f"{quoted(price.name)} > 0")
            reason.append(
                gettext("{share:.1%} cost nothing").format(share=price.zero + price.negative)
            )
        sql = " AND ".join(conditions)
        return [Line("where", f"{{ sql = '''{sql}''' }}", "; ".join(reason))] if sql else []

    def _count_empty(self) -> int:
        """Count rows of orders without lines."""
        fields = ", ".join(
            f"{quoted(name)}::VARCHAR"
            for name in self.source.columns
            if name.startswith(f"{ORDER_LINE}.")
        )
        sql = f"SELECT count(*) FROM {{rows}} WHERE coalesce({fields}) IS NULL"
        return int(self._query(sql)[0][0])

    def _amount(self) -> list[Line]:
        if "amount" in self.chosen:
            return [column_line("amount", self.chosen["amount"])]
        price, quantity = self._column("price"), self._column("quantity")
        item = self._column("item_id")
        if (
            price
            and quantity
            and item
            and is_line_price(self.con, self.source.relation, item, quantity, price)
        ):
            reason = gettext("the more pieces, the higher: the price is of the line")
            return [Line("amount", toml_string(self.chosen["price"].name), reason)]
        if price and quantity:
            reason = gettext("the price is of one")
            return [Line("amount", f"{{ sql = '''{quantity} * {price}''' }}", reason)]
        return [column_line("amount", self.chosen["price"])] if price else []

    def _event_type(self) -> Line:
        if "event_type" in self.chosen and (line := self._event_type_of_words()):
            return line
        if order := self._column("order_id"):
            cancelled, others = self._query(
                f"SELECT count(*) FILTER (regexp_matches({order}::VARCHAR, '^C[0-9]')), "
                f"count(*) FILTER (regexp_matches({order}::VARCHAR, '^[0-9]')) FROM {{rows}}"
            )[0]
            if cancelled and others > cancelled:
                case = f"CASE WHEN {order} LIKE 'C%' THEN 'return' ELSE 'purchase' END"
                reason = gettext("{rows:,} rows are of cancelled orders").format(rows=cancelled)
                return Line("event_type", f"{{ sql = '''{case}''' }}", reason)
        for target in ("quantity", "amount", "price"):
            if target in self.chosen and 0 < self.chosen[target].negative < 0.5:
                case = f"CASE WHEN {self._column(target)} < 0 THEN 'return' ELSE 'purchase' END"
                share = self.chosen[target].negative
                reason = gettext("{share:.1%} are negative").format(share=share)
                return Line("event_type", f"{{ sql = '''{case}''' }}", reason)
        return Line("event_type", ONLY_SALES, gettext("nothing tells of anything else"))

    def _event_type_of_words(self) -> Line | None:
        column = self._column("event_type")
        values = [
            str(value)
            for (value,) in self._query(
                f"SELECT DISTINCT {column} FROM {{rows}} "
                f"WHERE {column} IS NOT NULL LIMIT {MAX_CATEGORIES}"
            )
        ]
        event_types = {value: event_type_of(value) for value in sorted(values)}
        if not any(event_types.values()):
            return None
        if all(value == event_type for value, event_type in event_types.items()):
            return column_line("event_type", self.chosen["event_type"])
        cases = " ".join(
            f"WHEN {mapping.literal(value)} THEN '{event_type}'"
            for value, event_type in event_types.items()
            if event_type
        )
        unknown = [value for value, event_type in event_types.items() if not event_type]
        # Any other status of an order, such as "shipped", means a purchase.
        if "status" in self.chosen["event_type"].name.lower():
            case = f"CASE {column} {cases} ELSE 'purchase' END"
            return Line("event_type", f"{{ sql = '''{case}''' }}")
        reason = (
            gettext("unknown, quarantined: {values}").format(values=", ".join(unknown))
            if unknown
            else ""
        )
        return Line(
            "event_type", f"{{ sql = '''CASE {column} {cases} ELSE {column} END''' }}", reason
        )
