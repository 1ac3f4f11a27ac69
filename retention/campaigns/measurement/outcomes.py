"""Count orders, revenue and profit of both groups."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from retention.campaigns.codes.coupons import OF_CUSTOMER, normalize_code
from retention.campaigns.codes.redemptions import DATE_TOLERANCE
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.planning.offer_terms import limited_category
from retention.db import Transaction
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
    lake: "Lake", session: Transaction, campaign: Campaign, until: datetime | None = None
) -> Outcomes:
    """Count the outcomes of both groups in the window.

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
    start, identities_at = campaign.sent_at, campaign.created_at
    length = campaign.window_ends_at - start
    end = min(until or campaign.window_ends_at, campaign.window_ends_at)
    body = Body.of(campaign)
    customers = _assigned_customers(session, campaign.id)
    window = Period(lake, list(customers["customer_id"]), start, end, identities_at)
    now = _totals(window, body.margin)
    earlier = replace(window, start=start - length, end=start)
    before = _totals(earlier, body.margin).add_prefix("pre_")
    is_repeat = customers["customer_id"].isin(_repeat_customers(lake, start, identities_at))
    customers["history"] = is_repeat.map({True: "repeat", False: "new"})
    table = customers.set_index("customer_id").join(now).join(before)
    table[[*now.columns, *before.columns]] = table[[*now.columns, *before.columns]].fillna(0.0)
    discounts = campaign_discounts(lake, session, campaign, start, end)
    discount_of = discounts.groupby("customer_id")["profit"].sum()
    discount = table.index.to_series().map(discount_of).fillna(0.0)
    contact_cost_of = {line.rule: line.contact for line in body.offers if line.contact is not None}
    treated = table["arm"] == "treatment"
    uncontacted = send_summary.uncontacted_customers(session, campaign.id)
    was_contacted = treated & ~table.index.isin(uncontacted)
    rule = table.pop("rule")
    contact = was_contacted * rule.map(contact_cost_of).fillna(body.contact_cost)
    # Points have no code: a share of those who bought uses them.
    points = [line for line in body.offers if line.action == "points"]
    points_of = {line.rule: line.face * body.redemption_of(line) for line in points}
    contact += was_contacted * (table["orders"] > 0) * rule.map(points_of).fillna(0.0)
    table["profit"] += discount - contact
    profits = daily_profit(window, body.margin)
    return Outcomes(
        customers=table.reset_index(),
        orders=_order_days(window),
        profits=pd.concat([profits, discounts]),
        cost=float(contact.sum() - discount.sum()),
        redeemed=len(discounts),
        treated=int(treated.sum()),
        contact=float(contact.sum() / max(treated.sum(), 1)),
    )


def imported_orders(lake: "Lake", session: Transaction, campaign: Campaign) -> dict[str, int]:
    """Count the imported orders of the window per arm, without the rest of `collect_outcomes`."""
    assert campaign.sent_at is not None  # it was live
    assert campaign.window_ends_at is not None
    customers = _assigned_customers(session, campaign.id).set_index("customer_id")
    ids, start, end = list(customers.index), campaign.sent_at, campaign.window_ends_at
    events = Period(lake, ids, start, end, campaign.created_at).events()
    orders = events.filter(events.event_type == "purchase")
    orders = orders.group_by("customer_id").aggregate(orders=_order(orders).nunique()).execute()
    return orders.groupby(orders["customer_id"].map(customers["arm"]))["orders"].sum().to_dict()


def _assigned_customers(session: Transaction, campaign_id: str) -> "pd.DataFrame":
    import pandas as pd

    segment = Assignment.offer["segment"]  # missing in old campaigns
    parts = (Assignment.offer["rule"], segment["value"], segment["reason"])
    columns = (Assignment.customer_id, Assignment.arm, Assignment.tier)
    rows = session.execute(
        select(*columns, *(part.as_string() for part in parts))
        .where(Assignment.campaign_id == campaign_id, Assignment.arm.in_(("treatment", "control")))
        .order_by(Assignment.customer_id)
    )
    names = ["customer_id", "arm", "tier", "rule", "value", "reason"]
    return pd.DataFrame([tuple(row) for row in rows], columns=names)


def _repeat_customers(lake: "Lake", start: datetime, identities_at: datetime) -> set[str]:
    """Customers with orders on two or more days before a campaign."""
    events = lake.table("events", before=start, identity=identities_at)
    purchases = events.filter(events.event_type == "purchase")
    days = purchases.group_by("customer_id").aggregate(days=purchases.occurred_at.date().nunique())
    return set(days.filter(days.days > 1).customer_id.execute())


