"""Draft a campaign: audience, offers, items, cost and expected profit.

Only `store` writes.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isnan
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import insert

from retention.campaigns.codes.shop_code_queue import unmade_actions
from retention.campaigns.lifecycle.edits import Changes, apply_changes
from retention.campaigns.lifecycle.spec import Body, DraftedFor, ListRest, Overlap, Prior
from retention.campaigns.lifecycle.versions import store_version, with_name
from retention.campaigns.lifecycle.view import version_data
from retention.campaigns.message import text_message
from retention.campaigns.message.wording import default_text
from retention.campaigns.planning import due_and_new_items, offer_terms
from retention.campaigns.planning.assignment import buckets, drawn_groups
from retention.campaigns.planning.audience import (
    Audience,
    Selection,
    exclusion_reason,
    find_overlaps,
    select_audience,
    silent_days,
)
from retention.campaigns.planning.due_and_new_items import MergeItems
from retention.campaigns.planning.offer_terms import SuggestedItem
from retention.campaigns.planning.product_details import assumed_fields, average_margin
from retention.campaigns.planning.requested_terms import default_name
from retention.campaigns.planning.targeting import (
    affordable_count,
    describe_targeting,
    select_by_profit,
)
from retention.campaigns.planning.tier_choice import Option, choose_option, list_rest, of_tiers
from retention.db import Database, Transaction
from retention.db.audit import record
from retention.db.tables import Assignment, Campaign
from retention.errors import BadInput
from retention.outreach.adapter import CONSENT_COLUMN, EMAIL, MessageChannel, is_text
from retention.outreach.contacts import find_contacts
from retention.progress import Progress
from retention.risk.policy import Policy
from retention.risk.strategy import WIN_BACK, reason_of
from retention.settings import Settings
from retention.templating import tier as tier_name
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake
    from retention.uplift.past_campaigns import UpliftModel, UpliftPrediction

MAX_NAMED = 3  # other campaigns in a message
LETTERS = "23456789abcdefghjkmnpqrstvwxyz"


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


@dataclass(frozen=True, slots=True)
class Scored:
    """The scored customers of a draft.

    ``frame``: input of `select_audience`, of time ``as_of``. ``tier``: lowest risk tier of the
    audience; None: all of the frame. ``listed``: size of the saved audience or condition that the
    frame is limited to, and ``audience`` the name of a list's. ``not_of_kind``: customers that were
    asked for and that the kind of campaign is not for.
    """

    frame: "pd.DataFrame"
    as_of: datetime
    model_version: str
    tier: str | None
    audience: str | None = None
    listed: int | None = None
    not_of_kind: int = 0


@dataclass(frozen=True, slots=True)
class Learnt:
    """What past campaigns and models say about a draft's customers.

    ``predicted``: predictions of ``uplift`` for the scores. With them, expected profit selects the
    audience; otherwise risk × value does. ``assign``: sets ``rule``, recommender (``blend``),
    bandit ``arm`` and propensity of each customer in the audience.
    """

    prior: Prior
    uplift: "UpliftModel"
    predicted: "UpliftPrediction | None"
    suggest: Callable[[list[str]], Mapping[str, Sequence[SuggestedItem]]]
    assign: Callable[["pd.DataFrame"], "pd.DataFrame"] | None
    merge: MergeItems
    recommended_by: str = "none"


@dataclass(frozen=True, slots=True)
class DraftOptions:
    """What a person asked of a draft.

    ``channel``: one of `retention.outreach.adapter.MESSAGE_CHANNELS`. ``most_budget``: the limit of
    later edits.
    """

    now: datetime
    drafted_for: DraftedFor
    most_budget: float
    name: str | None = None
    cohort_id: str | None = None
    may_widen: bool = False
    channel: MessageChannel = EMAIL


def draft(
    lake: "Lake",
    database: Database,
    policy: Policy,
    scored: Scored,
    learnt: Learnt,
    options: DraftOptions,
    progress: Progress,
) -> Draft:
    """Draft a campaign for the scored customers.

    `policy`: that of `text_message.channel_policy`.
    """
    settings = database.settings
    progress(0, 4, gettext("choosing the audience"))
    settings, scores, now, prior = database.settings, scored.frame, options.now, learnt.prior
    one = options.drafted_for.customer_id
    empty = _empty_body(lake, settings, policy, scored, learnt, options)
    selection = Selection(
        scored.as_of,
        now,
        options.channel,
        only=None if one is None else (one,),
        choose=_profit_selector(scores, learnt.predicted, policy, empty.margin),
        kind=options.drafted_for.kind,
    )

    def body_of(audience: Audience) -> Body:
        return _filled(settings, empty, audience, policy)

    def evaluate(lowest: str, candidates: "pd.DataFrame") -> Option:
        with database.reading() as session:
            selected = select_audience(lake, session, policy, candidates, selection)
        fitting = _fit_to_budget(selected, policy, prior)
        return Option(lowest, fitting, body_of(fitting))

    if scored.tier is None:
        chosen = evaluate("low", scores)
    else:
        chosen = choose_option(scores, scored.tier, policy, evaluate, may_widen=options.may_widen)
    audience = chosen.audience
    if learnt.assign is not None and not audience.customers.empty:
        audience = replace(audience, customers=learnt.assign(audience.customers))
    costed = policy
    if is_text(options.channel) and not audience.customers.empty:
        costed = text_message.with_text_cost(
            lake, settings, policy, body_of(audience), audience.customers
        )
    audience = _fit_to_budget(audience, costed, prior)
    customers = audience.customers
    ids = list(customers["customer_id"])
    with database.reading() as session:
        overlaps = find_overlaps(lake, session, set(ids), audience.in_campaigns)
        unmade = unmade_actions(session, {rule.action for rule in policy.rules})
    listed = scored.listed
    rest = None if listed is None else list_rest(scores, listed, chosen.tier, policy)
    if customers.empty and rest is not None:
        raise EmptyAudience(_explain_empty_list(audience, chosen.tier, rest))
    if customers.empty and empty.kind != WIN_BACK:
        excluded = {"not_of_kind": scored.not_of_kind, **audience.excluded}
        raise EmptyAudience(_explain_empty_kind(excluded))
    if customers.empty:
        number = len(scores if scored.tier is None else of_tiers(scores, chosen.tier))
        number = number if one is None else 1
        raise EmptyAudience(_explain_empty_audience(audience, number, overlaps))
    progress(1, 4, gettext("costing the offers"))
    notes = {name: getattr(chosen.body, name) for name in ("holdout", "asked", "wider")}
    body = body_of(audience).model_copy(update=notes)
    body.check_offers()
    progress(2, 4, gettext("choosing items for each customer"))
    items, special_counts = _items(lake, policy, customers, learnt, now)
    update = {
        "offers": offer_terms.offer_lines(customers, policy, special_counts),
        "example": _example_titles(customers, body, items),
        "untitled": _count_untitled(items),
        "scores_age_days": max((now - scored.as_of).days, 0),
        "overlaps": overlaps,
        "unmade": unmade,
        "rest": rest,
        "drafted_for": options.drafted_for,
        "most_budget": options.most_budget,
    }
    if scored.not_of_kind:
        update["excluded"] = {"not_of_kind": scored.not_of_kind, **body.excluded}
    if "blend" in customers:
        update["tried"] = int((customers["blend"] != policy.recommend.policy).sum())
    body = body.model_copy(update=update)
    progress(3, 4, gettext("drawing the hold-out"))
    campaign_id = "c" + "".join(secrets.choice(LETTERS) for _ in range(6))
    salt = secrets.token_hex(16)
    own_category = offer_terms.coupon_categories(lake, policy, customers, now)
    bucket_of = buckets(salt, campaign_id, zip(ids, customers["tier"], strict=True))
    rows = _rows(customers, body, items, bucket_of, learnt.recommended_by, own_category)
    contacts, silent = find_contacts(lake, ids), silent_days(lake, ids, now)
    if is_text(options.channel):
        readers = text_message.text_readers(
            contacts.get(row["customer_id"]) for row in text_message.sampled(rows)
        )
        body = body.model_copy(update={"readers": readers})
        body = text_message.with_parts(settings, body, text_message.sampled_terms(rows))
    for row, chance in zip(rows, _propensities(customers), strict=True):
        contact = contacts.get(row["customer_id"])
        row["offer"]["named"] = bool(contact and contact.name.strip())
        if (days := silent.get(row["customer_id"])) is not None:
            row["offer"]["silent_days"] = days  # the default text follows it
        row["offer"] |= chance
    name = options.name or default_name(body, now.astimezone(settings.zone))
    return Draft(campaign_id, salt, name, options.cohort_id, body, rows)


def with_changes(drafted: Draft, changes: Changes, zone: ZoneInfo, now: datetime) -> Draft:
    """Change the offers of a draft before it is stored."""
    body = apply_changes(drafted.body, changes, zone, now)
    line_of = {line.rule: line for line in body.offers}
    rows = [
        {**row, "offer": offer_terms.changed_offer(row["offer"], line_of[row["offer"]["rule"]])}
        for row in drafted.rows
    ]
    return replace(drafted, body=body, rows=rows)


def store(
    session: Transaction,
    drafted: Draft,
    *,
    author: str,
    channel: str | None,
    post_key: str,
    now: datetime,
) -> Campaign:
    """Store a draft as version 1 with its audience."""
    body = with_name(drafted.body, drafted.name, drafted.campaign_id)
    shared = {"team_id": session.settings.team_id, "campaign_id": drafted.campaign_id}
    campaign = Campaign(
        id=drafted.campaign_id,
        team_id=session.settings.team_id,
        name=drafted.name,
        cohort_id=drafted.cohort_id,
        channel=channel,
        post_key=post_key,
        body=body.model_dump(mode="json"),
        salt=drafted.salt,
        drafted_by=author,
        created_at=now,
    )
    session.add(campaign)
    session.flush()
    store_version(session, campaign, author, now)
    session.execute(insert(Assignment), [{**row, **shared} for row in drafted.rows])
    counted = {"cohort": drafted.cohort_id, "audience": drafted.body.audience}
    details = {"version": 1, "to": "draft", **counted}
    record(session, author, "campaign.draft", campaign.id, now, details)
    return campaign


def _profit_selector(
    scores: "pd.DataFrame", predicted: "UpliftPrediction | None", policy: Policy, margin: float
) -> Callable[["pd.DataFrame"], Audience] | None:
    """Build a selector that ranks customers by expected profit; None without predictions."""
    if predicted is None:
        return None
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


def _empty_body(
    lake: "Lake",
    settings: Settings,
    policy: Policy,
    scored: Scored,
    learnt: Learnt,
    options: DraftOptions,
) -> Body:
    """The version before its audience is known."""
    rules, offer, channel = policy.campaign, policy.offer, options.channel
    margin, margin_known = average_margin(lake, scored.as_of, offer.margin)
    assumed = assumed_fields(lake, "customers", (CONSENT_COLUMN[channel],))
    assumed += assumed_fields(lake, "items", ("margin", "in_stock")) if margin_known else ["margin"]
    actions = [rule.action for rule in policy.rules]
    same = ("holdout", "min_margin", "budget", "window_days", "clearance_hours", "quiet_hours")
    return Body(
        kind=options.drafted_for.kind,
        as_of=scored.as_of,
        model_version=scored.model_version,
        currency=lake.currency(settings),
        audience=0,
        tiers={},
        excluded={},
        offers=(),
        copy_text="",
        margin=margin,
        approval_expires_hours=rules.approval_expires_hours,
        remind_hours=rules.reminder,
        **{name: getattr(rules, name) for name in same},
        **offer.model_dump(include={"expires_days", "redemption", "contact_cost", "shipping_cost"}),
        second_approver=policy.second_approver,
        prior=learnt.prior,
        targeting=describe_targeting(learnt.uplift),
        assumed=tuple(assumed),
        message_channel=channel,
        parts=text_message.expected_parts(settings, channel, actions) if is_text(channel) else 1,
    )


def _filled(settings: Settings, empty: Body, audience: Audience, policy: Policy) -> Body:
    """The version with its audience, and the default text for their offers."""
    customers = audience.customers
    update = {
        "audience": len(customers),
        "tiers": {tier: int(n) for tier, n in customers["tier"].value_counts().items()},
        "excluded": audience.excluded,
        "offers": offer_terms.offer_lines(customers, policy, {}),
    }
    body = empty.model_copy(update=update)
    text = default_text(body.copy_action, settings, body.message_channel, body.kind)
    return text_message.with_parts(settings, body.model_copy(update={"copy_text": text}))


def _items(
    lake: "Lake", policy: Policy, customers: "pd.DataFrame", learnt: Learnt, now: datetime
) -> tuple[dict[str, Sequence[SuggestedItem]], dict[str, int]]:
    """Items per customer, and customers with special items per rule.

    Special items (due again, new arrivals) come first.
    """
    k = policy.offer.items
    if not k:
        return {}, {}
    items: dict[str, Sequence[SuggestedItem]] = dict(learnt.suggest([*customers["customer_id"]]))
    special_counts: dict[str, int] = {}
    for name in customers["rule"].unique():
        rule = policy.rule(name)
        ids = list(customers.loc[customers["rule"] == name, "customer_id"])
        if rule is None or rule.action not in ("reminder", "new_arrivals"):
            continue
        if rule.action == "reminder":
            special = due_and_new_items.due_again(lake, ids, now, k)
        else:
            special = due_and_new_items.new_arrivals(lake, ids, now, k, policy.offer.new_days)
        special_counts[name] = 0
        for customer, own in special.items():
            items[customer] = learnt.merge(customer, own, items.get(customer, ()), k)
            special_counts[name] += any(item in items[customer] for item in own)
    return items, special_counts


def concatenate(_who: str, special: Sequence[Any], rest: Sequence[Any], k: int) -> list[Any]:
    """Return the special items, and up to ``k`` with others."""
    special_ids = {item.item_id for item in special}
    return [*special, *(item for item in rest if item.item_id not in special_ids)][:k]


def _example_titles(
    customers: "pd.DataFrame", body: Body, items: Mapping[str, Sequence[SuggestedItem]]
) -> tuple[str, ...]:
    """Item titles of the first customer with the campaign's own text."""
    rules = [line.rule for line in body.offers if line.action == body.copy_action]
    example = customers.loc[customers["rule"].isin(rules), "customer_id"].head(1)
    shown = (item for customer_id in example for item in items.get(customer_id, ()))
    return tuple(item.title for item in shown if item.title != item.item_id)


