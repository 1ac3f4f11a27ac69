"""Draft a campaign: audience, offers, items, cost and expected profit.

Only `store` writes.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import insert
from sqlalchemy.orm import Session

from retention.campaigns import item_selection, offers
from retention.campaigns.assignment import buckets, drawn_groups
from retention.campaigns.audience import (
    Audience,
    exclusion_reason,
    select_audience,
    silent_days,
)
from retention.campaigns.default_names import default_name
from retention.campaigns.draft_options import Option, choose_option, list_rest, of_tiers
from retention.campaigns.edits import Changes, apply_changes
from retention.campaigns.email_text import default_text
from retention.campaigns.item_selection import MergeItems
from retention.campaigns.margins import assumed_fields, average_margin
from retention.campaigns.offers import SuggestedItem
from retention.campaigns.overlap import find_overlaps
from retention.campaigns.spec import Body, DraftedFor, ListRest, Overlap, Prior
from retention.campaigns.targeting import affordable_count, describe_targeting, select_by_profit
from retention.campaigns.text_message import (
    expected_parts,
    sampled,
    sampled_terms,
    text_readers,
    with_parts,
    with_text_cost,
)
from retention.campaigns.versions import with_name
from retention.campaigns.view import version_data
from retention.db import Database
from retention.db.audit import record
from retention.db.tables import Assignment, Campaign, CampaignEditor, CampaignVersion
from retention.errors import BadInput
from retention.outreach.channels import CONSENT_COLUMN, EMAIL, is_text
from retention.outreach.contacts import find_contacts
from retention.progress import Progress, silent
from retention.risk.policy import Policy, reason_of
from retention.settings import Settings
from retention.templating import tier as tier_name
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake
    from retention.uplift.past_campaigns import UpliftModel, UpliftPrediction

MAX_NAMED = 3  # other campaigns in a message
LETTERS = "23456789abcdefghjkmnpqrstvwxyz"


SuggestItems = Callable[[list[str]], Mapping[str, Sequence[SuggestedItem]]]
AssignRecommender = Callable[["pd.DataFrame"], "pd.DataFrame"]


class EmptyAudience(BadInput):
    """Refuse a draft that nobody can get now."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A campaign that is not stored yet.

    ``rows`` has one `Assignment` per customer, without campaign columns.
    """

    campaign_id: str
    salt: str
    name: str
    cohort_id: str | None
    body: Body
    rows: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON of ``campaign draft``: counts and money, no customers."""
        return {
            "campaign_id": self.campaign_id,
            "name": self.name,
            "state": "draft",
            "version": 1,
            "cohort_id": self.cohort_id,
            **version_data(self.body, groups=drawn_groups(self.rows, self.body.holdout)),
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
    suggest_items: SuggestItems,
    recommended_by: str = "none",
    uplift: "UpliftModel | None" = None,
    predicted: "UpliftPrediction | None" = None,
    assign_recommender: AssignRecommender | None = None,
    merge_items: MergeItems | None = None,
    name: str | None = None,
    cohort_id: str | None = None,
    tier: str | None = None,
    may_widen: bool = False,
    only: Sequence[str] | None = None,
    listed: int | None = None,
    drafted_for: DraftedFor | None = None,
    channel: str = EMAIL,
    progress: Progress = silent,
) -> Draft:
    """Draft a campaign for the scored customers.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    policy : Policy
        The shop's policy.
    scores : DataFrame
        Input of `select_audience`.
    as_of : datetime
        Cutoff of the scores.
    model_version : str
        Version of the churn model.
    now : datetime
        Business time.
    prior : Prior
        Prior of the effect.
    suggest_items : SuggestItems
        Maps customer ids to recommended items.
    recommended_by : str, optional
        Version of the recommender.
    uplift : UpliftModel, optional
        What past campaigns taught, for the draft's description.
    predicted : UpliftPrediction, optional
        Its predictions for ``scores``. With them, expected profit selects the audience; otherwise
        risk × value does.
    assign_recommender : AssignRecommender, optional
        Sets ``rule``, recommender (``blend``), bandit ``arm`` and propensity of each customer in
        the audience.
    merge_items : MergeItems, optional
        Merges (customer, own items, recommended items, length) into one list that may be offered.
    name : str, optional
        Name of the campaign; by default that of `default_name`.
    cohort_id : str, optional
        Cohort that the scores come from.
    tier : str, optional
        Lowest risk tier of the audience. Without it, all of ``scores``.
    may_widen : bool, optional
        Take a wider tier if it is expected to earn more and can be measured.
    only : sequence of str, optional
        Customers to choose from; by default all.
    listed : int, optional
        Size of the saved audience or condition that ``scores`` are limited to.
    drafted_for : DraftedFor, optional
        The customers that were asked for, to store with the draft.
    channel : str, optional
        One of `retention.outreach.channels.MESSAGE_CHANNELS`. ``policy`` is that of
        `text_message.channel_policy`.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    Draft

    Raises
    ------
    EmptyAudience
        Nobody can get it.
    BadInput
        An offer breaks the policy's minimum margin.
    """
    progress(0, 4, gettext("choosing the audience"))
    margin, margin_known = average_margin(lake, as_of, policy.offer.margin)
    choose = _profit_selector(scores, predicted, policy, margin) if predicted else None

    def body_of(audience: Audience) -> Body:
        return _body(
            lake,
            settings,
            policy,
            audience,
            as_of,
            model_version,
            margin,
            margin_known,
            prior,
            uplift,
            channel,
        )

    def evaluate(lowest: str, candidates: "pd.DataFrame") -> Option:
        with database.reading() as session:
            selected = select_audience(
                lake,
                session,
                settings,
                policy,
                candidates,
                as_of=as_of,
                now=now,
                choose=choose,
                only=only,
                channel=channel,
            )
        fitting = _fit_to_budget(selected, policy, prior)
        return Option(lowest, fitting, body_of(fitting))

    chosen = (
        evaluate("low", scores)
        if tier is None
        else choose_option(scores, tier, policy, evaluate, may_widen=may_widen)
    )
    audience = chosen.audience
    if assign_recommender is not None and not audience.customers.empty:
        audience = replace(audience, customers=assign_recommender(audience.customers))
    costed = policy
    if is_text(channel) and not audience.customers.empty:
        costed = with_text_cost(lake, settings, policy, body_of(audience), audience.customers)
    audience = _fit_to_budget(audience, costed, prior)
    with database.reading() as session:
        overlaps = find_overlaps(
            lake, session, settings, set(audience.customers["customer_id"]), audience.in_campaigns
        )
    rest = None if listed is None else list_rest(scores, listed, chosen.tier, policy)
    if audience.customers.empty and rest is not None:
        raise EmptyAudience(_explain_empty_list(audience, chosen.tier, rest))
    if audience.customers.empty:
        number = len(scores if tier is None else of_tiers(scores, chosen.tier))
        number = number if only is None else len(only)
        raise EmptyAudience(_explain_empty_audience(audience, number, overlaps))
    progress(1, 4, gettext("costing the offers"))
    notes = {name: getattr(chosen.body, name) for name in ("holdout", "asked", "wider")}
    body = body_of(audience).model_copy(update=notes)
    body.check_offers()
    progress(2, 4, gettext("choosing items for each customer"))
    items, special_counts = _items(
        lake, policy, audience.customers, suggest_items, merge_items or _concatenate, now
    )
    lines = offers.offer_lines(audience.customers, policy, special_counts)
    example, untitled = _example_titles(audience.customers, body, items), _count_untitled(items)
    body = body.model_copy(
        update={
            "offers": lines,
            "example": example,
            "untitled": untitled,
            "scores_age_days": max((now - as_of).days, 0),
            "overlaps": overlaps,
            "rest": rest,
            "drafted_for": drafted_for,
        }
    )
    progress(3, 4, gettext("drawing the hold-out"))
    campaign_id = "c" + "".join(secrets.choice(LETTERS) for _ in range(6))
    salt = secrets.token_hex(16)
    own_category = offers.coupon_categories(lake, policy, audience.customers, now)
    rows = _rows(audience.customers, body, items, salt, campaign_id, recommended_by, own_category)
    contacts = find_contacts(lake, list(audience.customers["customer_id"]))
    silent = silent_days(lake, list(audience.customers["customer_id"]), now)
    if is_text(channel):
        readers = text_readers(contacts.get(row["customer_id"]) for row in sampled(rows))
        body = body.model_copy(update={"readers": readers})
        body = with_parts(settings, body, sampled_terms(rows))
    for row in rows:
        contact = contacts.get(row["customer_id"])
        row["offer"]["named"] = bool(contact and contact.name.strip())
        if (days := silent.get(row["customer_id"])) is not None:
            row["offer"]["silent_days"] = days  # the default text follows it
    if "blend" in audience.customers:
        tried = int((audience.customers["blend"] != policy.recommend.policy).sum())
        body = body.model_copy(update={"tried": tried})
    for row, chance in zip(rows, _propensities(audience.customers), strict=True):
        row["offer"] |= chance
    name = name or default_name(body, now.astimezone(settings.zone))
    return Draft(campaign_id, salt, name, cohort_id, body, rows)


