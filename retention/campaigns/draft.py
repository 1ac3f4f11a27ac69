"""Draft a campaign: audience, offer by rule, recommended items, cost and what may come of it. Writes nothing but `store`."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from retention.campaigns import item_selection, offers, wording
from retention.campaigns.assignment import buckets
from retention.campaigns.audience import EXCLUSIONS, Audience, select_audience
from retention.campaigns.item_selection import Together
from retention.campaigns.offers import Suggested
from retention.campaigns.spec import Body, Prior
from retention.campaigns.targeting import affordable, by_profit, told
from retention.campaigns.view import said
from retention.db import Database
from retention.db.audit import record
from retention.db.tables import Assignment, Campaign, CampaignEditor, CampaignVersion
from retention.errors import BadInput
from retention.lake.lake import naive
from retention.progress import Progress, silent
from retention.risk.policy import Policy, reason_of
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake
    from retention.uplift.experiments import Uplift

MARGIN_DAYS = 56  # sales of so many days say what the average margin is
LETTERS = "23456789abcdefghjkmnpqrstvwxyz"


Suggest = Callable[[list[str]], Mapping[str, Sequence[Suggested]]]
Decide = Callable[["pd.DataFrame"], "pd.DataFrame"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A campaign that is not stored yet. ``rows``: one of `Assignment` for each customer, without the campaign."""

    campaign_id: str
    salt: str
    name: str
    cohort_id: str | None
    body: Body
    rows: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """What ``campaign draft --json`` prints: counts and money, no customer."""
        return {
            "campaign_id": self.campaign_id,
            "name": self.name,
            "state": "draft",
            "version": 1,
            "cohort_id": self.cohort_id,
            **said(self.body),
        }


def draft(
    lake: "Lake",
    database: Database,
    settings: Settings,
    policy: Policy,
    scores: "pd.DataFrame",
    *,
    as_of: datetime,
    model_version: str,
    now: datetime,
    prior: Prior,
    suggest: Suggest,
    recommended_by: str = "none",
    uplift: "Uplift | None" = None,
    decide: Decide | None = None,
    together: Together | None = None,
    name: str | None = None,
    cohort_id: str | None = None,
    progress: Progress = silent,
) -> Draft:
    """Draft a campaign for the scored customers.

    Parameters
    ----------
    scores : DataFrame
        As `select_audience` takes them.
    prior : Prior
        What is believed of the effect.
    suggest : callable
        Customer ids → recommended items of each.
    recommended_by : str
        The version of the model that recommends.
    uplift : Uplift, optional
        What past campaigns teach; with a learner it chooses the audience, else risk × value does.
    decide : callable, optional
        The audience → the same with each customer's ``rule`` as decided, its ``arm`` and the chance it was drawn with.
    together : callable, optional
        Customer, items of their action's own kind, their list, its length → what of both may be offered to them.

    Raises
    ------
    BadInput
        Nobody is left to write to (the sentence says why), or the policy's offers would sell below its own margin.
    """
    progress(0, 4, "choosing the audience")
    margin, margin_known = average_margin(lake, as_of, policy.offer.margin)
    choose = (
        _persuadable(lake, uplift, policy, margin, as_of) if uplift and uplift.learner else None
    )
    with database.reading() as session:
        audience = select_audience(
            lake, session, settings, policy, scores, as_of=as_of, now=now, choose=choose
        )
    if decide is not None and not audience.customers.empty:
        audience = replace(audience, customers=decide(audience.customers))
    audience = _paid_for(audience, policy, prior)
    if audience.customers.empty:
        raise BadInput(_nobody(audience, len(scores)))
    progress(1, 4, "costing the offers")
    body = _body(
        lake, settings, policy, audience, as_of, model_version, margin, margin_known, prior, uplift
    )
    body.check_offers()
    progress(2, 4, "choosing items for each customer")
    items, own = _items(lake, policy, audience.customers, suggest, together or _joined, now)
    lines = offers.lines(audience.customers, policy, own)
    example, untitled = _example(audience.customers, body, items), _untitled(items)
    body = body.model_copy(update={"offers": lines, "example": example, "untitled": untitled})
    progress(3, 4, "drawing the hold-out")
    campaign_id = "c" + "".join(secrets.choice(LETTERS) for _ in range(6))
    salt = secrets.token_hex(16)
    own_category = offers.categories(lake, policy, audience.customers, now)
    rows = _rows(audience.customers, body, items, salt, campaign_id, recommended_by, own_category)
    if "blend" in audience.customers:
        tried = int((audience.customers["blend"] != policy.recommend.policy).sum())
        body = body.model_copy(update={"tried": tried})
    for row, chance in zip(rows, _chances(audience.customers), strict=True):
        row["offer"] |= chance
    tiers = ", ".join(tier for tier in ("high", "medium", "low") if tier in body.tiers)
    tiers = " and ".join(tiers.rsplit(", ", 1))
    return Draft(
        campaign_id,
        salt,
        name
        or f"{tiers.capitalize()} risk, {now.astimezone(settings.zone):%d %b %Y}".replace(
            ", 0", ", "
        ),
        cohort_id,
        body,
        rows,
    )