@dataclass(frozen=True, slots=True)
class Period:
    """Some customers in [start, end), by the identities of a moment."""

    lake: "Lake"
    ids: list[str]
    start: datetime
    end: datetime
    identities_at: datetime

    def events(self) -> Any:
        """Return their events."""
        import ibis

        events = self.lake.table("events", before=self.end, identity=self.identities_at)
        customers = ibis.memtable({"customer_id": self.ids}, schema={"customer_id": "string"})
        in_time = events.filter(events.occurred_at >= naive(self.start))
        return in_time.semi_join(customers, "customer_id")


def _totals(period: Period, margin: float) -> "pd.DataFrame":
    """`METRICS` of customers with an order or return."""
    lines = _lines(period, margin)
    is_purchase = lines.event_type == "purchase"
    totals = lines.group_by("customer_id").aggregate(
        orders=_order(lines).nunique(where=is_purchase).cast("float64"),
        revenue=lines.signed.sum(),
        profit=lines.earned.sum(),
    )
    frame = totals.mutate(buyers=(totals.orders > 0).cast("float64")).execute()
    return frame.set_index("customer_id")[list(METRICS)]


def _order(events: Any) -> Any:
    """The order of each line; without an order id, a day's lines are one order."""
    import ibis

    return ibis.coalesce(events.order_id, events.occurred_at.date().cast("string"))


def _lines(period: Period, margin: float) -> Any:
    """Lines bought or returned.

    ``signed`` is negative for returns; ``earned`` is its margin. Lines of an order returned in full
    still count as sold. Otherwise its returns would be a loss the shop never had.
    """
    import ibis

    events, items = period.events(), period.lake.table("items").select("item_id", "margin")
    lines = events.filter(events.event_type.isin(["purchase", CANCELLED, "return"]))
    lines = lines.left_join(items, lines.item_id == items.item_id)
    amount = ibis.ifelse(lines.event_type == "return", -lines.amount.abs(), lines.amount)
    amount = amount.fill_null(0.0)
    return lines.mutate(signed=amount, earned=amount * lines.margin.fill_null(margin))


def daily_profit(period: Period, margin: float) -> "pd.DataFrame":
    """``customer_id, day, profit`` per line; day 0 is the day of sending."""
    lines = _lines(period, margin)
    frame = lines.select("customer_id", "occurred_at", profit=lines.earned).execute()
    frame["day"] = (frame["occurred_at"] - naive(period.start)) // timedelta(days=1)
    return frame[["customer_id", "day", "profit"]]


def _order_days(period: Period) -> "pd.DataFrame":
    """``customer_id, day`` per order of the window; day 0 is the day of sending."""
    events = period.events()
    purchases = events.filter(events.event_type == "purchase")
    frame = purchases.select("customer_id", "order_id", "occurred_at").execute()
    frame["order_id"] = frame["order_id"].fillna(frame["occurred_at"].dt.date.astype(str))
    first_lines = frame.groupby(["customer_id", "order_id"], as_index=False)["occurred_at"].min()
    first_lines["day"] = (first_lines["occurred_at"] - naive(period.start)) // timedelta(days=1)
    return first_lines[["customer_id", "day"]]