def with_changes(drafted: Draft, changes: Changes, zone: ZoneInfo, now: datetime) -> Draft:
    """Change the offers of a draft before it is stored.

    Parameters
    ----------
    drafted : Draft
        The draft.
    changes : Changes
        Values to change, as in an edit.
    zone : ZoneInfo
        The shop's time zone.
    now : datetime
        Business time.

    Returns
    -------
    Draft

    Raises
    ------
    BadInput
        A value is not allowed.
    """
    body = apply_changes(drafted.body, changes, zone, now)
    line_of = {line.rule: line for line in body.offers}
    rows = [
        {**row, "offer": offers.changed_offer(row["offer"], line_of[row["offer"]["rule"]])}
        for row in drafted.rows
    ]
    return replace(drafted, body=body, rows=rows)


def store(
    session: Session,
    settings: Settings,
    drafted: Draft,
    *,
    author: str,
    channel: str | None,
    post_key: str,
    now: datetime,
) -> Campaign:
    """Store a draft as version 1 with its audience.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    drafted : Draft
        The draft.
    author : str
        Author.
    channel : str or None
        Slack channel of the campaign.
    post_key : str
        Key of the campaign's message.
    now : datetime
        Business time.

    Returns
    -------
    Campaign
    """
    body = with_name(drafted.body, drafted.name, drafted.campaign_id)
    stored = body.model_dump(mode="json")
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
        drafted_by=author,
        created_at=now,
    )
    session.add(campaign)
    session.flush()
    session.add(CampaignVersion(**shared, version=1, body=stored, edited_by=author, edited_at=now))
    session.add(CampaignEditor(**shared, user_id=author))
    session.execute(insert(Assignment), [{**row, **shared} for row in drafted.rows])
    record(
        session,
        settings,
        author,
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


def _profit_selector(
    scores: "pd.DataFrame", predicted: "UpliftPrediction", policy: Policy, margin: float
) -> Callable[["pd.DataFrame"], Audience]:
    """Build a selector that ranks customers by expected profit."""
    position = dict(zip(scores["customer_id"], range(len(scores)), strict=True))

    def chosen(customers: "pd.DataFrame") -> Audience:
        rows = customers["customer_id"].map(position).to_numpy(int)
        return select_by_profit(customers, predicted.of(rows), policy, margin)

    return chosen


def _fit_to_budget(audience: Audience, policy: Policy, prior: Prior) -> Audience:
    """Cut the audience to the policy's budget.

    Selection by profit already fits, except for rounding of the hold-out and redrawn offers.
    """
    affordable = affordable_count(audience.customers, policy, prior.mean)
    if not (excess := len(audience.customers) - affordable):
        return audience
    excess += audience.excluded.get("beyond_budget", 0)
    return replace(
        audience,
        customers=audience.customers.head(affordable),
        excluded={**audience.excluded, "beyond_budget": excess},
    )


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
    uplift: "UpliftModel | None",
    channel: str,
) -> Body:
    rules = policy.campaign
    actions = [rule.action for rule in policy.rules]
    assumed = assumed_fields(lake, "customers", (CONSENT_COLUMN[channel],))
    assumed += assumed_fields(lake, "items", ("margin", "in_stock")) if margin_known else ["margin"]
    body = Body(
        as_of=as_of,
        model_version=model_version,
        currency=lake.currency(settings),
        audience=len(audience.customers),
        tiers={tier: int(n) for tier, n in audience.customers["tier"].value_counts().items()},
        excluded=audience.excluded,
        offers=offers.offer_lines(audience.customers, policy, {}),
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
        targeting=describe_targeting(uplift),
        assumed=tuple(assumed),
        message_channel=channel,
        parts=expected_parts(settings, channel, actions) if is_text(channel) else 1,
    )
    text = default_text(body.copy_action, settings, channel)
    return with_parts(settings, body.model_copy(update={"copy_text": text}))


