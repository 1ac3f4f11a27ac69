"""Find columns with the status of an order, and the orders that are no sales.

A status such as "cancelled" or "等待买家付款" leads to the map's key ``leave_out``.
"""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from retention.lake.importing.mapping import ANY_VALUE, quoted
from retention.lake.reading.sources import Source
from retention.lake.suggesting.map_lines import Doubt, DoubtCode, Line, toml_string
from retention.lake.suggesting.profiles import MAX_CATEGORIES, Profile, plain, synonyms
from retention.text import gettext

Kind = Literal["sale", "cancelled", "refunded", "pending", "closed"]
MIN_KNOWN = 0.8  # share of rows with known words, for a column that is not called a status
MIN_KNOWN_IF_NAMED = 0.5  # if it may be called so: "state" may be a place
MAX_DOUBTFUL = 0.5  # share of rows from which "pending" and "closed" must mean a sale
MIN_CONTAINED = 5  # letters of a word that may be a part of a longer status
MAX_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Status:
    """A status column, with the values that mean no sale; none yet if all are sales."""

    column: str
    left_out: tuple[str, ...]


def status_kind(value: str) -> Kind | None:
    """Return what a status of an order means.

    None for unknown words.

    Examples
    --------
    >>> status_kind("wc-cancelled"), status_kind("交易关闭"), status_kind("Teilweise erstattet")
    ('cancelled', 'closed', 'sale')
    """
    word, words = plain(value), synonyms()["status"]
    if not word:
        return None
    if _is_among(word, words["still_sale"]):
        return "sale"
    if _is_among(word, words["pending"]) and not _is_among(word, words["shipping"]):
        return "pending"
    kinds: tuple[Kind, ...] = ("closed", "cancelled", "refunded")
    for kind in kinds:
        if _is_among(word, words[kind]):
            return kind
    return "sale" if _is_among(word, [*words["sale"], *words["shipping"]]) else None


def is_final(column: str, value: str) -> bool:
    """Return whether a value of a status column says that the order is cancelled or refunded."""
    is_flag = _is_cancellation_name(column) and plain(value) in synonyms()["status"]["yes"]
    return is_flag or value == ANY_VALUE or status_kind(value) in ("cancelled", "refunded")


def find_statuses(
    con: Any,
    source: Source,
    profiles: list[Profile],
    used: Collection[Profile],
    order: Profile | None,
) -> tuple[list[Status], list[Line], list[Doubt]]:
    """Find status columns and say which orders are left out.

    `order`: column with the order id. Without one, each row counts as an order.
    Returns: the columns, the map's line ``leave_out`` if there is one, and what to check.
    """
    statuses: list[Status] = []
    reasons: list[str] = []
    doubts: list[Doubt] = []
    key = quoted(order.name) if order else "row_number() OVER ()"
    rows = f"(SELECT *, {key} AS _order FROM {source.relation})"
    total = con.execute(f"SELECT count(DISTINCT _order) FROM {rows}").fetchall()[0][0]
    for profile in profiles:
        if profile in used:
            continue
        if _is_cancellation_time(profile):
            counts = [(ANY_VALUE, 0, _count_filled(con, rows, profile.name))]
        elif profile.filled and profile.distinct <= MAX_CATEGORIES and not profile.is_moment:
            counts = _counts(con, rows, profile.name)
        else:
            continue
        kinds = _kinds(profile, counts)
        if kinds is None:
            continue
        left_out = [
            (value, orders)
            for value, number, orders in counts
            if kinds[value] not in (None, "sale")
            and not _is_most(number, kinds[value], profile, doubts, value)
        ]
        if is_known := any(kinds.values()):  # a later export may have the first refund
            statuses.append(Status(profile.name, tuple(value for value, _ in left_out)))
        if is_known and not any(orders for _, orders in left_out):
            text = gettext("{column}: later cancelled and refunded orders are left out")
            reasons.append(text.format(column=profile.name))
        reasons += [
            gettext("{orders:,} of {total:,} orders are {value}: left out").format(
                orders=orders, total=total, value=profile.name if value == ANY_VALUE else value
            )
            for value, orders in left_out
            if orders
        ]
        if unknown := [value for value, _, _ in counts if kinds[value] is None]:
            doubts.append(_unknown_status(profile.name, unknown, is_used=is_known))
    chosen = ", ".join(
        f"{toml_string(status.column)} = [{', '.join(map(toml_string, status.left_out))}]"
        for status in statuses
    )
    line = [Line("leave_out", f"{{ {chosen} }}", "; ".join(reasons))] if chosen else []
    return statuses, line, doubts


