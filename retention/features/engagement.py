"""Features from events other than purchases.

These are browsing, searches, carts, e-mails, returns, ratings, coupons, campaigns and support.
Tables are filtered to these events first, so shops without them pay almost nothing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from retention.features.visits import DAY, seconds

if TYPE_CHECKING:
    import ibis

BROWSING = ("view", "search")
ONLINE = (
    "web",
    "app",
    "online",
    "mobile",
    "email",
    "e-mail",
    "webshop",
    "website",
    "android",
    "ios",
    "marketplace",
    "social",
)
ABANDONED_AFTER_DAYS = 7  # without an order, a cart counts as abandoned


def event_features(visits: "ibis.Table", h: float) -> "ibis.Table":
    """Count events other than purchases, one row per customer.

    `visits`: as `retention.features.visits.visits` returns it.
    """
    v = visits.filter(visits.event_type != "purchase")

    def lines(days: float, *types: str) -> "ibis.Value":
        where = v.event_type.isin(types) & (v.age <= days)
        return v.lines.sum(where=where).fill_null(0).cast("float64")

    def since(*types: str) -> "ibis.Value":
        return v.age.min(where=v.event_type.isin(types))

    view_seconds_1h = v.duration.sum(where=v.event_type.isin(BROWSING) & (v.age <= h)).fill_null(0)
    return v.group_by("customer_id").agg(
        views_1h=lines(h, *BROWSING),
        views_4h=lines(4 * h, *BROWSING),
        searches_1h=lines(h, "search"),
        view_recency=since(*BROWSING),
        view_seconds_1h=view_seconds_1h,
        carts_1h=lines(h, "cart"),
        cart_recency=since("cart"),
        emails_1h=lines(h, "email_open", "email_click"),
        clicks_4h=lines(4 * h, "email_click"),
        email_recency=since("email_open", "email_click"),
        returns_4h=lines(4 * h, "return"),
        return_recency=since("return"),
        return_visits=(v.event_type == "return").cast("int64").sum().cast("float64"),
        return_money=v.spend.sum(where=v.event_type == "return").fill_null(0).abs(),
        redemptions_4h=lines(4 * h, "coupon_redeem"),
        redemption_recency=since("coupon_redeem"),
        redemption_visits=v.day.nunique(
            where=(v.event_type == "coupon_redeem") & (v.age <= 4 * h)
        ).cast("float64"),
        support_4h=lines(4 * h, "support"),
    )


def rating_features(visits: "ibis.Table") -> "ibis.Table":
    """Compute rating features."""
    v = visits.filter(visits.rating.notnull())
    return v.group_by("customer_id").agg(
        ratings=v.count().cast("float64"),
        rating_mean=v.rating.mean(),
        rating_last=v.rating.argmin(v.age + v.rating / 1e6),  # ties: the lower one
    )


def journey_features(visits: "ibis.Table", h: float) -> "ibis.Table":
    """Count views and carts with and without a later order.

    `visits`: as `retention.features.visits.visits` returns it.
    """
    import ibis

    steps = ("view", "search", "cart")
    walked = visits.filter(visits.event_type.isin(steps))
    bought = visits.filter(visits.event_type == "purchase").semi_join(walked, "customer_id")
    both = walked.union(bought)
    is_order = both.event_type == "purchase"
    order_by = [both.age.desc(), is_order]
    onwards = ibis.window(group_by="customer_id", order_by=order_by, preceding=0, following=None)
    ordered = ibis.ifelse(is_order, both.age, ibis.null("float64")).max().over(onwards)
    both = both.mutate(ordered=ordered)
    v = both.filter(both.event_type != "purchase")
    cart, browsing = v.event_type == "cart", v.event_type.isin(BROWSING)
    left = v.ordered.isnull() | (v.age - v.ordered > ABANDONED_AFTER_DAYS)
    where = browsing & v.ordered.isnull()
    return v.group_by("customer_id").agg(
        views_since_order=v.lines.sum(where=where).fill_null(0).cast("float64"),
        carts_since_order=v.lines.sum(where=cart & v.ordered.isnull()).fill_null(0).cast("float64"),
        cart_days=(cart & (v.age <= 4 * h)).cast("int64").sum().cast("float64"),
        carts_left=(cart & left & (v.age <= 4 * h)).cast("int64").sum().cast("float64"),
    )


def campaign_features(treatments: "ibis.Table", now: int, h: float) -> "ibis.Table":
    """Compute campaign features.

    Responses come from events, because stored outcomes are known only later.
    """
    sent = treatments.filter(treatments.arm == "treatment")
    age = (now - seconds(sent.sent_at)) / float(DAY)
    campaigns_4h = (age <= 4 * h).cast("int64").sum().cast("float64")
    return sent.group_by("customer_id").agg(campaigns_4h=campaigns_4h, campaign_recency=age.min())


def channel_features(visits: "ibis.Table") -> "ibis.Table":
    """Compute channel shares."""
    named = visits.filter((visits.event_type == "purchase") & visits.channel.notnull())
    c = named.group_by("customer_id", "channel").agg(n=named.count().cast("float64"))
    online = c.n.sum(where=c.channel.lower().isin(ONLINE)).fill_null(0)
    channels = c.count().cast("float64")
    return c.group_by("customer_id").agg(
        channels=channels, channel_share=c.n.max() / c.n.sum(), online_share=online / c.n.sum()
    )


COMPLAINT = 0.5  # a mood below it; `retention.texts.mood` predicts moods


def text_features(signals: "ibis.Table", now: int) -> "ibis.Table":
    """Compute features of what customers wrote; `signals`: the lake's table ``text_signals``."""
    s = signals.filter(signals.mood.notnull())
    age, is_bad = (now - seconds(s.occurred_at)) / float(DAY), s.mood < COMPLAINT
    return s.group_by("customer_id").agg(
        complaints_30d=(is_bad & (age <= 30)).cast("int64").sum().cast("float64"),
        complaint_recency=age.min(where=is_bad),
        mood_last=s.mood.argmin(age + s.mood / 1e6),  # ties: the lower one
    )


# computed from the columns of one row
RATIOS: "dict[str, Callable[[ibis.Table], ibis.Value]]" = {
    "views_per_order": lambda c: c.views_4h / c.orders_4h.nullif(0),
    "cart_left_share": lambda c: c.carts_left / c.cart_days.nullif(0),
    "return_share": lambda c: c.return_visits / c.orders_all,
    "return_money_share": lambda c: c.return_money / c.spend_all.abs().nullif(0),
    "redemption_share": lambda c: c.redemption_visits / c.orders_4h.nullif(0),
    "campaign_response": lambda c: c.redemption_visits / c.campaigns_4h.nullif(0),
}
