"""Recognise a file with one row per customer, which sums up orders instead of listing them."""

from retention.errors import BadInput
from retention.lake.suggesting.profiles import EXACT, Profile, name_words, similarity, synonyms
from retention.text import gettext

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
    if order and _is_named(order, "order_id"):
        return False
    if customer and _is_named(customer, "customer_id"):
        return customer.distinct >= MIN_UNIQUE * customer.filled * customer.rows
    time = chosen.get("occurred_at")
    return not (time and _is_named(time, "occurred_at")) and any(
        profile.filled >= 1 and profile.distinct == profile.rows and not profile.is_moment
        for profile in profiles
    )


def _is_named(profile: Profile, target: str) -> bool:
    return similarity(profile.name, synonyms()["events"][target]) >= EXACT
