"""Read what answers may quote: products, and a customer's own orders and codes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from retention.campaigns.codes.coupons import OF_CUSTOMER
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign, Coupon
from retention.lake.schema import ITEMS
from retention.lake.storage import delta_store

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

MAX_ORDERS = 20
MAX_PRODUCTS = 200_000


@dataclass(frozen=True, slots=True)
class Product:
    """A row of the catalogue as it is stored; None where the shop says nothing."""

    item_id: str
    title: str
    category: str | None
    brand: str | None
    price: float | None
    in_stock: bool | None
    url: str
    details: tuple[str, ...]

    @property
    def text(self) -> str:
        """What a search reads."""
        parts = (self.title, self.brand, self.category, *self.details)
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an order. ``title``: the product's, else its id."""

    title: str
    quantity: float | None
    amount: float | None


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the customer."""

    order_id: str | None
    at: datetime
    lines: tuple[Line, ...]
    amount: float | None
    is_returned: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """A valid code of the customer, of a campaign that was approved and sent."""

    code: str
    discount: float | None  # a share; None for another offer
    last_day: datetime


def catalogue_state(lake: "Lake") -> str:
    """Return what changes with the catalogue."""
    return delta_store.newest_commit(lake.root, ITEMS)


def own_ids(lake: "Lake", customer_id: str) -> list[str]:
    """Return every id of a customer, merged ones included."""
    people = lake.identities.canonical_ids()
    canonical = people.get(customer_id, customer_id)
    return sorted({customer_id, canonical, *(one for one, to in people.items() if to == canonical)})


def products(lake: "Lake") -> list[Product]:
    """Return the catalogue's products that have a title."""
    items = lake.table("items")
    frame = items.filter(items.title.notnull()).order_by("item_id").limit(MAX_PRODUCTS).execute()
    return [product_of(row) for row in frame.to_dict("records")]


def product_of(row: dict[str, Any]) -> Product:
    """Read a row of the catalogue."""

    def known(name: str) -> Any:
        value = row.get(name)
        return None if value is None or value != value else value

    try:
        attributes = json.loads(known("attributes") or "{}")
    except ValueError:
        attributes = {}
    attributes = attributes if isinstance(attributes, dict) else {}
    url = str(attributes.pop("url", "") or "")
    attributes.pop("recommendable", None)
    details = [f"{name}: {_joined(value)}" for name, value in attributes.items() if value != ""]
    in_stock = known("in_stock")
    return Product(
        str(row["item_id"]),
        str(row["title"]),
        known("category"),
        known("brand"),
        known("price"),
        None if in_stock is None else bool(in_stock),
        url if url.startswith(("https://", "http://")) else "",
        tuple(details),
    )


def _joined(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def orders(lake: "Lake", customer_id: str, before: datetime) -> list[Order]:
    """Return a customer's newest orders, newest first; orders under merged ids count."""
    people = lake.identities.canonical_ids()
    events = lake.table("events", before=before)
    own = events.filter(
        events.customer_id == people.get(customer_id, customer_id),
        events.event_type.isin(["purchase", "return"]),
    )
    columns = ("order_id", "occurred_at", "event_type", "item_id", "quantity", "amount")
    rows = own.select(*columns).execute()
    if rows.empty:
        return []
    items = lake.table("items")
    named = items.filter(items.item_id.isin(list(rows.item_id.dropna().unique())))
    return orders_of(rows, dict(named.select("item_id", "title").execute().itertuples(index=False)))


def orders_of(rows: "pd.DataFrame", titles: Mapping[str, str]) -> list[Order]:
    """Return a customer's newest orders from their purchases and returns, newest first."""
    day = rows.occurred_at.dt.floor("D").astype(str)
    key = rows.order_id.astype(object).where(rows.order_id.notna(), day)
    returned = set(key[rows.event_type == "return"])
    found = []
    for name, lines in rows[rows.event_type == "purchase"].groupby(key, sort=False):
        found.append(
            Order(
                lines.order_id.iloc[0] if isinstance(lines.order_id.iloc[0], str) else None,
                lines.occurred_at.max().to_pydatetime().replace(tzinfo=UTC),
                tuple(
                    Line(titles.get(item) or item, _known(quantity), _known(amount))
                    for item, quantity, amount in zip(
                        lines.item_id, lines.quantity, lines.amount, strict=True
                    )
                    if isinstance(item, str)
                ),
                None if lines.amount.isna().all() else float(lines.amount.sum()),
                name in returned,
            )
        )
    return sorted(found, key=lambda order: order.at, reverse=True)[:MAX_ORDERS]


def _known(number: float | None) -> float | None:
    return None if number is None or number != number else float(number)


def codes(session: Transaction, ids: Sequence[str], now: datetime) -> list[Code]:
    """Return a customer's valid codes, of campaigns that were approved and sent."""
    rows = session.execute(
        select(Coupon.code, Assignment.offer, Coupon.expires_at)
        .join(Campaign, Campaign.id == Coupon.campaign_id)
        .outerjoin(Assignment, OF_CUSTOMER)
        .where(
            Coupon.team_id == session.settings.team_id,
            Coupon.customer_id.in_(list(ids)),
            Coupon.state == "issued",
            Coupon.expires_at > now,
            Campaign.sent_at.is_not(None),
        )
        .order_by(Coupon.expires_at)
    )
    return [
        Code(code, (offer or {}).get("discount"), expires_at) for code, offer, expires_at in rows
    ]
