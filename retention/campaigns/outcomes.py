"""Count orders, revenue and profit of both groups."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.campaigns.coupons import normalize_code
from retention.campaigns.offers import limited_category
from retention.campaigns.redemptions import DATE_TOLERANCE
from retention.campaigns.spec import Body
from retention.db.tables import Assignment, Campaign, Coupon
from retention.lake.cleaning.returns import CANCELLED
from retention.lake.lake import naive
from retention.outreach import send_summary

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

METRICS = ("buyers", "orders", "revenue", "profit")
SEGMENTS = ("tier", "value", "history", "reason")  # known before sending


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts for the measurement of a campaign.

    ``customers``: ``customer_id``, ``arm``, `SEGMENTS`, `METRICS` in the window and, as ``pre_…``,
    in an equally long period before. ``orders``: ``customer_id, day`` per order. ``profits``:
    ``customer_id, day, profit`` before contact costs. ``cost``: discounts and contacts in the
    shop's currency. ``redeemed``: coupons used.
    """

    customers: "pd.DataFrame"
    orders: "pd.DataFrame"
    profits: "pd.DataFrame"
    cost: float
    redeemed: int
    treated: int
    contact: float = 0.0  # average cost per treated customer


def collect_outcomes(
    lake: "Lake", session: Session, campaign: Campaign, until: datetime | None = None
) -> Outcomes:
    """Count the outcomes of both groups in the window.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        Open session; the caller commits.
    campaign : Campaign
        The campaign.
    until : datetime, optional
        End of the period so far; default the whole window.

    Returns
    -------
    Outcomes

    Notes
    -----
    Intention to treat: each assigned customer counts in their group. The profit of a line is amount
    × margin of the item, or the campaign's average margin. Coupons and contact costs reduce the
    profit of treated customers; customers without a delivered message cost no contact. Customers
    merged after the audience was drawn are counted separately, because a merge may be an effect of
    the campaign. Each order still counts once.
    """
    import pandas as pd

    assert campaign.sent_at is not None  # it was live
    assert campaign.window_ends_at is not None
    start, identities_at, length = (
        campaign.sent_at,
        campaign.created_at,
        campaign.window_ends_at - campaign.sent_at,
    )
    end = min(until or campaign.window_ends_at, campaign.window_ends_at)
    body = Body.model_validate(campaign.body)
    customers = _assigned_customers(session, campaign.id)
    ids = list(customers["customer_id"])
    now = _totals(lake, ids, start, end, identities_at, body.margin)
    before = _totals(lake, ids, start - length, start, identities_at, body.margin).add_prefix(
        "pre_"
    )
    customers["history"] = (
        customers["customer_id"]
        .isin(_repeat_customers(lake, start, identities_at))
        .map({True: "repeat", False: "new"})
    )
    table = customers.set_index("customer_id").join(now).join(before)
    table[[*now.columns, *before.columns]] = table[[*now.columns, *before.columns]].fillna(0.0)
    discounts = campaign_discounts(lake, session, campaign, start, end)
    discount_of = discounts.groupby("customer_id")["profit"].sum()
    discount = table.index.to_series().map(discount_of).fillna(0.0)
    contact_cost_of = {line.rule: line.contact for line in body.offers if line.contact is not None}
    treated = table["arm"] == "treatment"
    was_contacted = treated & ~table.index.isin(
        send_summary.uncontacted_customers(session, campaign.id)
    )
    contact = was_contacted * table.pop("rule").map(contact_cost_of).fillna(body.contact_cost)
    table["profit"] += discount - contact
    profits = daily_profit(lake, ids, start, end, identities_at, body.margin)
    return Outcomes(
        customers=table.reset_index(),
        orders=_order_days(lake, ids, start, end, identities_at),
        profits=pd.concat([profits, discounts]),
        cost=float(contact.sum() - discount.sum()),
        redeemed=len(discounts),
        treated=int(treated.sum()),
        contact=float(contact.sum() / max(treated.sum(), 1)),
    )


def _assigned_customers(session: Session, campaign_id: str) -> "pd.DataFrame":
    import pandas as pd

    segment = Assignment.offer["segment"]  # missing in old campaigns
    rows = session.execute(
        select(
            Assignment.customer_id,
            Assignment.arm,
            Assignment.tier,
            Assignment.offer["rule"].as_string(),
            segment["value"].as_string(),
            segment["reason"].as_string(),
        )
        .where(Assignment.campaign_id == campaign_id, Assignment.arm.in_(("treatment", "control")))
        .order_by(Assignment.customer_id)
    )
    return pd.DataFrame(
        [tuple(row) for row in rows],
        columns=["customer_id", "arm", "tier", "rule", "value", "reason"],
    )


