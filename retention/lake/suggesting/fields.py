"""Recognise exports of subscriptions and of learning platforms, and read them as events.

A subscription is one payment for each period from its start to its end. A learner's activity is an
event on the day: a purchase without an amount where the shop has no renewals, else a view.
"""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

import re
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retention.lake.importing.mapping import literal, quoted
from retention.lake.suggesting.map_lines import Doubt, DoubtCode, Line, column_line, sql_line
from retention.lake.suggesting.profiles import (
    EXACT,
    MAX_CATEGORIES,
    Profile,
    plain,
    similarity,
    synonyms,
)
from retention.text import gettext
from retention.window import Means

if TYPE_CHECKING:
    from retention.lake.lake import Lake

Role = Literal["subscription", "enrolment", "activity"]
PAID_AT = "_paid_at"  # the time of a payment, which the map's `from` computes
DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y", "%b %d, %Y", "%d %b %Y")
CLOCKS = ("", " %H:%M", " %H:%M:%S")
MIN_WHOLE_YEARS = 0.9  # share of renewals whole years after the start, for a yearly plan
MIN_READ = 0.8  # share of times that a format must read; the rows of others are quarantined
MONTH = "INTERVAL 1 MONTH"
_LENGTHS = {"day": (1, "DAY"), "week": (7, "DAY"), "month": (1, "MONTH")}
_LENGTHS |= {"quarter": (3, "MONTH"), "year": (12, "MONTH")}


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Lines of a map for an export of a field, and what to check."""

    lines: tuple[Line, ...]
    doubts: tuple[Doubt, ...] = ()


@cache
def words() -> dict[str, Any]:
    """Read ``fields.toml``."""
    return tomllib.loads(Path(__file__).with_name("fields.toml").read_text(encoding="utf-8"))


def role_of(columns: Collection[str]) -> Role | None:
    """Return what the names of a file's columns say that its rows are; None: orders.

    An order has a start and an end, too (created, cancelled). So a subscription must be called
    one: by a renewal or a period, or by a start and an end.

    Examples
    --------
    >>> role_of(["customer", "start date", "renewal date", "fee"])
    'subscription'
    >>> role_of(["student", "lesson", "watched at"])
    'activity'
    >>> role_of(["customer", "order number", "created at", "cancelled at", "total"])
    """
    names = _choose(columns)
    orders = synonyms()["events"]
    is_order = any(_first(columns, orders[name]) for name in ("order_id", "quantity"))
    if "customer_id" not in names or is_order:
        return None
    if "start" in names and {"end", "renewal", "period"} & {*names}:
        return "subscription"
    has_price = "fee" in names or "price" in names
    if "created" in names and {"renewal", "period"} & {*names} and has_price:
        return "subscription"
    if "enrolled" in names:
        return "enrolment"
    if "time" in names and not has_price and {"lesson", "course", "login"} & {*names}:
        return "activity"
    return None


def is_beside_orders(lake: "Lake", means: Means) -> bool:
    """Return whether a log of activity has views only, because the shop's purchases are others.

    `means`: what a purchase is in this shop.
    """
    return means != "activity" and lake.newest_event() is not None


def is_learning(columns: Iterable[str]) -> bool:
    """Return whether columns speak of lessons or courses, and not only of visits."""
    return bool({"lesson", "course"} & {*_choose(columns)})


def field_map(
    con: Any, rows: str, profiles: list[Profile], *, is_beside_renewals: bool = False
) -> FieldMap | None:
    """Return the map of a subscription, enrolment or activity export; None for other files.

    `is_beside_renewals`: whether the shop has renewals, so that activity is no return.
    """
    by_name = {profile.name: profile for profile in profiles}
    role = role_of(by_name)
    if role is None or (role == "activity" and not is_beside_renewals and not is_learning(by_name)):
        return None
    chosen = {target: by_name[name] for target, name in _choose(by_name).items()}
    if role == "subscription":
        return _subscription(con, rows, chosen, profiles)
    time = chosen.get("enrolled" if role == "enrolment" else "time")
    if time is None or not (time.is_moment or time.coded_moments > 0):
        return None
    direct = {"customer_id": chosen["customer_id"], "occurred_at": time}
    item = chosen.get("course") or chosen.get("lesson")
    direct |= {"item_id": item} if item else {}
    if role == "enrolment":
        fee = chosen.get("fee") or chosen.get("price")
        direct |= {"amount": fee} if fee else {}
        direct |= {"currency": chosen["currency"]} if "currency" in chosen else {}
    lines = [column_line(target, profile) for target, profile in direct.items()]
    if role == "activity" and (spent := _seconds(chosen)):
        lines.append(spent)
    is_view = role == "activity" and is_beside_renewals
    reason = {
        "enrolment": gettext("an enrolment is a purchase of the course"),
        "activity": gettext("activity is a return: it counts as an order without a price"),
    }[role]
    reason = gettext("activity between renewals") if is_view else reason
    lines.append(Line("event_type", f'{{ value = "{"view" if is_view else "purchase"}" }}', reason))
    if role == "activity" and not is_view:
        lines.insert(0, _means("activity"))
    return FieldMap(tuple(lines), tuple(_state_doubts(profiles, direct)))


# ---------------------------------------------------------------- columns


def _choose(columns: Iterable[str]) -> dict[str, str]:
    """Return the column for each part of a field's export, by exact names only."""
    listed, orders, own = list(columns), synonyms()["events"], words()
    subscription, activity = own["subscription"], own["activity"]
    known = {
        "customer_id": [*own["customer"]["words"], *orders["customer_id"]],
        **{name: subscription[name] for name in ("start", "created", "end", "renewal", "period")},
        "enrolled": own["enrolment"]["time"],
        "time": [*activity["time"], *orders["occurred_at"]],
        "fee": [*subscription["fee"], *own["enrolment"]["fee"], *orders["amount"]],
        "price": orders["price"],
        "currency": orders["currency"],
        "plan": subscription["plan"],
        "id": subscription["id"],
        "lesson": activity["what"],
        "course": activity["course"],
        "minutes": activity["minutes"],
        "seconds": activity["seconds"],
        "login": activity["login"],
    }
    return {target: name for target, of in known.items() if (name := _first(listed, of))}


