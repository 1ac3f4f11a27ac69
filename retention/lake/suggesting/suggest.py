"""A map proposed for a file: by what its columns are called, in several languages, and by what is in them."""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

import re
from dataclasses import replace
from typing import Any

from retention.errors import BadInput
from retention.lake import formats, mapping
from retention.lake.mapping import quoted
from retention.lake.reading import flatten, sources
from retention.lake.reading.columns import ZONED
from retention.lake.schema import TABLES, Table
from retention.lake.suggesting import synonyms
from retention.lake.suggesting.attributes import of_customers, of_items
from retention.lake.suggesting.line_price import of_line
from retention.lake.suggesting.map_text import QUARANTINED, Line, named, string, written
from retention.lake.suggesting.order_lines import LINE, by_line
from retention.lake.suggesting.profiles import FEW, Profile, profiles_of
from retention.templating import count
from retention.text import gettext

_SHOPS = {"shopify": "Shopify", "woocommerce": "WooCommerce"}
_OF_LINES = ("event_id", "item_id", "quantity", "price", "amount", "discount", "title")
ONLY_SALES = '{ value = "purchase" }'
ONCE = 0.98  # of the rows have a customer of their own: nobody comes back


def suggest(lake: Any, table_name: str, file: str) -> str:
    """Propose a map for a file.

    Parameters
    ----------
    lake : Lake
        Whose DuckDB reads the file; nothing is imported.
    table_name : str
        ``events``, ``customers``, ``items`` or ``treatments``.
    file : str
        Path of the file.

    Returns
    -------
    str
        TOML, with comments that say why. It imports the file as it is. Of an export known by name (`formats`) only a
        comment that names it.

    Raises
    ------
    BadInput
        Where the file cannot be read, or no column can be what the table needs; the sentence says which.
    """
    table, con = TABLES[table_name], lake.duckdb
    with sources.opened(con, file, None, None) as opened:
        source, orders = _flat(con, opened), ""
        if known := formats.recognised(source.columns, table_name):
            name, of = known
            shop, _, what = name.partition("-")
            return (
                f"# {source.name} reads like a {_SHOPS[shop]} export of {what}: import it with --format {name}, no map is needed:\n"
                f"#   retention import {of} {source.name} --format {name}\n"
            )
        if table.name == "events":
            lined, orders = by_line(con, opened)
            source = _flat(con, lined)
        profiles = profiles_of(con, source)
        chosen = _chosen(profiles, table, lined=bool(orders))
        lacking = [name for name in table.required if name not in chosen and name != "event_type"]
        if lacking:
            there = ", ".join(profile.name for profile in profiles)
            raise BadInput(
                gettext(
                    "No column of {name} looks like {lacking} (there are {there}); write the map "
                    "by hand."
                ).format(name=source.name, lacking=" or ".join(lacking), there=there)
            )
        if table.name == "events":
            lines = _Events(con, source, chosen, lake.zone, lined=bool(orders)).lines()
        else:
            lines = [*_once_each(con, source, table, profiles, chosen), *_plain(chosen)]
        told = of_items(profiles, chosen.values()) if table.name == "items" else ""
        if told and lines[0].key != "from":
            why = "what may not be offered any more, and of what it is a size or colour"
            lines.append(Line("attributes", f"{{ sql = '''{told}''' }}", why))
        if table.name == "customers":
            who = chosen["customer_id"]
            lines = _of_somebody(who, lines)
            if told := of_customers(con, source, profiles, chosen.values(), who):
                lines.append(
                    Line(
                        "attributes", f"{{ sql = '''{told}''' }}", "to judge groups apart by (--by)"
                    )
                )
        if orders:
            lines.insert(
                0, Line("from", f"{{ sql = '''{orders}''' }}", "a row for each line of an order")
            )
        return written(table, source, profiles, lines)


def _flat(con: Any, source: sources.Source) -> sources.Source:
    """The source with the fields of its nested columns in their place, as maps name them."""
    inner = flatten.nested(con, source)
    outer = [name for name, type_ in source.columns.items() if not flatten.is_nested(type_)]
    names = {name: quoted(name) for name in outer} | inner
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in names.items())
    relation = f"(SELECT {listed} FROM {source.relation})" if inner else source.relation
    return replace(source, relation=relation, columns=dict.fromkeys(names, "VARCHAR"))