def _repeat_customers(lake: "Lake", start: datetime, identities_at: datetime) -> set[str]:
    """Customers with orders on two or more days before a campaign."""
    events = lake.table("events", before=start, identity=identities_at)
    purchases = events.filter(events.event_type == "purchase")
    days = purchases.group_by("customer_id").aggregate(days=purchases.occurred_at.date().nunique())
    return set(days.filter(days.days > 1).customer_id.execute())


def _events_between(
    lake: "Lake", ids: list[str], start: datetime, end: datetime, identities_at: datetime
) -> Any:
    import ibis

    events = lake.table("events", before=end, identity=identities_at)
    customers = ibis.memtable({"customer_id": ids}, schema={"customer_id": "string"})
    return events.filter(events.occurred_at >= naive(start)).semi_join(customers, "customer_id")


def _totals(
    lake: "Lake",
    ids: list[str],
    start: datetime,
    end: datetime,
    identities_at: datetime,
    margin: float,
) -> "pd.DataFrame":
    """`METRICS` of customers with an order or return in [start, end)."""
    import ibis

    lines = _lines(lake, ids, start, end, identities_at, margin)
    is_purchase = lines.event_type == "purchase"
    order = ibis.coalesce(lines.order_id, lines.occurred_at.date().cast("string"))
    totals = lines.group_by("customer_id").aggregate(
        orders=order.nunique(where=is_purchase).cast("float64"),
        revenue=lines.signed.sum(),
        profit=lines.earned.sum(),
    )
    frame = totals.mutate(buyers=(totals.orders > 0).cast("float64")).execute()
    return frame.set_index("customer_id")[list(METRICS)]


def _lines(
    lake: "Lake",
    ids: list[str],
    start: datetime,
    end: datetime,
    identities_at: datetime,
    margin: float,
) -> Any:
    """Lines bought or returned in [start, end).

    ``signed`` is negative for returns; ``earned`` is its margin. Lines of an order returned in full
    still count as sold. Otherwise its returns would be a loss the shop never had.
    """
    import ibis

    events, items = (
        _events_between(lake, ids, start, end, identities_at),
        lake.table("items").select("item_id", "margin"),
    )
    lines = events.filter(events.event_type.isin(["purchase", CANCELLED, "return"]))
    lines = lines.left_join(items, lines.item_id == items.item_id)
    amount = ibis.ifelse(lines.event_type == "return", -lines.amount.abs(), lines.amount).fill_null(
        0.0
    )
    return lines.mutate(signed=amount, earned=amount * lines.margin.fill_null(margin))


def daily_profit(
    lake: "Lake",
    ids: list[str],
    start: datetime,
    end: datetime,
    identities_at: datetime,
    margin: float,
) -> "pd.DataFrame":
    """``customer_id, day, profit`` per line; day 0 is the day of sending."""
    lines = _lines(lake, ids, start, end, identities_at, margin).select(
        "customer_id", "occurred_at", "earned"
    )
    frame = lines.execute()
    frame["day"] = (frame["occurred_at"] - naive(start)) // timedelta(days=1)
    return frame.rename(columns={"earned": "profit"})[["customer_id", "day", "profit"]]


def _order_days(
    lake: "Lake", ids: list[str], start: datetime, end: datetime, identities_at: datetime
) -> "pd.DataFrame":
    """``customer_id, day`` per order of the window; day 0 is the day of sending."""
    events = _events_between(lake, ids, start, end, identities_at)
    orders = events.filter(events.event_type == "purchase").select(
        "customer_id", "order_id", "occurred_at"
    )
    frame = orders.execute()
    frame["order_id"] = frame["order_id"].fillna(frame["occurred_at"].dt.date.astype(str))
    first_lines = frame.groupby(["customer_id", "order_id"], as_index=False)["occurred_at"].min()
    first_lines["day"] = (first_lines["occurred_at"] - naive(start)) // timedelta(days=1)
    return first_lines[["customer_id", "day"]]


