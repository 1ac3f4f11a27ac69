"""Compute the lines of a map of events."""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

from typing import Any

from retention.lake.importing import mapping
from retention.lake.importing.mapping import quoted
from retention.lake.reading import sources
from retention.lake.reading.column_formats import ZONED
from retention.lake.suggesting import map_lines, profiles
from retention.lake.suggesting.map_lines import Doubt, DoubtCode, Line, column_line, sql_line
from retention.lake.suggesting.order_rows import joined_line, order_line
from retention.templating import count
from retention.text import gettext

ONLY_SALES = '{ value = "purchase" }'
PERCENT = ("percent", "pct", "prozent", "pourcentage", "porcentaje", "percentuale", "rate")
SUMS = (
    "total",
    "amount",
    "value",
    "betrag",
    "montant",
    "importe",
    "importo",
    "valor",
    "金额",
    "額",
)
MAX_RATES = 60  # most distinct values of a discount that is a rate
REQUIRED = ("customer_id", "occurred_at")  # without them, a row is quarantined
EQUAL = "_equal_line"  # number of a line among the equal ones
ORDER_LINES = "_order_lines"  # number of lines of the line's order


class EventLines:
    """Compute the lines of a map of events."""

    def __init__(
        self,
        con: Any,
        source: sources.Source,
        chosen: dict[str, profiles.Profile],
        zone: str,
        *,
        has_lines: bool = False,
        is_order_total: bool = False,
        left_out: str = "",
    ) -> None:
        self.con, self.source, self.chosen, self.zone = con, source, chosen, zone
        # Lines that are not told apart become one event, with the whole total.
        self.is_split = is_order_total and bool({"item_id", "quantity", "event_id"} & {*chosen})
        self.has_lines = has_lines
        self.left_out = left_out  # SQL of the rows that the map's `leave_out` names
        self.doubts: list[Doubt] = []
        self.is_return = "false"  # SQL over texts

    def lines(self) -> list[Line]:
        """Return all lines of the map."""
        special = {"occurred_at": self._moment, "order_id": self._order}
        direct = [
            special[target]() if target in special else column_line(target, self.chosen[target])
            for target in (
                "customer_id",
                "occurred_at",
                "order_id",
                "item_id",
                "quantity",
                "currency",
                "channel",
                "store",
                "rating",
                "query",
                "title",
                "stated_at",
            )
            if target in self.chosen
        ]
        event_type = self._event_type()
        place = self._place_of_country() or self._shop_timezone()
        windows, event_id = self._event_id()
        where, conditions = self._where(event_type)
        if self.is_split:
            reason = gettext("the amount is of the order, and each line gets its share")
            windows.append((self._order_lines(conditions), reason))
        discount = self._discount()
        return [
            *_numbered_rows(windows),
            *place,
            *where,
            *direct,
            *self._amount(),
            *discount,
            *event_id,
            event_type,
        ]

    def _moment(self) -> Line:
        """Return the line of the time, joined if the time of day is another column."""
        date, time = self.chosen["occurred_at"], self.chosen.get("time_of_day")
        if time is None:
            return column_line("occurred_at", date)
        return joined_line(self.con, self.source.relation, date, time)

    def _order(self) -> Line:
        if self.has_lines:
            return column_line("order_id", self.chosen["order_id"])
        return order_line(self.con, self.source.relation, self.chosen)

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
        return [Line("timezone", map_lines.toml_string(self.zone), reason)]

    def _place_of_country(self) -> list[Line]:
        """Derive time zone and currency from the country. Most rows must have the same country."""
        country = self._column("country")
        if country is None:
            return []
        name, share = self._query(
            f"SELECT {country}, count(*) / sum(count(*)) OVER () FROM {{rows}} "
            "GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
        )[0]
        place = profiles.synonyms()["countries"].get(str(name).strip().lower())
        if place is None or share < 0.5:
            return []
        timezone, currency = place[0], place[1]
        text = gettext("{share:.0%} of the rows are of {country}")
        reason = text.format(share=share, country=name)
        lines = [Line("timezone", map_lines.toml_string(timezone), reason)]
        if "currency" in self.chosen:
            return lines
        return [*lines, Line("currency", f'{{ value = "{currency}" }}', reason)]

    def _order_lines(self, conditions: list[str]) -> str:
        """Return SQL of the number of lines of a line's order that will be imported.

        A line without an order number is an order of its own.
        """
        order = f"nullif(trim({self._column('order_id')}::VARCHAR), '')"
        needed = (f"trim({self._column(name)}::VARCHAR) <> ''" for name in REQUIRED)
        without = [f"NOT ({self.left_out})"] if self.left_out else []
        return (
            f"greatest(1, count(*) FILTER ({' AND '.join([*needed, *conditions, *without])}) OVER "
            f"(PARTITION BY {order}, CASE WHEN {order} IS NULL THEN _line END)) AS {ORDER_LINES}"
        )

    def _where(self, event_type: Line) -> tuple[list[Line], list[str]]:
        """Exclude test items, free items, empty orders; return the conditions as well.

        The cleaning rules (clean.toml) exclude postage and bookkeeping.
        """
        conditions, reason = [], []
        if self.has_lines and event_type.value == ONLY_SALES and (empty := self._count_empty()):
            conditions.append(f"{quoted(map_lines.ORDER_LINE)} IS NOT NULL")
            reason.append(gettext("{orders} without lines").format(orders=count(empty, "order")))
        if title := self._column("title"):
            is_test = f"regexp_matches(lower({title}), '^test\\b|test product')"
            tests = self._query(f"SELECT count(*) FROM {{rows}} WHERE {is_test}")[0][0]
            if tests:
                conditions.append(f"NOT coalesce({is_test}, false)")
                reason.append(gettext("{tests:,} tests").format(tests=tests))
        price = self.chosen.get("price")
        if price and self._are_refunds(price):
            conditions += [f"{quoted(price.name)} <> 0"] if price.zero else []
            free = price.zero
        else:
            free = price.zero + price.negative if price else 0
            conditions += [f"{quoted(price.name)} > 0"] if price and free else []
        if free:
            reason.append(gettext("{share:.1%} cost nothing").format(share=free))
        sql = " AND ".join(conditions)
        line = sql_line("where", sql, "; ".join(reason))
        return [line] if sql else [], conditions

    def _are_refunds(self, price: profiles.Profile) -> bool:
        """Return whether most negative prices are of returns."""
        value = profiles.number_sql(quoted(price.name))
        sql = f"SELECT avg(({self.is_return})::INTEGER) FROM {{rows}} WHERE {value} < 0"
        return bool(price.negative and (self._query(sql)[0][0] or 0) >= 0.5)

    def _count_empty(self) -> int:
        """Count rows of orders without lines."""
        fields = ", ".join(
            f"{quoted(name)}::VARCHAR"
            for name in self.source.columns
            if name.startswith(f"{map_lines.ORDER_LINE}.")
        )
        sql = f"SELECT count(*) FROM {{rows}} WHERE coalesce({fields}) IS NULL"
        return int(self._query(sql)[0][0])

    def _amount(self) -> list[Line]:
        if self.is_split:
            return [sql_line("amount", f"{self._column('amount')} / {ORDER_LINES}")]
        if "amount" in self.chosen:
            return [column_line("amount", self.chosen["amount"])]
        item, quantity, price = map(self.chosen.get, ("item_id", "quantity", "price"))
        if not price or not quantity:
            return [column_line("amount", price)] if price else []
        if item and map_lines.is_line_price(self.con, self.source.relation, item, quantity, price):
            reason = gettext("the more pieces, the higher: the price is of the line")
            return [Line("amount", map_lines.toml_string(price.name), reason)]
        rate = self._rate()
        sql = f"{quoted(quantity.name)} * {quoted(price.name)}" + (
            f" * (1 - {rate})" if rate else ""
        )
        return [sql_line("amount", sql, gettext("the price is of one"))]

    def _rate(self) -> str:
        """Return SQL of the discount as a share of the price; "" if it is an amount."""
        discount = self.chosen.get("discount")
        if discount is None or discount.negative or discount.distinct > MAX_RATES:
            return ""
        column, name = quoted(discount.name), discount.name.casefold()
        if any(word in profiles.plain(name) for word in SUMS):
            return ""
        if discount.largest <= 1:
            return column if discount.whole < 1 else ""
        is_percent = "%" in name or any(word in profiles.plain(name) for word in PERCENT)
        return f"{column} / 100.0" if is_percent and discount.largest <= 100 else ""

    def _discount(self) -> list[Line]:
        """Map a discount: an amount taken off, positive; a rate becomes one."""
        discount = self.chosen.get("discount")
        if discount is None:
            return []
        rate, amount = self._rate(), self._column("amount")
        price, quantity = self._column("price"), self._column("quantity")
        if not rate:
            if not discount.negative:
                return [column_line("discount", discount)]
            sql = f"abs({quoted(discount.name)})"
            reason = gettext("{share:.1%} are negative").format(share=discount.negative)
            return [sql_line("discount", sql, reason)]
        if amount:
            sql = f"{amount} * ({rate}) / nullif(1 - {rate}, 0)"
            text = gettext("{column} looks like a rate. The amount is taken to be after it.")
        elif price:
            sql = f"{quantity or 1} * {price} * ({rate})"
            text = gettext("{column} looks like a rate. The price is taken to be before it.")
        else:
            return []
        code = DoubtCode.DISCOUNT_RATE
        self.doubts.append(
            Doubt(code, "discount", discount.name, text.format(column=discount.name))
        )
        reason = gettext("a rate, not an amount")
        return [sql_line("discount", sql, reason)]

    def _event_id(self) -> tuple[list[tuple[str, str]], list[Line]]:
        """Keep equal lines apart by their row id.

        A running number begins anew in the next file, so it is no identity of its own: there, the
        second and later of equal lines get an id of what they say and their place among them. So do
        they if each has a share of its order's amount.

        Returns: SQL that numbers equal lines, with its reason, and the map's ``event_id``.
        """
        row = self.chosen.get("event_id")
        if row is None and not self.is_split:
            return [], []
        if row and (self.has_lines or not self._is_running_number(row)):
            return [], [column_line("event_id", row)]
        names = (
            "customer_id",
            "occurred_at",
            "time_of_day",
            "order_id",
            "item_id",
            "quantity",
            "amount",
            "price",
            "event_type",
        )
        said = [quoted(self.chosen[target].name) for target in names if target in self.chosen]
        listed = ", ".join(said)
        place = quoted(row.name) if row else "_line"
        number = f"row_number() OVER (PARTITION BY {listed} ORDER BY {place}) AS {EQUAL}"
        told = gettext("{column} tells equal lines apart")
        reason = told.format(column=row.name) if row else gettext("equal lines count each")
        case = f"CASE WHEN {EQUAL} > 1 THEN md5(concat_ws(chr(31), {listed}, {EQUAL})) END"
        return [(number, reason)], [sql_line("event_id", case)]

    def _is_running_number(self, profile: profiles.Profile) -> bool:
        """Return whether values are 1, 2, 3 … of this file."""
        number = f"try_cast({quoted(profile.name)} AS BIGINT)"
        first, last, numbers = self._query(
            f"SELECT min({number}), max({number}), count({number}) FROM {{rows}}"
        )[0]
        return bool(numbers and first in (0, 1) and last - first + 1 == numbers)

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
                self.is_return = f"{order} LIKE 'C%'"
                return sql_line("event_type", case, reason)
        signs = [
            quoted(self.chosen[target].name)
            for target in ("quantity", "amount", "price")
            if target in self.chosen and 0 < self.chosen[target].negative < 0.5
        ]
        if "amount" in self.chosen:  # it has the sign of quantity times price
            signs = signs[:1]
        if signs:
            self.is_return = " OR ".join(f"{profiles.number_sql(sign)} < 0" for sign in signs)
            sql = f"SELECT avg(({self.is_return})::INTEGER) FROM {{rows}}"
            reason = gettext("{share:.1%} are negative").format(share=self._query(sql)[0][0])
            negative = " OR ".join(f"{sign} < 0" for sign in signs)
            case = f"CASE WHEN {negative} THEN 'return' ELSE 'purchase' END"
            return sql_line("event_type", case, reason)
        return Line("event_type", ONLY_SALES, gettext("nothing tells of anything else"))

    def _event_type_of_words(self) -> Line | None:
        column = self._column("event_type")
        rows = self._query(
            f"SELECT DISTINCT {column} FROM {{rows}} "
            f"WHERE {column} IS NOT NULL LIMIT {profiles.MAX_CATEGORIES}"
        )
        values = [str(value) for (value,) in rows]
        event_types = {value: profiles.event_type_of(value) for value in sorted(values)}
        if not any(event_types.values()):
            return None
        words = [value for value, event_type in event_types.items() if event_type == "return"]
        self.is_return = f"{column} IN ({', '.join(map(mapping.literal, words)) or 'NULL'})"
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
            return sql_line("event_type", case)
        reason = ""
        if unknown:
            reason = gettext("unknown, quarantined: {values}").format(values=", ".join(unknown))
        return sql_line("event_type", f"CASE {column} {cases} ELSE {column} END", reason)


def _numbered_rows(windows: list[tuple[str, str]]) -> list[Line]:
    """Return the map's ``from`` that adds numbers to the rows."""
    if not windows:
        return []
    sql = f"SELECT *, {', '.join(sql for sql, _ in windows)} FROM source"
    return [sql_line("from", sql, "; ".join(why for _, why in windows))]