# ---------------------------------------------------------------- which is which


def _chosen(profiles: list[Profile], table: Table, *, lined: bool = False) -> dict[str, Profile]:
    """The best column for each meaning: by name first, what is left by content; of lines of orders what each sold is theirs."""
    names = synonyms.words()[table.name]
    scored = sorted(
        (
            (
                -synonyms.likeness(profile.name, names[target]) * _fit(profile, target, table),
                place,
                order,
                target,
            )
            for order, target in enumerate(names)
            for place, profile in enumerate(profiles)
            if not lined or _belongs(profile, target)
        )
    )
    chosen: dict[str, Profile] = {}
    for score, place, _, target in scored:
        if -score >= 0.5 and target not in chosen and profiles[place] not in chosen.values():
            chosen[target] = profiles[place]
    if table.name == "events":
        _by_content(profiles, chosen, lined=lined)
        amount, price = chosen.get("amount"), chosen.get("price")
        if "quantity" not in chosen and amount and price and _counts(amount, price):
            chosen["quantity"] = chosen.pop("amount")
    return chosen


def _counts(amount: Profile, price: Profile) -> bool:
    """Whether an 'amount' beside a price is one of pieces: few different whole numbers."""
    return amount.whole >= 0.999 and 5 * amount.distinct < price.distinct


def _fit(profile: Profile, target: str, table: Table) -> float:
    """Whether the values can be meant, 0 … 1."""
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


def _belongs(profile: Profile, target: str) -> bool:
    """What is sold is of the line, who buys of the order: the total of an order, once a line, would count several times."""
    return profile.name.startswith(f"{LINE}.") == (target in _OF_LINES)


def _by_content(
    profiles: list[Profile], chosen: dict[str, Profile], *, lined: bool = False
) -> None:
    """What no name tells: words for events are what happened, the first date is when, the first repeated id is who, decimals
    are money, small counts pieces.
    """

    def first(target: str, *conditions: Any) -> None:
        for condition in conditions:
            for profile in profiles:
                fits = condition(profile) and (not lined or _belongs(profile, target))
                if fits and target not in chosen and profile not in chosen.values():
                    chosen[target] = profile

    if lined:
        first("order_id", lambda one: one.name.casefold() == "id")
        # Else two equal lines of an order would be one told twice.
        first(
            "event_id", lambda one: one.name.casefold() == f"{LINE}.id" and one.distinct == one.rows
        )
    first("event_type", lambda one: one.words >= 0.8 and one.distinct > 1)
    first("occurred_at", lambda one: one.is_moment)
    if "amount" not in chosen and "price" not in chosen:
        first("amount", lambda one: one.is_number and one.whole < 0.9 and one.filled > 0.5)
    first(
        "customer_id",
        lambda one: one.emails >= 0.5,
        _identifies,
        lambda one: one.whole >= 0.9 and one.distinct > 1,
    )
    if all(re.fullmatch(r"column\d+", profile.name) for profile in profiles):  # no header
        first(
            "quantity",
            lambda one: (
                one.whole >= 0.9 and 0 <= one.largest < 10_000 and one.distinct < 0.2 * one.rows + 5
            ),
        )


def _identifies(profile: Profile) -> bool:
    return (
        not profile.is_moment
        and (profile.whole >= 0.9 or profile.numbers < 0.5)
        and profile.distinct > min(20, 0.05 * profile.rows)
        and profile.distinct < 0.98 * profile.rows + 1
    )


# ---------------------------------------------------------------- what the map says


def _plain(chosen: dict[str, Profile]) -> list[Line]:
    return [
        Line(target, f"{{ sql = '''{quoted(profile.name)} > 0''' }}", "pieces in stock")
        if target == "in_stock" and profile.is_number and profile.largest > 1
        else named(target, profile)
        for target, profile in chosen.items()
    ]


