"""Say what the rows of a file are: an order, a line at a time of day, or a customer's sums."""

# ruff: noqa: S608 - names are quoted (mapping.quoted)

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from retention.errors import BadInput
from retention.lake.importing.mapping import Mapping, quoted
from retention.lake.suggesting.map_lines import Line, column_line, sql_line
from retention.lake.suggesting.profiles import (
    EXACT,
    Profile,
    is_synonym_of,
    name_words,
    plain,
    similarity,
    synonyms,
)
from retention.text import gettext

MIN_SHARED = 0.2  # share of order numbers that several customers have, to say that they repeat
MIN_LINES = 0.5  # share of rows in baskets of several rows, to say that a number is of a line
MIN_NUMBERED = 0.9  # share of these baskets in which each row has a number of its own


@dataclass(frozen=True, slots=True)
class OrderRule:
    """Which rows of a customer are one order.

    `code`: by the order number, by several columns (a number and a day, for example), or by the
    day. ``renewal``: each payment of a subscription. ``activity``: each day with an activity.
    """

    code: Literal["number", "columns", "day", "renewal", "activity"]
    columns: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The rule, for people."""
        if self.code == "day":
            return gettext("An order is what a customer buys on one day")
        if self.code == "renewal":
            return gettext("An order is one payment of a subscription's fee")
        if self.code == "activity":
            return gettext("An order is a day on which a customer was active or enrolled")
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
    return sql_line("order_id", sql, reason)


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


MIN_SHARE = 0.95  # of the filled values
_TIME = r"^\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*([aApP]\.?[mM]\.?)?\s*$"
_HALF_DAY = r"[aApP]\.?[mM]\.?\s*$"
_HALF_DAY_FORMATS = "['%I:%M:%S %p', '%I:%M %p', '%I:%M:%S%p', '%I:%M%p']"


def find_time_of_day(
    con: Any, rows: str, date: Profile, free: Collection[Profile], *, is_typed: bool = False
) -> Profile | None:
    """Return the column with the time of day of a date.

    Its name must be one of "time", or that of the date with "time" for "date": a pickup time or
    a duration is none.

    `date`: column of the order's date.
    `is_typed`: whether the source has types. Then expressions get its texts as they are, so only
    dates that DuckDB reads can be joined.
    """
    candidates = [one for one in free if not one.is_moment and _is_named_for(one.name, date.name)]
    if not candidates or _share(con, rows, date, r"\d:\d") > 0:
        return None
    if is_typed and not _is_castable(con, rows, date):
        return None
    return next((one for one in candidates if _share(con, rows, one, _TIME) >= MIN_SHARE), None)


def joined_line(con: Any, rows: str, date: Profile, time: Profile) -> Line:
    """Return the map's line that adds the time of day to the date.

    A row without a readable time keeps its date.
    """
    clock = quoted(time.name)
    if _share(con, rows, time, _HALF_DAY) > 0:
        text = f"replace({clock}, '.', '')"
        since = f"try_strptime({text}, {_HALF_DAY_FORMATS}) - TIMESTAMP '1900-01-01'"
    else:
        since = f"try_cast({clock}::VARCHAR AS INTERVAL)"
    sql = f"{quoted(date.name)}::TIMESTAMP + coalesce({since}, INTERVAL 0 SECOND)"
    reason = gettext("the date and the time of day are two columns")
    return sql_line("occurred_at", sql, reason)


def _is_named_for(name: str, date: str) -> bool:
    words = synonyms()["time_of_day"]
    times = {plain(word) for word in words["time"]}
    known = plain(re.sub(r"\s*[(（\[][^()（）]*[)）\]]\s*$", "", name))
    if known in times or plain(name.rpartition(".")[2]) in times:
        return True
    day = plain(date)
    return any(
        day.replace(plain(part), time) == known
        for part in words["date"]
        if plain(part) in day
        for time in times
    )


def _is_castable(con: Any, rows: str, profile: Profile) -> bool:
    """Return whether DuckDB reads all filled values as times."""
    column = quoted(profile.name)
    sql = (
        f"SELECT count(*) FROM {rows} WHERE trim({column}::VARCHAR) <> '' "
        f"AND try_cast({column} AS TIMESTAMP) IS NULL"
    )
    return not con.execute(sql).fetchall()[0][0]


def _share(con: Any, rows: str, profile: Profile, pattern: str) -> float:
    """Return the share of filled values that match a pattern."""
    column = f"{quoted(profile.name)}::VARCHAR"
    matching, filled = con.execute(
        f"SELECT count(*) FILTER (regexp_matches({column}, ?)), count(*) FROM {rows} "
        f"WHERE trim({column}) <> ''",
        [pattern],
    ).fetchall()[0]
    return float(matching / filled) if filled else 0.0


MIN_UNIQUE = 0.98  # share of rows with a customer of their own
MIN_SIMILAR = 0.75  # of a name to that of a sum; it may end with one
MIN_SUMS = 2  # kinds of sums that tell a list of customers from orders


def check_orders(name: str, profiles: list[Profile], chosen: dict[str, Profile]) -> None:
    """Refuse a file that sums up each customer's orders in one row.

    Raises `BadInput`: no row is an order. Its dates would make one order of each customer.
    """
    sums = _sums(profiles)
    if len(sums) < MIN_SUMS or not _has_own_rows(profiles, chosen):
        return
    text = gettext(
        "{file} has one row per customer, and {columns} sum up their orders. A list needs "
        "each order with its date. Export the orders: one row per order or line, with "
        "customer, date and amount. This file fits `retention import customers`."
    )
    raise BadInput(text.format(file=name, columns=", ".join(sums.values())))


def _sums(profiles: list[Profile]) -> dict[str, str]:
    """Return a column for each kind of sum: first and last date, number and value of orders."""
    words = synonyms()["customer_sums"]
    sums: dict[str, str] = {}
    for profile in profiles:
        for kind in ("first", "last"):
            if profile.is_moment and _has_word(profile.name, words[kind]):
                sums.setdefault(kind, profile.name)
        for kind in ("orders", "spent"):
            if profile.is_number and similarity(profile.name, words[kind]) >= MIN_SIMILAR:
                sums.setdefault(kind, profile.name)
    return sums


def _has_word(name: str, words: list[str]) -> bool:
    parts = name_words(name)
    return any(word in parts or (not word.isascii() and word in name) for word in words)


def _has_own_rows(profiles: list[Profile], chosen: dict[str, Profile]) -> bool:
    """Return whether each row is a customer's own, and none is an order by its columns' names."""
    order, customer = chosen.get("order_id"), chosen.get("customer_id")
    if order and is_synonym_of(order, "order_id"):
        return False
    if customer and is_synonym_of(customer, "customer_id"):
        return customer.distinct >= MIN_UNIQUE * customer.filled * customer.rows
    time = chosen.get("occurred_at")
    return not (time and is_synonym_of(time, "occurred_at")) and any(
        profile.filled >= 1 and profile.distinct == profile.rows and not profile.is_moment
        for profile in profiles
    )
