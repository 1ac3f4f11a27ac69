"""What was bought lately: items, their kinds and brands, and which favourites are due again."""

from typing import TYPE_CHECKING

from retention.features.visits import DAY

if TYPE_CHECKING:
    import ibis

OWN = ("private", "private label", "own", "own brand", "own label", "store brand", "house brand")
REGULAR = 3  # purchases that make an item a regular one, with a rhythm of its own


def basket(recent: "ibis.Table", items: "ibis.Table", now: int, horizon_days: float) -> "ibis.Table":
    """One row a customer, of the events of the last 4H. An item of no known category is a kind of its own."""
    bought = recent.filter((recent.event_type == "purchase") & recent.item_id.notnull())
    pairs = bought.group_by("customer_id", "item_id").agg(
        bought=bought.count().cast("float64"), first=bought.occurred_at.min(), last=bought.occurred_at.max()
    )
    pairs = pairs.select(
        "customer_id", "item_id", "bought",
        since=(now - pairs.last.epoch_seconds()) / float(DAY),
        first=(now - pairs["first"].epoch_seconds()) / float(DAY),
    )  # fmt: skip
    described = pairs.left_join(items.select("item_id", "category", "brand"), "item_id")
    return _customers(_kinds(described), horizon_days)


def _kinds(p: "ibis.Table") -> "ibis.Table":
    """One row a customer and category."""
    due = (p["first"] - p.since) / (p.bought - 1).nullif(0)
    regular = (p.bought >= REGULAR) & (due > 0)
    return p.group_by("customer_id", kind=p.category.fill_null(p.item_id)).agg(
        lines=p.bought.sum(), items=p.count().cast("float64"), since=p.since.min(),
        repeated=p.bought.sum(where=p.bought >= 2).fill_null(0),
        own=p.bought.sum(where=p.brand.lower().isin(OWN)).fill_null(0),
        regular=regular.cast("float64").sum().fill_null(0),
        overdue=(regular & (p.since > due)).cast("float64").sum().fill_null(0),
    )  # fmt: skip


def _customers(k: "ibis.Table", horizon_days: float) -> "ibis.Table":
    """One row a customer; entropy in nats: log(n) − Σ x·log(x) ÷ n."""
    c = k.group_by("customer_id").agg(
        items_4h=k["items"].sum(), categories_4h=k.count().cast("float64"), bought=k.lines.sum(),
        kept=(k.since <= horizon_days).cast("float64").sum(), surprise=(k.lines * k.lines.ln()).sum(),
        top=k.lines.max(), top_since=k.since.argmax(k.lines - k.since / 1e6), repeated=k.repeated.sum(), own=k.own.sum(),
        regular_items=k.regular.sum(), overdue=k.overdue.sum(),
    )  # fmt: skip
    return c.select(
        "customer_id", "items_4h", "categories_4h", "regular_items",
        category_entropy=c.bought.ln() - c.surprise / c.bought,
        category_top_share=c.top / c.bought,
        category_top_since=c.top_since,
        categories_kept=c.kept / c.categories_4h,
        repeat_share=c.repeated / c.bought,
        own_brand_share=c.own / c.bought,
        overdue_share=c.overdue / c.regular_items.nullif(0),
    )  # fmt: skip