def store(
    session: Session,
    settings: Settings,
    drafted: Draft,
    *,
    by: str,
    channel: str | None,
    post_key: str,
    now: datetime,
) -> Campaign:
    """Store a draft as version 1, with its audience, its author and an audit row."""
    stored = drafted.body.model_dump(mode="json")
    shared = {"team_id": settings.team_id, "campaign_id": drafted.campaign_id}
    campaign = Campaign(
        id=drafted.campaign_id,
        team_id=settings.team_id,
        name=drafted.name,
        cohort_id=drafted.cohort_id,
        channel=channel,
        post_key=post_key,
        body=stored,
        salt=drafted.salt,
        drafted_by=by,
        created_at=now,
    )
    session.add(campaign)
    session.flush()
    session.add(CampaignVersion(**shared, version=1, body=stored, edited_by=by, edited_at=now))
    session.add(CampaignEditor(**shared, user_id=by))
    session.execute(insert(Assignment), [{**row, **shared} for row in drafted.rows])
    record(
        session,
        settings,
        by,
        "campaign.draft",
        drafted.campaign_id,
        now,
        {
            "version": 1,
            "to": "draft",
            "cohort": drafted.cohort_id,
            "audience": drafted.body.audience,
        },
    )
    return campaign


def average_margin(lake: "Lake", before: datetime, default: float) -> tuple[float, bool]:
    """Margin as a share of recent sales, and whether the items themselves said so (else it is the policy's)."""
    events, items = lake.table("events", before), lake.table("items")
    recent = events.filter(
        events.event_type == "purchase",
        events.occurred_at >= naive(before - timedelta(days=MARGIN_DAYS)),
    )
    sold = recent.join(items, recent.item_id == items.item_id).select(recent.amount, items.margin)
    sold = sold.filter(sold.margin.notnull(), sold.amount > 0)
    sums = (
        sold.aggregate(sales=sold.amount.sum(), earned=(sold.amount * sold.margin).sum())
        .execute()
        .iloc[0]
    )
    if not sums["sales"] or sums["sales"] != sums["sales"]:
        return default, False
    return float(sums["earned"] / sums["sales"]), True


def assumed_fields(lake: "Lake", table: str, wanted: Sequence[str]) -> list[str]:
    """Which of the ``wanted`` columns were made up, as the rows' ``attributes`` say."""
    import json

    attributes = lake.table(table).select("attributes")
    texts = (
        attributes.filter(attributes.attributes.contains('"assumed"'))
        .distinct()
        .limit(200)
        .execute()
    )
    named = {field for text in texts["attributes"] for field in json.loads(text).get("assumed", [])}
    return [field for field in wanted if field in named]


def _persuadable(
    lake: "Lake", uplift: "Uplift", policy: Policy, margin: float, as_of: datetime
) -> Callable[["pd.DataFrame"], Audience]:
    """Who of the customers earns most by which offer, by the uplift that past campaigns taught."""

    def chosen(customers: "pd.DataFrame") -> Audience:
        own = uplift.predict(lake, customers["customer_id"], as_of, policy.campaign.window_days)
        return by_profit(customers, own, policy, margin)

    return chosen


def _paid_for(audience: Audience, policy: Policy, prior: Prior) -> Audience:
    """As many of the audience, those first who matter most, as the policy's budget pays for, by the count of `Body.plan`.

    Who were chosen by profit fit into it already, but for the hold-out's rounding and offers that were drawn anew.
    """
    paid = affordable(audience.customers, policy, prior.mean)
    if not (beyond := len(audience.customers) - paid):
        return audience
    beyond += audience.excluded.get("beyond_budget", 0)
    return Audience(audience.customers.head(paid), {**audience.excluded, "beyond_budget": beyond})