def campaign_discounts(
    lake: "Lake", session: Session, campaign: Campaign, start: datetime, end: datetime
) -> "pd.DataFrame":
    """Cost of each redeemed code as ``customer_id, day, profit`` (negative).

    The redemption event gives the discount, unless it names another code. Otherwise it is the
    offer's share of the order (or of its category) plus its money off, including parcels. Without a
    known order, the customer's purchases on that date of the shop's calendar count, because many
    shops stamp orders at midnight. A use dated only by day may precede the hour of sending. It
    counts unless its order does, too. A code on a fully returned order costs nothing.
    """
    import pandas as pd

    codes = _redeemed_codes(session, campaign, start, end)
    events = _events_between(
        lake, list(codes["customer_id"]), start - DATE_TOLERANCE, end, campaign.created_at
    )
    events = events.filter(events.event_type.isin(["purchase", CANCELLED, "coupon_redeem"]))
    events = events.left_join(lake.table("items").select("item_id", "category"), "item_id")
    columns = "customer_id order_id occurred_at event_type amount discount category query source"
    lines = events.select(*columns.split()).execute()
    for table, moment in ((lines, "occurred_at"), (codes, "redeemed_at")):
        table["date"] = pd.to_datetime(table[moment], utc=True).dt.tz_convert(lake.zone).dt.date
    order = ["customer_id", "order_id"]
    is_early = (lines["occurred_at"] < naive(start)) & (lines["event_type"] == "purchase")
    is_line_uncounted = is_early | (lines["event_type"] == CANCELLED)
    is_uncounted = pd.MultiIndex.from_frame(codes[order]).isin(
        pd.MultiIndex.from_frame(lines.loc[is_line_uncounted, order].dropna())
    )
    lines = lines[~is_line_uncounted]
    has_known_order = pd.MultiIndex.from_frame(codes[order]).isin(
        pd.MultiIndex.from_frame(lines[order].dropna())
    )
    matched = pd.concat(
        [
            codes[has_known_order].merge(lines, how="left", on=order),
            codes[~has_known_order].merge(lines, how="left", on=["customer_id", "date"]),
        ]
    )
    in_category = matched["only"].isna() | (matched["only"] == matched["category"])
    matched["bought"] = (
        matched["amount"].where(in_category & (matched["event_type"] == "purchase")).astype(float)
    )
    recorded = _recorded_discounts(matched)
    keys = ["customer_id", "day", "share", "amount_off"]  # a customer has one code
    matched = matched.groupby(keys, as_index=False)[["bought"]].sum()
    computed, recorded = (
        matched["share"] * matched["bought"] + matched["amount_off"],
        matched["customer_id"].map(recorded),
    )
    matched["profit"] = -recorded.where(recorded != 0, computed)
    matched.loc[matched["customer_id"].isin(codes.loc[is_uncounted, "customer_id"]), "profit"] = 0.0
    return matched[["customer_id", "day", "profit"]]


def _recorded_discounts(matched: "pd.DataFrame") -> "pd.Series":
    """Discount per customer as recorded by redemption events.

    If two systems record one use, the larger value counts, not the sum.
    """
    is_own_code = matched["query"].isna() | (
        matched["query"].map(normalize_code, na_action="ignore") == matched["code"]
    )
    discount = (
        matched["discount"]
        .where(is_own_code & (matched["event_type"] == "coupon_redeem"))
        .astype(float)
    )
    by_source = discount.groupby([matched["customer_id"], matched["source"]], dropna=False).sum()
    return by_source.groupby("customer_id").max()


def _redeemed_codes(
    session: Session, campaign: Campaign, start: datetime, end: datetime
) -> "pd.DataFrame":
    """Codes used before the end, with ``share``, ``amount_off`` and category ``only``."""
    import pandas as pd

    redeemed = session.execute(
        select(
            Coupon.customer_id, Coupon.code, Coupon.order_id, Coupon.redeemed_at, Assignment.offer
        )
        .join(
            Assignment,
            (Assignment.campaign_id == Coupon.campaign_id)
            & (Assignment.customer_id == Coupon.customer_id),
        )
        .where(
            Coupon.campaign_id == campaign.id,
            Coupon.state == "redeemed",
            Coupon.redeemed_at < end,
        )
    )
    rows = [
        (
            customer_id,
            code,
            order_id,
            at,
            max((at - start) // timedelta(days=1), 0),
            float(offer.get("discount") or 0.0),
            float(offer.get("amount") or 0.0),
            limited_category(offer),
        )
        for customer_id, code, order_id, at, offer in redeemed
    ]
    names = ["customer_id", "code", "order_id", "redeemed_at", "day", "share", "amount_off", "only"]
    return pd.DataFrame(rows, columns=names).astype(
        {"day": int, "share": float, "amount_off": float}
    )
