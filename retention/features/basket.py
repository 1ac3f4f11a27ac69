"""What was bought lately: items, their kinds and brands, and which favourites are due again."""

from typing import TYPE_CHECKING

from retention.features.visits import DAY, seconds

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
    known = items.select("item_id", "category", own=items.brand.lower().isin(OWN))
    return _customers(_kinds(pairs.left_join(known, "item_id"), now), now, horizon_days)


def _kinds(p: "ibis.Table", now: int) -> "ibis.Table":
    """One row a customer and category."""
    import ibis

    first, last = seconds(p["first"]), seconds(p["last"])
    often = (p.bought >= REGULAR) & (p["last"] > p["first"])
    overdue = ibis.ifelse(often, (now - last) * (p.bought - 1) > (last - first), False)
    return p.group_by("customer_id", kind=p.category.fill_null(p.item_id)).agg(
        lines=p.bought.sum(), items=p.count().cast("float64"), last=p["last"].max(),
        repeated=p.bought.sum(where=p.bought >= 2), own=p.bought.sum(where=p.own),
        regular=often.cast("float64").sum(), overdue=overdue.cast("float64").sum(),
    )  # fmt: skip


def _customers(k: "ibis.Table", now: int, horizon_days: float) -> "ibis.Table":
    """One row a customer; entropy in nats: log(n) − Σ x·log(x) ÷ n."""
    k = k.mutate(since=(now - seconds(k["last"])) / float(DAY))
    c = k.group_by("customer_id").agg(
        items_4h=k["items"].sum(), categories_4h=k.count().cast("float64"), bought=k.lines.sum(),
        kept=(k.since <= horizon_days).cast("float64").sum(), surprise=(k.lines * k.lines.ln()).sum(),
        top=k.lines.max(), top_since=k.since.argmax(k.lines - k.since / 1e6), repeated=k.repeated.sum().fill_null(0), own=k.own.sum().fill_null(0),
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