def _body(
    lake: "Lake",
    settings: Settings,
    policy: Policy,
    audience: Audience,
    as_of: datetime,
    model_version: str,
    margin: float,
    margin_known: bool,
    prior: Prior,
    uplift: "Uplift | None",
) -> Body:
    rules = policy.campaign
    assumed = assumed_fields(lake, "customers", ("marketing_consent",))
    assumed += assumed_fields(lake, "items", ("margin", "in_stock")) if margin_known else ["margin"]
    body = Body(
        as_of=as_of,
        model_version=model_version,
        currency=lake.currency(settings),
        audience=len(audience.customers),
        tiers={tier: int(n) for tier, n in audience.customers["tier"].value_counts().items()},
        excluded=audience.excluded,
        offers=offers.lines(audience.customers, policy, {}),
        holdout=rules.holdout,
        expires_days=policy.offer.expires_days,
        copy_text="",
        margin=margin,
        redemption=policy.offer.redemption,
        contact_cost=policy.offer.contact_cost,
        min_margin=rules.min_margin,
        budget=rules.budget,
        most_budget=rules.budget,
        shipping_cost=policy.offer.shipping_cost,
        window_days=rules.window_days,
        clearance_hours=rules.clearance_hours,
        approval_expires_hours=rules.approval_expires_hours,
        remind_hours=rules.reminder,
        quiet_hours=rules.quiet_hours,
        second_approver=policy.second_approver,
        prior=prior,
        targeting=told(uplift),
        assumed=tuple(assumed),
    )
    return body.model_copy(update={"copy_text": wording.default(body.copy_action)})


def _items(
    lake: "Lake",
    policy: Policy,
    customers: "pd.DataFrame",
    suggest: Suggest,
    together: Together,
    now: datetime,
) -> tuple[dict[str, Sequence[Suggested]], dict[str, int]]:
    """Each customer's items, those of their action's own kind first; and how many customers of a rule have one."""
    k = policy.offer.items
    if not k:
        return {}, {}
    found: dict[str, Sequence[Suggested]] = dict(suggest(list(customers["customer_id"])))
    own: dict[str, int] = {}
    for name in customers["rule"].unique():
        rule = policy.rule(name)
        ids = list(customers.loc[customers["rule"] == name, "customer_id"])
        if rule is None or rule.action not in ("reminder", "new_arrivals"):
            continue
        special = (
            item_selection.due_again(lake, ids, now, k)
            if rule.action == "reminder"
            else item_selection.new_arrivals(lake, ids, now, k, policy.offer.new_days)
        )
        own[name] = 0
        for who, first in special.items():
            found[who] = together(who, first, found.get(who, ()), k)
            own[name] += any(item in found[who] for item in first)
    return found, own


def _joined(_who: str, first: Sequence[Any], rest: Sequence[Any], k: int) -> list[Any]:
    had = {item.item_id for item in first}
    return [*first, *(item for item in rest if item.item_id not in had)][:k]


def _example(
    customers: "pd.DataFrame", body: Body, items: Mapping[str, Sequence[Suggested]]
) -> tuple[str, ...]:
    """The titles of the first customer's items for whom the campaign's own text is; nobody is named."""
    rules = [line.rule for line in body.offers if line.action == body.copy_action]
    first = customers.loc[customers["rule"].isin(rules), "customer_id"].head(1)
    return tuple(
        item.title for who in first for item in items.get(who, ()) if item.title != item.item_id
    )


def _untitled(items: Mapping[str, Sequence[Suggested]]) -> int:
    return len(
        {
            item.item_id
            for offered in items.values()
            for item in offered
            if item.title == item.item_id
        }
    )


def _rows(
    customers: "pd.DataFrame",
    body: Body,
    items: Mapping[str, Sequence[Suggested]],
    salt: str,
    campaign_id: str,
    recommended_by: str,
    category: Mapping[str, str],
) -> list[dict[str, Any]]:
    line = {offer.rule: offer for offer in body.offers}
    drawn = buckets(
        salt, campaign_id, zip(customers["customer_id"], customers["tier"], strict=True)
    )
    return [
        {
            "customer_id": row.customer_id,
            "arm": "audience",
            "bucket": drawn[row.customer_id],
            "tier": row.tier,
            "churn_probability": float(row.churn_probability),
            "expected_value": float(row.expected_value)
            if row.expected_value == row.expected_value
            else 0.0,
            "offer": {
                **offers.given(
                    line[row.rule],
                    items.get(row.customer_id, ()),
                    body.currency,
                    recommended_by,
                    category.get(row.customer_id),
                ),
                "consent": list(row.asks),
                "segment": {
                    "value": row.value,
                    "reason": reason_of(row.features[0]) if row.features else "none",
                },
            },
        }
        for row in customers.itertuples(index=False)
    ]


def _chances(customers: "pd.DataFrame") -> list[dict[str, Any]]:
    """The arm and its chance for each customer; empty for who has none."""
    if "propensity" not in customers:
        return [{}] * len(customers)
    return [
        {"arm": arm, "propensity": float(chance)} if chance == chance else {}
        for arm, chance in zip(customers["arm"], customers["propensity"], strict=True)
    ]


def _nobody(audience: Audience, found: int) -> str:
    if not found:
        return "The cohort is empty, so there is nobody to write to; run a sweep with another tier."
    why = ", ".join(
        f"{EXCLUSIONS[reason]}: {number:,}" for reason, number in audience.excluded.items()
    )
    return f"Nobody of the cohort's {found:,} customers can be written to ({why}); sweep again or change the policy."