def _count_untitled(items: Mapping[str, Sequence[SuggestedItem]]) -> int:
    shown = (item for offered in items.values() for item in offered)
    return len({item.item_id for item in shown if item.title == item.item_id})


def _rows(
    customers: "pd.DataFrame",
    body: Body,
    items: Mapping[str, Sequence[SuggestedItem]],
    bucket_of: Mapping[str, int],
    recommended_by: str,
    category: Mapping[str, str],
) -> list[dict[str, Any]]:
    line_of = {offer.rule: offer for offer in body.offers}
    rows = []
    for row in customers.itertuples(index=False):
        own, line = items.get(row.customer_id, ()), line_of[row.rule]
        offer = offer_terms.stored_offer(
            line, own, body.currency, recommended_by, category.get(row.customer_id)
        )
        reason = reason_of(row.features[0]) if row.features else "none"
        offer |= {
            "consent": list(row.consent_states),
            "segment": {"value": row.value, "reason": reason},
        }
        value = float(row.expected_value)
        rows.append(
            {
                "customer_id": row.customer_id,
                "arm": "audience",
                "bucket": bucket_of[row.customer_id],
                "tier": row.tier,
                "churn_probability": float(row.churn_probability),
                "expected_value": 0.0 if isnan(value) else value,
                "offer": offer,
            }
        )
    return rows


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
    advice = gettext("The policy has no offer for the others.")
    if rest.tier:
        advice = gettext("Give --tier {tier} to include more.").format(tier=rest.tier)
    shown = ", ".join([*others, *_exclusions(audience)])
    return gettext(
        "Nobody of the list's {listed:,} customers is at {tier} risk and can be written to "
        "({others}). {advice}"
    ).format(listed=rest.listed, tier=tier_name(tier), others=shown, advice=advice)


def _explain_empty_kind(excluded: Mapping[str, int]) -> str:
    reasons = [f"{exclusion_reason(code)}: {n:,}" for code, n in excluded.items() if n]
    problem = gettext(
        "Nobody of the audience can get this campaign ({reasons}); choose another audience or kind."
    )
    return problem.format(reasons=", ".join(reasons) or gettext("it is empty"))


def _exclusions(audience: Audience) -> list[str]:
    return [f"{exclusion_reason(code)}: {number:,}" for code, number in audience.excluded.items()]


def _explain_empty_audience(audience: Audience, scored: int, overlaps: Sequence[Overlap]) -> str:
    if not scored:
        return gettext(
            "The list is empty, so there is nobody to write to; make a list with another risk."
        )
    reasons = ", ".join(_exclusions(audience))
    if overlaps:
        names = ", ".join(repr(overlap.name) for overlap in overlaps[:MAX_NAMED])
        reasons += gettext("; campaigns: {names}").format(names=names)
    if scored == 1:
        return gettext("This customer gets no offer now ({reasons}).").format(reasons=reasons)
    return gettext(
        "Nobody of the list's {scored:,} customers can be written to ({reasons}); make a new list "
        "or change the policy."
    ).format(scored=scored, reasons=reasons)