def _items(
    lake: "Lake",
    policy: Policy,
    customers: "pd.DataFrame",
    suggest_items: SuggestItems,
    merge_items: MergeItems,
    now: datetime,
) -> tuple[dict[str, Sequence[SuggestedItem]], dict[str, int]]:
    """Items per customer, and customers with special items per rule.

    Special items (due again, new arrivals) come first.
    """
    k = policy.offer.items
    if not k:
        return {}, {}
    items: dict[str, Sequence[SuggestedItem]] = dict(suggest_items(list(customers["customer_id"])))
    special_counts: dict[str, int] = {}
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
        special_counts[name] = 0
        for customer_id, special_items in special.items():
            items[customer_id] = merge_items(
                customer_id, special_items, items.get(customer_id, ()), k
            )
            special_counts[name] += any(item in items[customer_id] for item in special_items)
    return items, special_counts


def _concatenate(_who: str, special: Sequence[Any], rest: Sequence[Any], k: int) -> list[Any]:
    special_ids = {item.item_id for item in special}
    return [*special, *(item for item in rest if item.item_id not in special_ids)][:k]


def _example_titles(
    customers: "pd.DataFrame", body: Body, items: Mapping[str, Sequence[SuggestedItem]]
) -> tuple[str, ...]:
    """Item titles of the first customer with the campaign's own text."""
    rules = [line.rule for line in body.offers if line.action == body.copy_action]
    example = customers.loc[customers["rule"].isin(rules), "customer_id"].head(1)
    return tuple(
        item.title
        for customer_id in example
        for item in items.get(customer_id, ())
        if item.title != item.item_id
    )