def is_status_name(name: str) -> bool:
    """Return whether a column is surely called a status."""
    word = plain(name)
    return any(plain(known) in word for known in synonyms()["status"]["names"])


def _kinds(profile: Profile, counts: list[tuple[str, int, int]]) -> dict[str, Kind | None] | None:
    """Return the meaning of each value; None if the column is no status."""
    name, words = plain(profile.name), synonyms()["status"]
    if counts and counts[0][0] == ANY_VALUE:
        return {ANY_VALUE: "cancelled"}
    flags = {plain(value): value for value, _, _ in counts}
    if _is_cancellation_name(profile.name) and flags.keys() <= {*words["yes"], *words["no"]}:
        return {
            value: "cancelled" if flag in words["yes"] else "sale" for flag, value in flags.items()
        }
    if profile.is_number:
        return None
    kinds = {value: status_kind(value) for value, _, _ in counts}
    known = sum(number for value, number, _ in counts if kinds[value])
    share = known / max(1, sum(number for _, number, _ in counts))
    is_no_sale = any(kind not in (None, "sale") for kind in kinds.values())
    if is_status_name(profile.name):
        return kinds
    if any(name.startswith(word) or name.endswith(word) for word in map(plain, words["maybe"])):
        return kinds if share >= MIN_KNOWN_IF_NAMED else None
    return kinds if share >= MIN_KNOWN and is_no_sale else None


def _is_most(
    number: int, kind: Kind | None, profile: Profile, doubts: list[Doubt], value: str
) -> bool:
    """Return whether a doubtful status is that of most orders, and note it.

    In a shop that is paid on delivery, most orders are "pending". In a till, most are "closed".
    """
    if number <= MAX_DOUBTFUL * profile.rows:
        return False
    if kind in ("pending", "closed"):
        text = gettext("{column}: most orders are {value}, so they count as sales.")
    else:
        text = gettext("{column}: most orders are {value} and are left out.")
    column = profile.name
    code = DoubtCode.STATUS
    doubts.append(Doubt(code, "status", profile.name, text.format(column=column, value=value)))
    return kind in ("pending", "closed")


def _unknown_status(column: str, values: list[str], *, is_used: bool) -> Doubt:
    listed = ", ".join(values[:MAX_SHOWN]) + (" …" if len(values) > MAX_SHOWN else "")
    text = (
        gettext("{column}: not known whether these mean a sale, so they count as one: {values}.")
        if is_used
        else gettext(
            "{column} looks like a status and is not used. If some of its values mean no sale, "
            "list them under leave_out: {values}."
        )
    )
    return Doubt(DoubtCode.STATUS, "status", column, text.format(column=column, values=listed))


def _is_cancellation_time(profile: Profile) -> bool:
    """Return whether a column has times of cancellation, or none yet."""
    name = plain(profile.name)
    is_time = profile.is_moment or (not profile.filled and name.endswith(("at", "date", "time")))
    return is_time and _is_among(name, synonyms()["status"]["cancelled"])


def _is_cancellation_name(column: str) -> bool:
    words = synonyms()["status"]
    return _is_among(plain(column), [*words["cancelled"], *words["refunded"]])


def _counts(con: Any, rows: str, column: str) -> list[tuple[str, int, int]]:
    """Count rows and orders by value."""
    return con.execute(
        f"SELECT trim({quoted(column)}::VARCHAR) AS value, count(*), count(DISTINCT _order) "
        f"FROM {rows} WHERE value <> '' GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()


def _count_filled(con: Any, rows: str, column: str) -> int:
    sql = (
        f"SELECT count(DISTINCT _order) FROM {rows} "
        f"WHERE trim(coalesce({quoted(column)}::VARCHAR, '')) <> ''"
    )
    return int(con.execute(sql).fetchall()[0][0])


def _is_among(word: str, known: list[str]) -> bool:
    """Return whether a word is known, or contains a long known one."""
    plain_words = [plain(other) for other in known]
    parts = [other for other in plain_words if len(other) >= MIN_CONTAINED or not other.isascii()]
    return word in plain_words or any(part in word for part in parts)