def _once_each(
    con: Any,
    source: sources.Source,
    table: Table,
    profiles: list[Profile],
    chosen: dict[str, Profile],
) -> list[Line]:
    """Of a file of sales each item once, as most of its lines say: one line says 'damaged' where the title stands, or nothing.

    Where a line's price is that of all its pieces, `chosen` loses it: the price of one is what the commonest line of the
    item asks by its pieces.
    """
    key = chosen["item_id"] if table.name == "items" else None
    if key is None or key.distinct > 0.5 * key.rows:
        return []
    item = quoted(key.name)
    price, pieces = chosen.get("price"), _chosen(profiles, TABLES["events"]).get("quantity")
    asked, of_one = [], []
    if (
        price
        and pieces
        and of_line(con, source.relation, item, quoted(pieces.name), quoted(price.name))
    ):
        del chosen["price"]
        line, count = quoted(price.name), quoted(pieces.name)
        sold = f"FILTER (try_cast({count} AS DOUBLE) IS DISTINCT FROM 0)"
        asked = [f"unnest(mode(struct_pack({count} := {count}, {line} := {line})) {sold})"]
        of_one = [Line("price", f"{{ sql = '''{line} / {count}''' }}", "the price is of the line")]
    said = [quoted(profile.name) for profile in chosen.values() if profile is not key]
    columns = ", ".join([item, *(f"mode({name}) AS {name}" for name in said), *asked])
    sql = f"SELECT {columns} FROM source GROUP BY {item}"
    return [Line("from", f"{{ sql = '''{sql}''' }}", "what most lines of an item say"), *of_one]


def _of_somebody(who: Profile, lines: list[Line]) -> list[Line]:
    """Of a file of sales those of guests tell of no customer: they are not meant, and no customers who lack an id."""
    if who.filled >= 1 or who.distinct > 0.5 * who.rows:
        return lines
    why = f"{1 - who.filled:.1%} of the lines are of nobody who is known"
    condition = Line("where", f"{{ sql = '''{quoted(who.name)} IS NOT NULL''' }}", why)
    return [condition, *(replace(line, why=line.why.removesuffix(QUARANTINED)) for line in lines)]