def _count_untitled(items: Mapping[str, Sequence[SuggestedItem]]) -> int:
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
    items: Mapping[str, Sequence[SuggestedItem]],
    salt: str,
    campaign_id: str,
    recommended_by: str,
    category: Mapping[str, str],
) -> list[dict[str, Any]]:
    line_of = {offer.rule: offer for offer in body.offers}
    bucket_of = buckets(
        salt, campaign_id, zip(customers["customer_id"], customers["tier"], strict=True)
    )
    return [
        {
            "customer_id": row.customer_id,
            "arm": "audience",
            "bucket": bucket_of[row.customer_id],
            "tier": row.tier,
            "churn_probability": float(row.churn_probability),
            "expected_value": float(row.expected_value)
            if row.expected_value == row.expected_value
            else 0.0,
            "offer": {
                **offers.stored_offer(
                    line_of[row.rule],
                    items.get(row.customer_id, ()),
                    body.currency,
                    recommended_by,
                    category.get(row.customer_id),
                ),
                "consent": list(row.consent_states),
                "segment": {
                    "value": row.value,
                    "reason": reason_of(row.features[0]) if row.features else "none",
                },
            },
        }
        for row in customers.itertuples(index=False)
    ]


def _propensities(customers: "pd.DataFrame") -> list[dict[str, Any]]:
    """Bandit arm and propensity per customer; empty without one."""
    if "propensity" not in customers:
        return [{}] * len(customers)
    return [
        # "arm" is stored: the arm of the recommender bandit, not the group
        {"arm": arm, "propensity": float(chance)} if chance == chance else {}
        for arm, chance in zip(customers["arm"], customers["propensity"], strict=True)
    ]


def _explain_empty_list(audience: Audience, tier: str, rest: ListRest) -> str:
    """Say why a draft for a list takes nobody of it, and which tier would."""
    others = [
        gettext("{number:,} at {tier} risk").format(number=number, tier=tier_name(lower))
        for lower, number in rest.lower.items()
    ]
    if rest.unscored:
        others.append(gettext("{number:,} without recent orders").format(number=rest.unscored))
    excluded = [
        f"{exclusion_reason(code)}: {number:,}" for code, number in audience.excluded.items()
    ]
    return gettext(
        "Nobody of the list's {listed:,} customers is at {tier} risk and can be written to "
        "({others}). {advice}"
    ).format(
        listed=rest.listed,
        tier=tier_name(tier),
        others=", ".join([*others, *excluded]),
        advice=gettext("Give --tier {tier} to include more.").format(tier=rest.tier)
        if rest.tier
        else gettext("The policy has no offer for the others."),
    )


def _explain_empty_audience(
    audience: Audience, scored: int, overlaps: Sequence[Overlap] = ()
) -> str:
    if not scored:
        return gettext(
            "The list is empty, so there is nobody to write to; make a list with another risk."
        )
    reasons = ", ".join(
        f"{exclusion_reason(code)}: {number:,}" for code, number in audience.excluded.items()
    )
    if overlaps:
        names = ", ".join(repr(overlap.name) for overlap in overlaps[:MAX_NAMED])
        reasons += gettext("; campaigns: {names}").format(names=names)
    if scored == 1:
        return gettext("This customer gets no offer now ({reasons}).").format(reasons=reasons)
    return gettext(
        "Nobody of the list's {scored:,} customers can be written to ({reasons}); make a new list "
        "or change the policy."
    ).format(scored=scored, reasons=reasons)
