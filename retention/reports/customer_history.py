"""What happened with one customer: risk over time, orders, and campaigns with their outcome."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, select

from retention.db import Transaction
from retention.db.tables import Assignment, Campaign, Cohort, Coupon, Send
from retention.lake.lake import naive
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_POINTS = 12  # past sweeps of the trend
MAX_ORDERS = 5
MAX_CAMPAIGNS = 3


def risk_trend(
    lake: "Lake", session: Transaction, customer_id: str, *, before: datetime, by_rules: bool
) -> list[dict[str, Any]]:
    """Return a customer's stored risk in past sweeps, oldest first.

    Ranks by rules and probabilities of a model are never mixed.

    Returns: ``at`` (ISO 8601) and ``risk``, at most `MAX_POINTS`, one per time.
    """
    cohorts = newest_lists(session, Cohort.as_of < before, limit=4 * MAX_POINTS)
    runs: dict[datetime, str] = {}
    for cohort in cohorts:
        if (cohort.model_version == "rules") == by_rules:
            runs.setdefault(cohort.as_of, cohort.run_id)
    points = []
    for as_of, run_id in sorted(runs.items())[-MAX_POINTS:]:
        scores = lake.scores(run_id)
        risks = scores.filter(scores.customer_id == customer_id).churn_probability.execute()
        if len(risks):
            points.append({"at": as_of.isoformat(), "risk": float(risks.iloc[0])})
    return points


def is_listed(lake: "Lake", session: Transaction, customer_id: str, until: datetime) -> bool:
    """Whether the newest list of the customers with most to lose has a customer."""
    lists = newest_lists(session, Cohort.as_of <= until, limit=4 * MAX_POINTS)
    newest = next((cohort for cohort in lists if not cohort.tiers), None)
    if newest is None:
        return False
    scores = lake.scores(newest.run_id)
    own = scores.filter(scores.customer_id == customer_id, scores.list_rank.notnull())
    return bool(own.count().execute())


def newest_lists(
    session: Transaction, *conditions: ColumnElement[bool], limit: int | None = None
) -> Iterable[Cohort]:
    """Return the newest lists of the whole shop that meet all conditions, newest first."""
    return session.scalars(
        select(Cohort)
        .where(Cohort.team_id == session.settings.team_id, Cohort.audience.is_(None), *conditions)
        .order_by(Cohort.as_of.desc(), Cohort.created_at.desc())
        .limit(limit)
    )


def last_orders(lake: "Lake", customer_id: str, before: datetime) -> list[dict[str, Any]]:
    """Return a customer's newest orders, newest first.

    `customer_id`: the customer; orders under merged ids count.
    Returns: ``at`` (ISO 8601), ``amount`` (None without amounts) and ``lines``, at most
    `MAX_ORDERS`.
    """
    events = lake.table("events", before=before)
    lines = events.filter(events.event_type == "purchase", events.customer_id == customer_id)
    frame = lines.select("order_id", "occurred_at", "amount").execute()
    if frame.empty:
        return []
    day = frame["occurred_at"].dt.floor("D").astype(str)
    key = frame["order_id"].astype("object").where(frame["order_id"].notna(), day)
    frame = frame.assign(key=key)
    amount = ("amount", lambda amounts: amounts.sum(min_count=1))
    orders = frame.groupby("key").agg(
        at=("occurred_at", "max"), amount=amount, lines=("occurred_at", "size")
    )
    newest = orders.sort_values("at", ascending=False).head(MAX_ORDERS)
    return [
        {
            "at": order.at.tz_localize("UTC").isoformat(),
            "amount": None if order.amount != order.amount else float(order.amount),
            "lines": int(order.lines),
        }
        for order in newest.itertuples()
    ]


def campaigns_of(
    lake: "Lake", session: Transaction, customer_ids: Sequence[str], now: datetime
) -> list[dict[str, Any]]:
    """Return what campaigns sent to a customer and what came of it, newest first.

    Returns: ``name``, ``at``, ``action``, ``arm``, ``outcome`` (code of `outcome_text`) and
    ``outcome_at``, at most `MAX_CAMPAIGNS`.
    """
    ids = list(customer_ids)
    rows = session.execute(
        select(Campaign, Assignment, Send, Coupon)
        .join(Assignment, Assignment.campaign_id == Campaign.id)
        .outerjoin(
            Send, (Send.campaign_id == Campaign.id) & (Send.customer_id == Assignment.customer_id)
        )
        .outerjoin(
            Coupon,
            (Coupon.campaign_id == Campaign.id) & (Coupon.customer_id == Assignment.customer_id),
        )
        .where(
            Campaign.team_id == session.settings.team_id,
            Campaign.sent_at.is_not(None),
            Assignment.customer_id.in_(ids),
            Assignment.arm != "audience",
        )
        .order_by(Campaign.sent_at.desc())
        .limit(MAX_CAMPAIGNS)
    ).tuples()
    listed = []
    for campaign, assignment, send, coupon in rows:
        outcome, at = _outcome(lake, campaign, assignment, send, coupon, ids, now)
        listed.append(
            {
                "name": campaign.name,
                "at": campaign.sent_at.isoformat() if campaign.sent_at else None,
                "action": assignment.offer.get("action", ""),
                "arm": assignment.arm,
                "outcome": outcome,
                "outcome_at": at.isoformat() if at else None,
            }
        )
    return listed


def outcome_text(outcome: str) -> str:
    """Return the words of an outcome code."""
    return {
        "redeemed": gettext("coupon redeemed"),
        "ordered": gettext("ordered"),
        "none": gettext("no order"),
        "not_sent": gettext("not delivered"),
        "waiting": gettext("waiting to be sent"),
    }[outcome]


def _outcome(
    lake: "Lake",
    campaign: Campaign,
    assignment: Assignment,
    send: Send | None,
    coupon: Coupon | None,
    ids: list[str],
    now: datetime,
) -> tuple[str, datetime | None]:
    if coupon is not None and coupon.redeemed_at is not None:
        return "redeemed", coupon.redeemed_at
    if assignment.arm == "treatment" and send is not None:
        if send.state in ("queued", "sending"):
            return "waiting", None
        if send.state in ("failed", "bounced", "cancelled", "held"):
            return "not_sent", None
    start, end = campaign.sent_at, min(campaign.window_ends_at or now, now)
    if start is None:
        return "none", None
    events = lake.table("events", before=end)
    orders = events.filter(
        events.event_type == "purchase",
        events.customer_id.isin(ids),
        events.occurred_at >= naive(start),
    )
    first = orders.occurred_at.min().execute()
    return ("none", None) if first is None or first != first else ("ordered", _utc(first))


def _utc(moment: Any) -> datetime:
    return moment.to_pydatetime().replace(tzinfo=UTC)
