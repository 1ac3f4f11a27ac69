"""Say which rows of a file are one order."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

from dataclasses import dataclass
from typing import Any, Literal

from retention.lake.importing.mapping import Mapping, quoted
from retention.lake.suggesting.map_lines import Line, column_line
from retention.lake.suggesting.profiles import EXACT, Profile, similarity, synonyms
from retention.text import gettext

MIN_SHARED = 0.2  # share of order numbers that several customers have, to say that they repeat
MIN_LINES = 0.5  # share of rows in baskets of several rows, to say that a number is of a line
MIN_NUMBERED = 0.9  # share of these baskets in which each row has a number of its own


@dataclass(frozen=True, slots=True)
class OrderRule:
    """Which rows of a customer are one order.

    `code`: by the order number, by several columns (a number and a day, for example), or by the
    day.
    """

    code: Literal["number", "columns", "day"]
    columns: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The rule, for people."""
        if self.code == "day":
            return gettext("An order is what a customer buys on one day")
        text = gettext("An order is the rows of a customer with the same {columns}")
        return text.format(columns=gettext(" and ").join(self.columns))


def order_rule(mapping: Mapping) -> OrderRule:
    """Return the rule that a map follows."""
    order = mapping.columns.get("order_id")
    if order is None or order.is_constant:
        return OrderRule("day")
    customer = mapping.columns.get("customer_id")
    columns = sorted(order.columns - (customer.columns if customer else frozenset()))
    return OrderRule("number" if order.column else "columns", tuple(columns))


def order_line(con: Any, rows: str, chosen: dict[str, Profile]) -> Line:
    """Return the map's line of the order id.

    A number that begins anew, each day or in each export, is one only together with the day. The
    number of a line is none: its order is what the customer bought at that moment.
    """
    order = chosen["order_id"]
    names = ("order_id", "customer_id", "occurred_at")
    number, customer, time = (quoted(chosen[name].name) for name in names)
    day = f"left(split_part({time}::VARCHAR, ' ', 1), 10)"
    if "time_of_day" in chosen:
        time = f"concat_ws(' ', {time}, {quoted(chosen['time_of_day'].name)})"
    share = _shared(con, rows, number, customer)
    if "item_id" in chosen and _is_line_number(con, rows, order, number, customer, time):
        sql = f"concat_ws(' ', {customer}, {time})"
        reason = gettext("{column} numbers the lines: an order is what a customer buys at a time")
    elif share >= MIN_SHARED:
        sql = f"concat_ws(' ', {day}, {number})"
        reason = gettext("{share:.0%} of {column} are of several customers: numbers begin anew")
    else:
        return column_line("order_id", order)
    reason = reason.format(column=order.name, share=share)
    return Line("order_id", f"{{ sql = '''{sql}''' }}", reason)


def _is_line_number(
    con: Any, rows: str, order: Profile, number: str, customer: str, time: str
) -> bool:
    """Return whether numbers are of lines: 1, 2, 3 … in each basket, or each only once.

    A basket is what a customer buys at one time. Numbers that are all different can be orders of
    one line, so then the name decides.
    """
    lines, baskets, numbered, running = con.execute(
        f"SELECT coalesce(sum(lines) FILTER (lines > 1) / sum(lines), 0), "
        "count(*) FILTER (lines > 1), count(*) FILTER (lines > 1 AND numbers = lines), "
        "count(*) FILTER (lines > 1 AND numbers = lines AND first = 1 AND last = lines) "
        f"FROM (SELECT count(*) AS lines, count(DISTINCT {number}) AS numbers, "
        f"min(try_cast({number} AS BIGINT)) AS first, max(try_cast({number} AS BIGINT)) AS last "
        f"FROM {rows} WHERE {customer} IS NOT NULL GROUP BY {customer}, {time})"
    ).fetchall()[0]
    if not baskets or lines < MIN_LINES or numbered < MIN_NUMBERED * baskets:
        return False
    is_called_order = similarity(order.name, synonyms()["events"]["order_id"]) >= EXACT
    return running >= MIN_NUMBERED * baskets or (
        not is_called_order and order.distinct == order.rows
    )


def _shared(con: Any, rows: str, number: str, customer: str) -> float:
    """Return the share of numbers of several rows that several customers have."""
    sql = (
        "SELECT avg((customers > 1)::INTEGER) FROM ("
        f"SELECT count(DISTINCT {customer}) AS customers FROM {rows} "
        f"WHERE {number} IS NOT NULL GROUP BY {number} HAVING count({customer}) > 1)"
    )
    return float(con.execute(sql).fetchall()[0][0] or 0.0)
