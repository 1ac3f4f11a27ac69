"""Features from recent items, categories and brands."""

from typing import TYPE_CHECKING

from retention.features.visits import DAY, seconds

if TYPE_CHECKING:
    import ibis

OWN_BRANDS = (
    "private",
    "private label",
    "own",
    "own brand",
    "own label",
    "store brand",
    "house brand",
)
REGULAR_PURCHASES = 3  # of an item, from which it has a usual interval


def customer_items(recent: "ibis.Table") -> "ibis.Table":
    """Count purchases per customer and item.

    `recent`: events of the last 4H.
    """
    bought = recent.filter((recent.event_type == "purchase") & recent.item_id.notnull())
    first = bought.occurred_at.min()
    return bought.group_by("customer_id", "item_id").agg(
        bought=bought.count().cast("float64"), first=first, last=bought.occurred_at.max()
    )


def item_features(p: "ibis.Table", now: int) -> "ibis.Table":
    """Compute item counts and replenishment features.

    `p`: as `customer_items` returns it.
    """
    import ibis

    first, last = seconds(p["first"]), seconds(p["last"])
    often = (p.bought >= REGULAR_PURCHASES) & (p["last"] > p["first"])
    overdue = ibis.ifelse(often, (now - last) * (p.bought - 1) > (last - first), False)
    c = p.group_by("customer_id").agg(
        items_4h=p.count().cast("float64"),
        bought=p.bought.sum(),
        repeated=p.bought.sum(where=p.bought >= 2).fill_null(0),
        regular_items=often.cast("float64").sum(),
        overdue=overdue.cast("float64").sum(),
    )
    return c.select(
        "customer_id",
        "items_4h",
        "regular_items",
        repeat_share=c.repeated / c.bought,
        overdue_share=c.overdue / c.regular_items.nullif(0),
    )


def category_features(
    p: "ibis.Table", catalogue: "ibis.Table", now: int, horizon_days: float
) -> "ibis.Table":
    """Compute category features.

    An item without a known category is its own category.

    `p`: as `customer_items` returns it.

    Notes
    -----
    Entropy is in nats: log(n) − Σ x·log(x) ÷ n.
    """
    known = catalogue.select("item_id", "category", own=catalogue.brand.lower().isin(OWN_BRANDS))
    p = p.left_join(known, "item_id")
    k = p.group_by("customer_id", kind=p.category.fill_null(p.item_id)).agg(
        lines=p.bought.sum(), last=p["last"].max(), own=p.bought.sum(where=p.own)
    )
    k = k.mutate(since=(now - seconds(k["last"])) / float(DAY))
    c = k.group_by("customer_id").agg(
        categories_4h=k.count().cast("float64"),
        bought=k.lines.sum(),
        own=k.own.sum().fill_null(0),
        kept=(k.since <= horizon_days).cast("float64").sum(),
        surprise=(k.lines * k.lines.ln()).sum(),
        top=k.lines.max(),
        top_since=k.since.argmax(k.lines - k.since / 1e6),  # ties: the later one
    )
    return c.select(
        "customer_id",
        "categories_4h",
        category_entropy=c.bought.ln() - c.surprise / c.bought,
        category_top_share=c.top / c.bought,
        category_top_since=c.top_since,
        categories_kept=c.kept / c.categories_4h,
        own_brand_share=c.own / c.bought,
    )
