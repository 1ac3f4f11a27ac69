"""Find the features that a shop's data cannot tell.

A feature is unknown, not 0, if no row before the cutoff has the column or the kind of event that
it is computed from: a shop without an item column did not sell "0 different items".
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from retention.features.catalogue import FEATURES
from retention.features.engagement import BROWSING

if TYPE_CHECKING:
    import ibis

    from retention.lake import Lake

_SOURCES = {  # source of a feature in the catalogue → facts of which it needs all
    "purchases, items": ("items",),
    "returns": ("returns",),
    "coupon redemptions": ("redemptions",),
    "views, searches": ("browsing",),
    "searches": ("searches",),
    "carts": ("carts",),
    "e-mail": ("emails",),
    "treatments": ("campaigns",),
    "ratings": ("ratings",),
    "support": ("support",),
    "texts": ("texts",),
}
_GROUPS = {"spend": ("amounts",), "channel": ("channels",)}
_COLUMNS = {
    "trend_spend": ("amounts",),
    "discount_share": ("amounts", "discounts"),
    "discounted_share": ("discounts",),
    "own_brand_share": ("brands",),
    "return_money_share": ("amounts",),
    "view_seconds_1h": ("durations",),
    "clicks_4h": ("clicks",),
    "campaign_response": ("redemptions",),
}
# feature → facts; a feature without an entry needs purchases only
NEEDS: dict[str, frozenset[str]] = {
    feature.name: frozenset(
        (
            *_SOURCES.get(feature.source, ()),
            *_GROUPS.get(feature.group, ()),
            *_COLUMNS.get(feature.name, ()),
        )
    )
    for feature in FEATURES
}


def unknown_features(lake: "Lake", cutoff: datetime) -> frozenset[str]:
    """Return the features that no data before a cutoff can tell.

    `cutoff`: timezone-aware. Only rows that occurred and were known before it are used. The
    catalogue of items keeps no history, so it counts as it stands now.
    """
    available = _available(lake, cutoff)
    return frozenset(name for name, needs in NEEDS.items() if not needs <= available)


def has_amounts(lake: "Lake", cutoff: datetime) -> bool:
    """Return whether any order before a cutoff has an amount."""
    events = lake.table("events", before=cutoff)
    bought = (events.event_type == "purchase") & events.amount.notnull()
    return bool(events.filter(bought).limit(1).count().execute())


def _available(lake: "Lake", cutoff: datetime) -> frozenset[str]:
    """Return the facts that at least one row before the cutoff has."""
    events = lake.table("events", before=cutoff)
    sent = lake.table("treatments", before=cutoff)
    items = lake.table("items")
    row = events.aggregate(**{fact: is_met(events) for fact, is_met in _FACTS.items()})
    facts = {str(fact) for fact, value in row.execute().iloc[0].items() if value == value and value}
    if sent.filter(sent.arm == "treatment").limit(1).count().execute():
        facts.add("campaigns")
    moods = lake.table("text_signals", before=cutoff)
    if moods.filter(moods.mood.notnull()).limit(1).count().execute():
        facts.add("texts")
    if items.filter(items.brand.notnull()).limit(1).count().execute():
        facts.add("brands")
    return frozenset(facts)


def _of_type(*types: str) -> "Callable[[ibis.Table], ibis.Value]":
    return lambda e: e.event_type.isin(types).any()


def _of_purchases(column: str) -> "Callable[[ibis.Table], ibis.Value]":
    return lambda e: ((e.event_type == "purchase") & e[column].notnull()).any()


_FACTS: "dict[str, Callable[[ibis.Table], ibis.Value]]" = {
    "items": _of_purchases("item_id"),
    "amounts": _of_purchases("amount"),
    "discounts": _of_purchases("discount"),
    "channels": _of_purchases("channel"),
    "browsing": _of_type(*BROWSING),
    "searches": _of_type("search"),
    "durations": lambda e: (e.event_type.isin(BROWSING) & e.duration_s.notnull()).any(),
    "carts": _of_type("cart"),
    "emails": _of_type("email_open", "email_click"),
    "clicks": _of_type("email_click"),
    "returns": _of_type("return"),
    "redemptions": _of_type("coupon_redeem"),
    "support": _of_type("support"),
    "ratings": lambda e: e.rating.notnull().any(),
}