class _Events:
    """The lines of a map of events: what needs more than a column's name."""

    def __init__(
        self,
        con: Any,
        source: sources.Source,
        chosen: dict[str, Profile],
        zone: str,
        *,
        lined: bool = False,
    ) -> None:
        self.con, self.source, self.chosen, self.zone, self.lined = con, source, chosen, zone, lined

    def lines(self) -> list[Line]:
        direct = [
            named(target, self.chosen[target])
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
        if (who := self.chosen["customer_id"]).distinct > ONCE * who.filled * who.rows:
            doubt = f"{direct[0].why}; hardly anybody twice: is it a new one for each order?"
            direct[0] = replace(direct[0], why=doubt)
        kind = self._event_type()
        return [*self._place(), *self._where(kind), *direct, *self._amount(), kind]

    def _column(self, target: str) -> str | None:
        return quoted(self.chosen[target].name) if target in self.chosen else None

    def _counted(self, sql: str) -> list[tuple[Any, ...]]:
        # not `format`: names of columns may hold braces
        return self.con.execute(sql.replace("{rows}", self.source.relation)).fetchall()

    def _place(self) -> list[Line]:
        """The time zone and currency, where most rows are of one country; else the shop's own zone."""
        return self._of_country() or self._of_shop()

    def _of_shop(self) -> list[Line]:
        """The zone that the installation names, where times name none."""
        moments = f"{self._column('occurred_at')}::VARCHAR"
        if self.zone == "UTC" or not self._counted(
            f"SELECT 1 FROM {{rows}} WHERE NOT regexp_matches({moments}, '{ZONED}') LIMIT 1"
        ):
            return []
        return [Line("timezone", string(self.zone), "RETENTION_TIMEZONE: the times name no zone")]

    def _of_country(self) -> list[Line]:
        country = self._column("country")
        if country is None:
            return []
        name, share = self._counted(
            f"SELECT {country}, count(*) / sum(count(*)) OVER () FROM {{rows}} GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
        )[0]
        known = synonyms.words()["countries"].get(str(name).strip().lower())
        if known is None or share < 0.5:
            return []
        why = f"{share:.0%} of the rows are of {name}"
        lines = [Line("timezone", string(known[0]), why)]
        return (
            lines
            if "currency" in self.chosen
            else [*lines, Line("currency", f'{{ value = "{known[1]}" }}', why)]
        )

    def _where(self, kind: Line) -> list[Line]:
        """Rows that are no trade: tests, what costs nothing, an order that lists nothing. Postage and accounts are the cleaning
        rules' (clean.toml).
        """
        conditions, why = [], []
        if self.lined and kind.value == ONLY_SALES and (empty := self._listing_nothing()):
            conditions.append(f"{quoted(LINE)} IS NOT NULL")
            why.append(f"{count(empty, 'order')} without lines")
        if title := self._column("title"):
            tests = self._counted(
                f"SELECT count(*) FROM {{rows}} WHERE regexp_matches(lower({title}), '^test\\b|test product')"
            )[0][0]
            if tests:
                conditions.append(
                    f"NOT coalesce(regexp_matches(lower({title}), '^test\\b|test product'), false)"
                )
                why.append(f"{tests:,} tests")
        price = self.chosen.get("price")
        if price and (price.zero or price.negative):
            conditions.append(f"{quoted(price.name)} > 0")
            why.append(f"{price.zero + price.negative:.1%} cost nothing")
        sql = " AND ".join(conditions)
        return [Line("where", f"{{ sql = '''{sql}''' }}", "; ".join(why))] if sql else []

    def _listing_nothing(self) -> int:
        """How many rows are of an order without lines."""
        fields = [quoted(name) for name in self.source.columns if name.startswith(f"{LINE}.")]
        return int(
            self._counted(
                f"SELECT count(*) FROM {{rows}} WHERE coalesce({', '.join(f'{one}::VARCHAR' for one in fields)}) IS NULL"
            )[0][0]
        )

    def _amount(self) -> list[Line]:
        if "amount" in self.chosen:
            return [named("amount", self.chosen["amount"])]
        price, quantity = self._column("price"), self._column("quantity")
        item = self._column("item_id")
        if (
            price
            and quantity
            and item
            and of_line(self.con, self.source.relation, item, quantity, price)
        ):
            why = "the more pieces, the higher: the price is of the line"
            return [Line("amount", string(self.chosen["price"].name), why)]
        if price and quantity:
            return [
                Line("amount", f"{{ sql = '''{quantity} * {price}''' }}", "the price is of one")
            ]
        return [named("amount", self.chosen["price"])] if price else []

    def _event_type(self) -> Line:
        if "event_type" in self.chosen and (line := self._told_types()):
            return line
        if order := self._column("order_id"):
            cancelled, others = self._counted(
                f"SELECT count(*) FILTER (regexp_matches({order}::VARCHAR, '^C[0-9]')), "
                f"count(*) FILTER (regexp_matches({order}::VARCHAR, '^[0-9]')) FROM {{rows}}"
            )[0]
            if cancelled and others > cancelled:
                case = f"CASE WHEN {order} LIKE 'C%' THEN 'return' ELSE 'purchase' END"
                return Line(
                    "event_type",
                    f"{{ sql = '''{case}''' }}",
                    f"{cancelled:,} rows are of cancelled orders",
                )
        for target in ("quantity", "amount", "price"):
            if target in self.chosen and 0 < self.chosen[target].negative < 0.5:
                case = f"CASE WHEN {self._column(target)} < 0 THEN 'return' ELSE 'purchase' END"
                share = self.chosen[target].negative
                return Line("event_type", f"{{ sql = '''{case}''' }}", f"{share:.1%} are negative")
        return Line("event_type", ONLY_SALES, "nothing tells of anything else")

    def _told_types(self) -> Line | None:
        column = self._column("event_type")
        values = [
            str(value)
            for (value,) in self._counted(
                f"SELECT DISTINCT {column} FROM {{rows}} WHERE {column} IS NOT NULL LIMIT {FEW}"
            )
        ]
        meant = {value: synonyms.meaning(value) for value in sorted(values)}
        if not any(meant.values()):
            return None
        if all(value == meaning for value, meaning in meant.items()):
            return named("event_type", self.chosen["event_type"])
        cases = " ".join(
            f"WHEN {mapping.literal(value)} THEN '{word}'" for value, word in meant.items() if word
        )
        unknown = [value for value, word in meant.items() if not word]
        if (
            "status" in self.chosen["event_type"].name.lower()
        ):  # of an order: it was bought, whatever came after
            return Line(
                "event_type", f"{{ sql = '''CASE {column} {cases} ELSE 'purchase' END''' }}"
            )
        why = f"unknown, quarantined: {', '.join(unknown)}" if unknown else ""
        return Line("event_type", f"{{ sql = '''CASE {column} {cases} ELSE {column} END''' }}", why)