def _first(columns: Iterable[str], known: list[str]) -> str | None:
    """Return the column whose name is the most specific of the known ones."""
    scored = [(similarity(name, known), name) for name in columns]
    score, best = max(scored, key=lambda pair: pair[0], default=(0.0, ""))
    return best if score >= EXACT else None


def _means(means: Means) -> Line:
    return Line("means", f'"{means}"', gettext("what a customer does who has not left"))


def _seconds(chosen: dict[str, Profile]) -> Line | None:
    """Return the line of the time spent, in seconds."""
    if "seconds" in chosen:
        return column_line("duration_s", chosen["seconds"])
    if "minutes" in chosen:
        return sql_line("duration_s", f"60 * {quoted(chosen['minutes'].name)}")
    return None


def _state_doubts(profiles: list[Profile], used: dict[str, Profile]) -> list[Doubt]:
    """Say that the last activity is not used, because it was not known on earlier days."""
    text = gettext(
        "{column} is what was known when the file was exported, so it is not used: a model would "
        "learn from what it could not know. Add a file with one row for each activity."
    )
    return [
        Doubt(DoubtCode.EXPORT_STATE, "", profile.name, text.format(column=profile.name))
        for profile in profiles
        if profile not in used.values()
        and plain(profile.name).startswith(("last", "letzte", "dernier", "ultim", "最后", "最近"))
    ]


# ---------------------------------------------------------------- subscriptions


def _subscription(
    con: Any, rows: str, chosen: dict[str, Profile], profiles: list[Profile]
) -> FieldMap | None:
    """Return the map that makes one payment of each period of a subscription."""
    start = chosen.get("start") or chosen["created"]
    moments, is_unclear = {}, False
    for target, profile in (
        ("start", start),
        ("end", chosen.get("end")),
        ("renewal", chosen.get("renewal")),
    ):
        if profile is None or (not profile.filled and target != "start"):
            moments[target] = "NULL::TIMESTAMP"
            continue
        formats = _date_formats(con, rows, profile)
        if not formats:
            return None
        moments[target] = formats[0]
        is_unclear |= len(formats) > 1
    every, doubts = _period(con, rows, chosen, moments)
    if is_unclear:
        text = gettext("{column} can be read with the day or the month first; the day is taken.")
        doubts.append(
            Doubt(DoubtCode.CONTENT, "occurred_at", start.name, text.format(column=start.name))
        )
    plan, number = chosen.get("plan"), chosen.get("id")
    parts = [chosen["customer_id"], *filter(None, [number or plan])]  # many share a plan
    key = ", ".join(quoted(part.name) for part in parts)
    price = chosen.get("fee") or chosen.get("price")
    reason = gettext("a row for each payment: at the start, and again each period until the end")
    order_reason = gettext("the subscription and the day of the payment")
    lines = [
        sql_line("from", _payments(start, chosen, moments, every), reason),
        column_line("customer_id", chosen["customer_id"]),
        Line("occurred_at", f'"{PAID_AT}"'),
        sql_line("order_id", f"concat_ws(' ', {key}, left({PAID_AT}::VARCHAR, 10))", order_reason),
        *([column_line("item_id", plan)] if plan else []),
        *([column_line("amount", price)] if price else []),
        *([column_line("currency", chosen["currency"])] if "currency" in chosen else []),
        Line("event_type", '{ value = "purchase" }', gettext("a renewal")),
    ]
    used = {**chosen, "start": start}
    doubts += _state_doubts(profiles, used)
    return FieldMap((_means("renewal"), *lines), tuple(doubts))


