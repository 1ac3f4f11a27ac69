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
from retention.outreach import sends

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
    start, drawn, length = (
        campaign.sent_at,
        campaign.created_at,
        campaign.window_ends_at - campaign.sent_at,
    )
    end = min(until or campaign.window_ends_at, campaign.window_ends_at)
    body = Body.model_validate(campaign.body)
    people = _assigned_customers(session, campaign.id)
    ids = list(people["customer_id"])
    now = _totals(lake, ids, start, end, drawn, body.margin)
    before = _totals(lake, ids, start - length, start, drawn, body.margin).add_prefix("pre_")
    people["history"] = (
        people["customer_id"]
        .isin(_repeat_customers(lake, start, drawn))
        .map({True: "repeat", False: "new"})
    )
    table = people.set_index("customer_id").join(now).join(before)
    table[[*now.columns, *before.columns]] = table[[*now.columns, *before.columns]].fillna(0.0)
    discounts = _discounts(lake, session, campaign, start, end)
    off = discounts.groupby("customer_id")["profit"].sum()
    taken = table.index.to_series().map(off).fillna(0.0)
    each = {line.rule: line.contact for line in body.offers if line.contact is not None}
    treated = table["arm"] == "treatment"
    reached = treated & ~table.index.isin(sends.uncontacted_customers(session, campaign.id))
    contact = reached * table.pop("rule").map(each).fillna(body.contact_cost)
    table["profit"] += taken - contact
    earned = _daily_profit(lake, ids, start, end, drawn, body.margin)
    return Outcomes(
        customers=table.reset_index(),
        orders=_order_days(lake, ids, start, end, drawn),
        profits=pd.concat([earned, discounts]),
        cost=float(contact.sum() - taken.sum()),
        redeemed=len(discounts),
        treated=int(treated.sum()),
        contact=float(contact.sum() / max(treated.sum(), 1)),
    )


def _assigned_customers(session: Session, campaign_id: str) -> "pd.DataFrame":
    import pandas as pd

    told = Assignment.offer["segment"]  # missing in old campaigns
    rows = session.execute(
        select(
            Assignment.customer_id,
            Assignment.arm,
            Assignment.tier,
            Assignment.offer["rule"].as_string(),
            told["value"].as_string(),
            told["reason"].as_string(),
        )
        .where(Assignment.campaign_id == campaign_id, Assignment.arm.in_(("treatment", "control")))
        .order_by(Assignment.customer_id)
    )
    return pd.DataFrame(
        [tuple(row) for row in rows],
        columns=["customer_id", "arm", "tier", "rule", "value", "reason"],
    )


def _repeat_customers(lake: "Lake", start: datetime, drawn: datetime) -> set[str]:
    """Customers with orders on two or more days before a campaign."""
    events = lake.table("events", before=start, identity=drawn)
    bought = events.filter(events.event_type == "purchase")
    days = bought.group_by("customer_id").aggregate(days=bought.occurred_at.date().nunique())
    return set(days.filter(days.days > 1).customer_id.execute())


def _events_between(
    lake: "Lake", ids: list[str], start: datetime, end: datetime, drawn: datetime
) -> Any:
    import ibis

    events = lake.table("events", before=end, identity=drawn)
    wanted = ibis.memtable({"customer_id": ids}, schema={"customer_id": "string"})
    return events.filter(events.occurred_at >= naive(start)).semi_join(wanted, "customer_id")


def _totals(
    lake: "Lake", ids: list[str], start: datetime, end: datetime, drawn: datetime, margin: float
) -> "pd.DataFrame":
    """`METRICS` of customers with an order or return in [start, end)."""
    import ibis

    lines = _lines(lake, ids, start, end, drawn, margin)
    bought = lines.event_type == "purchase"
    order = ibis.coalesce(lines.order_id, lines.occurred_at.date().cast("string"))
    totals = lines.group_by("customer_id").aggregate(
        orders=order.nunique(where=bought).cast("float64"),
        revenue=lines.signed.sum(),
        profit=lines.earned.sum(),
    )
    frame = totals.mutate(buyers=(totals.orders > 0).cast("float64")).execute()
    return frame.set_index("customer_id")[list(METRICS)]