def campaign_discounts(
    lake: "Lake", session: Transaction, campaign: Campaign, start: datetime, end: datetime
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
    ids, from_ = list(codes["customer_id"]), start - DATE_TOLERANCE
    events = Period(lake, ids, from_, end, campaign.created_at).events()
    events = events.filter(events.event_type.isin(["purchase", CANCELLED, "coupon_redeem"]))
    events = events.left_join(lake.table("items").select("item_id", "category"), "item_id")
    columns = "customer_id order_id occurred_at event_type amount discount category query source"
    lines = events.select(*columns.split()).execute()
    for table, moment in ((lines, "occurred_at"), (codes, "redeemed_at")):
        table["date"] = pd.to_datetime(table[moment], utc=True).dt.tz_convert(lake.zone).dt.date
    order = ["customer_id", "order_id"]
    is_early = (lines["occurred_at"] < naive(start)) & (lines["event_type"] == "purchase")
    is_line_uncounted = is_early | (lines["event_type"] == CANCELLED)

    def has_order_in(some: "pd.DataFrame") -> Any:
        known = pd.MultiIndex.from_frame(some[order].dropna())
        return pd.MultiIndex.from_frame(codes[order]).isin(known)

    is_uncounted = has_order_in(lines[is_line_uncounted])
    lines = lines[~is_line_uncounted]
    has_known_order = has_order_in(lines)
    by_order = codes[has_known_order].merge(lines, how="left", on=order)
    by_date = codes[~has_known_order].merge(lines, how="left", on=["customer_id", "date"])
    matched = pd.concat([by_order, by_date])
    in_category = matched["only"].isna() | (matched["only"] == matched["category"])
    is_bought = in_category & (matched["event_type"] == "purchase")
    matched["bought"] = matched["amount"].where(is_bought).astype(float)
    recorded = _recorded_discounts(matched)
    keys = ["customer_id", "day", "share", "amount_off"]  # a customer has one code
    matched = matched.groupby(keys, as_index=False)[["bought"]].sum()
    computed = matched["share"] * matched["bought"] + matched["amount_off"]
    recorded = matched["customer_id"].map(recorded)
    matched["profit"] = -recorded.where(recorded != 0, computed)
    matched.loc[matched["customer_id"].isin(codes.loc[is_uncounted, "customer_id"]), "profit"] = 0.0
    return matched[["customer_id", "day", "profit"]]


def _recorded_discounts(matched: "pd.DataFrame") -> "pd.Series":
    """Discount per customer as recorded by redemption events.

    If two systems record one use, the larger value counts, not the sum.
    """
    used = matched["query"].map(normalize_code, na_action="ignore")
    is_own_code = matched["query"].isna() | (used == matched["code"])
    is_use = is_own_code & (matched["event_type"] == "coupon_redeem")
    discount = matched["discount"].where(is_use).astype(float)
    by_source = discount.groupby([matched["customer_id"], matched["source"]], dropna=False).sum()
    return by_source.groupby("customer_id").max()


def _redeemed_codes(
    session: Transaction, campaign: Campaign, start: datetime, end: datetime
) -> "pd.DataFrame":
    """Codes used before the end, with ``share``, ``amount_off`` and category ``only``."""
    import pandas as pd

    columns = (Coupon.customer_id, Coupon.code, Coupon.order_id, Coupon.redeemed_at)
    is_used = (Coupon.state == "redeemed", Coupon.redeemed_at < end)
    redeemed = session.execute(
        select(*columns, Assignment.offer)
        .join(Assignment, OF_CUSTOMER)
        .where(Coupon.campaign_id == campaign.id, *is_used)
    )
    rows = []
    for customer, code, order_id, at, offer in redeemed:
        day = max((at - start) // timedelta(days=1), 0)
        terms = offer.get("discount") or 0.0, offer.get("amount") or 0.0, limited_category(offer)
        rows.append((customer, code, order_id, at, day, *terms))
    names = ["customer_id", "code", "order_id", "redeemed_at", "day", "share", "amount_off", "only"]
    types = {"day": int, "share": float, "amount_off": float}
    return pd.DataFrame(rows, columns=names).astype(types)


EMAIL_EVENTS = ("email_open", "email_click")
NAMED_IN = ("query", "item_id", "source")  # columns of an event that may name the campaign


def leak_check(lake: "Lake", session: Transaction, campaign: Campaign) -> dict[str, Any]:
    """Count hold-out customers with an e-mail event of the campaign in its window.

    Returns: ``treatment`` and ``control``: customers of each group with such an event.
    ``understated``: by which share the real effect is larger than the measured one, at most; None
    if nobody got the e-mail by mistake, or everybody did.

    Notes
    -----
    If a share s of the hold-out group is treated, too, the difference of the groups is (1 − s) of
    the effect, provided that these customers respond like the others (non-compliance; Angrist,
    Imbens & Rubin 1996). So the effect is 1 / (1 − s) of the measured one.
    """
    start, end = campaign.sent_at, campaign.window_ends_at
    if start is None or end is None:
        return {"treatment": 0, "control": 0, "understated": None}
    events = lake.table("events", before=end, since=start)
    names = [campaign.id.lower(), campaign.name.lower()]
    is_named = events[NAMED_IN[0]].lower().isin(names)
    for column in NAMED_IN[1:]:
        is_named = is_named | events[column].lower().isin(names)
    seen = events.filter(
        events.event_type.isin(EMAIL_EVENTS), events.occurred_at >= naive(start), is_named
    )
    customers = set(seen.select("customer_id").distinct().execute()["customer_id"])
    arms = session.execute(
        select(Assignment.customer_id, Assignment.arm).where(Assignment.campaign_id == campaign.id)
    ).tuples()
    groups: dict[str, list[str]] = {"treatment": [], "control": []}
    for customer, arm in arms:
        groups.setdefault(arm, []).append(customer)
    found = {arm: len(customers.intersection(groups[arm])) for arm in ("treatment", "control")}
    share = found["control"] / len(groups["control"]) if groups["control"] else 0.0
    understated = share / (1 - share) if 0 < share < 1 else None
    return {**found, "understated": understated}