def _payments(
    start: Profile, chosen: dict[str, Profile], moments: dict[str, str], every: str
) -> str:
    """Return the map's ``from``: payments at the start and after each period.

    They go on to the newest moment at which the file shows a payment, and stop before the end, or
    before a renewal that is over. A row without a readable start, with an end before it or of an
    unknown period stays one row whose time cannot be read, so it is quarantined.
    """
    began = f"{quoted(start.name)}::VARCHAR"
    stop = next((chosen[name] for name in ("end", "renewal") if name in chosen), None)
    ended = f"{quoted(stop.name)}::VARCHAR" if stop else "NULL"
    period = f"{quoted(chosen['period'].name)}::VARCHAR" if "period" in chosen else "NULL"
    return (
        f"WITH given AS (SELECT *, {moments['start']} AS _start, {moments['end']} AS _end, "
        f"{moments['renewal']} AS _renews, {every} AS _every FROM source), "
        "known AS (SELECT *, coalesce(_end, _renews) AS _last, "
        "max(greatest(_start, _renews - _every)) OVER () AS _newest FROM given), "
        "counted AS (SELECT *, _start IS NULL OR _every IS NULL OR coalesce(_last < _start, false) "
        "AS _is_bad, date_diff('day', _start, least(coalesce(_last, _newest), _newest)) // "
        "date_diff('day', TIMESTAMP '2001-02-01', TIMESTAMP '2001-02-01' + _every) AS _periods "
        "FROM known), "
        "steps AS (SELECT *, unnest(CASE WHEN _is_bad THEN [0] ELSE "
        "range(0, greatest(0, least(_periods, 2000)) + 2) END) AS _step FROM counted) "
        "SELECT *, CASE WHEN _is_bad "
        f"THEN concat_ws(' / ', coalesce({began}, '?'), {ended}, {period}) "
        f"ELSE strftime(_start + _every * _step, '%Y-%m-%d %H:%M:%S') END AS {PAID_AT} FROM steps "
        "WHERE _is_bad OR (_start + _every * _step <= _newest "
        "AND _start + _every * _step < coalesce(_last, TIMESTAMP '9999-01-01'))"
    )


def _date_formats(con: Any, rows: str, profile: Profile) -> list[str]:
    """Return SQL that reads all times of a column, the likeliest first; [] if none does."""
    column = f"nullif(trim({quoted(profile.name)}::VARCHAR), '')"
    readings = [f"try_cast({column} AS TIMESTAMP)"]
    for date in DATES:
        listed = ", ".join(literal(date + clock) for clock in CLOCKS)
        readings.append(f"try_strptime({column}, [{listed}])")
    counted = ", ".join(f"count({reading})" for reading in readings)
    filled, *read = con.execute(f"SELECT count({column}), {counted} FROM {rows}").fetchall()[0]
    fitting = [
        reading
        for reading, number in zip(readings, read, strict=True)
        if number and number == max(read) and number >= MIN_READ * filled
    ]
    return fitting[:1] if fitting and fitting[0] == readings[0] else fitting


def _period(
    con: Any, rows: str, chosen: dict[str, Profile], moments: dict[str, str]
) -> tuple[str, list[Doubt]]:
    """Return SQL of the time between two payments, and what is to be checked about it."""
    if "period" in chosen and chosen["period"].distinct <= MAX_CATEGORIES:
        column = quoted(chosen["period"].name)
        values = [
            str(value)
            for (value,) in con.execute(
                f"SELECT DISTINCT {column} FROM {rows} WHERE {column} IS NOT NULL ORDER BY 1"
            ).fetchall()
        ]
        lengths = {value: length for value in values if (length := period_length(value))}
        if lengths:
            cases = (f"WHEN {literal(value)} THEN {each}" for value, each in lengths.items())
            return f"CASE {column}::VARCHAR {' '.join(cases)} END", []
    is_yearly = con.execute(
        "SELECT avg((months > 0 AND months % 12 = 0)::INTEGER) FROM ("
        f"SELECT date_diff('month', {moments['start']}, {moments['renewal']}) AS months "
        f"FROM {rows}) WHERE months IS NOT NULL"
    ).fetchall()[0][0]
    length = "INTERVAL 12 MONTH" if (is_yearly or 0) >= MIN_WHOLE_YEARS else MONTH
    text = (
        gettext("No column says how often the fee is paid; every month is assumed.")
        if length == MONTH
        else gettext("No column says how often the fee is paid; the renewals say every year.")
    )
    return length, [Doubt(DoubtCode.PERIOD, "occurred_at", "", text)]


def period_length(value: str) -> str:
    """Return SQL of a period in words, such as "monthly" or "every 2 weeks"; "" if unknown.

    Examples
    --------
    >>> period_length("Monthly"), period_length("every 2 weeks"), period_length("jährlich")
    ('INTERVAL 1 MONTH', 'INTERVAL 14 DAY', 'INTERVAL 12 MONTH')
    >>> period_length("sometimes")
    ''
    """
    number = int(next(iter(re.findall(r"\d{1,3}", value)), 1))
    parts = {plain(part) for part in re.split(r"[\W\d_]+", value)}
    parts |= {part.removesuffix("s") for part in parts}
    for name, known in words()["periods"].items():
        if parts & {plain(word) for word in known}:
            size, unit = _LENGTHS[name]
            return f"INTERVAL {number * size} {unit}" if number else ""
    return ""