def _lines(
    lake: "Lake", ids: list[str], start: datetime, end: datetime, drawn: datetime, margin: float
) -> Any:
    """Lines bought or returned in [start, end).

    ``signed`` is negative for returns; ``earned`` is its margin. Lines of an order returned in full
    still count as sold. Otherwise its returns would be a loss the shop never had.
    """
    import ibis

    events, items = (
        _events_between(lake, ids, start, end, drawn),
        lake.table("items").select("item_id", "margin"),
    )
    lines = events.filter(events.event_type.isin(["purchase", CANCELLED, "return"]))
    lines = lines.left_join(items, lines.item_id == items.item_id)
    amount = ibis.ifelse(lines.event_type == "return", -lines.amount.abs(), lines.amount).fill_null(
        0.0
    )
    return lines.mutate(signed=amount, earned=amount * lines.margin.fill_null(margin))


def _daily_profit(
    lake: "Lake", ids: list[str], start: datetime, end: datetime, drawn: datetime, margin: float
) -> "pd.DataFrame":
    """``customer_id, day, profit`` per line; day 0 is the day of sending."""
    lines = _lines(lake, ids, start, end, drawn, margin).select(
        "customer_id", "occurred_at", "earned"
    )
    frame = lines.execute()
    frame["day"] = (frame["occurred_at"] - naive(start)) // timedelta(days=1)
    return frame.rename(columns={"earned": "profit"})[["customer_id", "day", "profit"]]


def _order_days(
    lake: "Lake", ids: list[str], start: datetime, end: datetime, drawn: datetime
) -> "pd.DataFrame":
    """``customer_id, day`` per order of the window; day 0 is the day of sending."""
    events = _events_between(lake, ids, start, end, drawn)
    orders = events.filter(events.event_type == "purchase").select(
        "customer_id", "order_id", "occurred_at"
    )
    frame = orders.execute()
    frame["order_id"] = frame["order_id"].fillna(frame["occurred_at"].dt.date.astype(str))
    first = frame.groupby(["customer_id", "order_id"], as_index=False)["occurred_at"].min()
    first["day"] = (first["occurred_at"] - naive(start)) // timedelta(days=1)
    return first[["customer_id", "day"]]


def _discounts(
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
    early = (lines["occurred_at"] < naive(start)) & (lines["event_type"] == "purchase")
    uncounted = early | (lines["event_type"] == CANCELLED)
    missed = pd.MultiIndex.from_frame(codes[order]).isin(
        pd.MultiIndex.from_frame(lines.loc[uncounted, order].dropna())
    )
    lines = lines[~uncounted]
    named = pd.MultiIndex.from_frame(codes[order]).isin(
        pd.MultiIndex.from_frame(lines[order].dropna())
    )
    found = pd.concat(
        [
            codes[named].merge(lines, how="left", on=order),
            codes[~named].merge(lines, how="left", on=["customer_id", "date"]),
        ]
    )
    covered = found["only"].isna() | (found["only"] == found["category"])
    found["bought"] = (
        found["amount"].where(covered & (found["event_type"] == "purchase")).astype(float)
    )
    told = _recorded_discounts(found)
    keys = ["customer_id", "day", "share", "amount_off"]  # a customer has one code
    found = found.groupby(keys, as_index=False)[["bought"]].sum()
    share, told = (
        found["share"] * found["bought"] + found["amount_off"],
        found["customer_id"].map(told),
    )
    found["profit"] = -told.where(told != 0, share)
    found.loc[found["customer_id"].isin(codes.loc[missed, "customer_id"]), "profit"] = 0.0
    return found[["customer_id", "day", "profit"]]


def _recorded_discounts(found: "pd.DataFrame") -> "pd.Series":
    """Discount per customer as recorded by redemption events.

    If two systems record one use, the larger value counts, not the sum.
    """
    ours = found["query"].isna() | (
        found["query"].map(normalize_code, na_action="ignore") == found["code"]
    )
    off = found["discount"].where(ours & (found["event_type"] == "coupon_redeem")).astype(float)
    by_source = off.groupby([found["customer_id"], found["source"]], dropna=False).sum()
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
            who,
            code,
            order,
            at,
            max((at - start) // timedelta(days=1), 0),
            float(offer.get("discount") or 0.0),
            float(offer.get("amount") or 0.0),
            limited_category(offer),
        )
        for who, code, order, at, offer in redeemed
    ]
    names = ["customer_id", "code", "order_id", "redeemed_at", "day", "share", "amount_off", "only"]
    return pd.DataFrame(rows, columns=names).astype(
        {"day": int, "share": float, "amount_off": float}
    )
