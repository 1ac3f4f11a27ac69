"""Select the customers of a campaign and count exclusions.

Each customer with a rule is eligible unless excluded. An exclusion is counted by its first reason.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd
from sqlalchemy import select

from retention.audiences import store
from retention.audiences.evaluate import members
from retention.campaigns.lifecycle.spec import Overlap
from retention.campaigns.lifecycle.states import ACTIVE
from retention.campaigns.planning.programme_holdout import CODE as HELD_OUT
from retention.campaigns.planning.programme_holdout import holdout_in_force
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign, DirectoryEntry
from retention.lake.lake import naive
from retention.outreach import bounces, pauses, send_summary
from retention.outreach.adapter import EMAIL, is_text
from retention.outreach.consent import consent_states
from retention.outreach.contacts import find_numbers, repeated_numbers
from retention.risk.policy import TIERS, Policy
from retention.risk.reasons import policy_features
from retention.risk.strategy import WIN_BACK, KindName, Rule
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

ENDS_WITH_AN_ORDER = (WIN_BACK, "second_order")  # the next order is what the campaign wants
Steps = tuple[tuple[str, Callable[[], pd.Series]], ...]  # reasons, and whom each excludes
IN_EXCLUSION = "audience:"  # the code of an exclusion audience begins with it


@dataclass(frozen=True, slots=True)
class Audience:
    """Selected customers and counts of the excluded ones.

    ``customers`` has one row per customer with the columns of the scores, ``rule`` and
    ``consent_states`` (states of consent that the rule accepts). ``excluded`` maps reason to number
    of customers. ``in_campaigns`` splits those in another campaign by its id.
    """

    customers: "pd.DataFrame"
    excluded: dict[str, int]
    in_campaigns: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """How an audience is selected.

    ``as_of``: cutoff of the scores. Customers with an order since then have returned. ``channel``:
    one of `retention.outreach.adapter.MESSAGE_CHANNELS`; its consent and its address count.
    ``only``: customers to choose from. Value bands are still shares of all scored customers.
    ``choose``: selects among the eligible customers and counts the rest. By default the customers
    with the largest churn probability × value stay, up to the policy's maximum. ``kind``: of the
    campaign; only some kinds leave out who ordered meanwhile.
    """

    as_of: datetime
    now: datetime
    channel: str = EMAIL
    only: Sequence[str] | None = None
    choose: "Callable[[pd.DataFrame], Audience] | None" = None
    kind: KindName = WIN_BACK


def select_audience(
    lake: "Lake", session: Transaction, policy: Policy, scores: "pd.DataFrame", selection: Selection
) -> Audience:
    """Select the audience among scored customers.

    `policy`: for a short text, that of `text_message.channel_policy`.
    `scores`: ``customer_id, churn_probability, tier, reasons, expected_value``. Reasons are JSON
    text or lists.
    Returns: customers in order of preference, and counts of the excluded ones.

    Notes
    -----
    Value bands are shares of the scored customers. Personal calls go to the most valuable customers
    with a phone number, up to the policy's limit. All others get their next rule.
    """
    channel = selection.channel
    pool = _candidates(lake, session, policy, scores, channel, selection.only)
    if is_text(channel):  # whoever did not agree is not asked, and nobody is called
        pool = pool.assign(consent=pool["consent"].replace("unknown", "refused"), phone=False)
    pool = pool.assign(rule=_rules(pool, policy))
    campaign_of = pool["customer_id"].map(active_campaigns(lake, session))
    steps = _exclusions(lake, session, policy, pool, campaign_of, selection)
    is_eligible, excluded, in_campaigns = _eligible(pool["customer_id"], campaign_of, steps)
    customers = _limit_offers(pool[is_eligible], policy)

    def exclude(reason: str, is_excluded: "pd.Series") -> None:
        nonlocal customers
        excluded[reason] = excluded.get(reason, 0) + int(is_excluded.sum())
        customers = customers[~is_excluded]

    exclude("no_rule", customers["rule"].isna())
    bounced = bounced_customers(lake, session, policy, selection.now, channel)
    is_called = customers["rule"].isin(_call_rules(policy))
    exclude("bounced", customers["customer_id"].isin(bounced) & ~is_called)
    if is_text(channel):
        repeated = _repeated_numbers(lake, session, policy, scores, customers)
        exclude("same_number", customers["customer_id"].isin(repeated))
    customers = customers.assign(consent_states=customers["rule"].map(policy.consent_for))
    rank = _at_stake if selection.kind == WIN_BACK else _expected_spend
    choose = selection.choose or partial(_keep_first, policy, rank)
    chosen = choose(customers.reset_index(drop=True))
    excluded |= chosen.excluded
    return replace(
        chosen,
        excluded={reason: number for reason, number in excluded.items() if number},
        in_campaigns=in_campaigns,
    )


def exclusion_reason(code: str) -> str:
    """Return the sentence for an exclusion code."""
    if code.startswith(IN_EXCLUSION):
        name = code.removeprefix(IN_EXCLUSION)
        return gettext("in the exclusion {name}").format(name=name)
    return {
        "erased": gettext("erased since the list was made"),
        "programme": gettext("in the programme hold-out"),
        "paused_by_person": gettext("excluded by a person for now"),
        "no_list_rule": gettext('the policy has no rule for the list (tiers = ["listed"])'),
        "no_rule": gettext("the policy does nothing for them"),
        "not_of_kind": gettext("not meant by this kind of campaign"),
        "no_consent": gettext("no marketing consent"),
        "no_phone": gettext("no valid phone number"),
        "same_number": gettext("another customer has the same phone number"),
        "other_campaign": gettext("in another campaign"),
        "frequency_cap": gettext("contacted too recently"),
        "returned": gettext("ordered again since the list was made"),
        "bounced": gettext("their last copy bounced"),
        "beyond_maximum": gettext("beyond the largest audience"),
        "beyond_budget": gettext("beyond the budget"),
        "no_gain": gettext("an offer to them is expected to earn too little"),
    }[code]


def _candidates(
    lake: "Lake",
    session: Transaction,
    policy: Policy,
    scores: "pd.DataFrame",
    channel: str = EMAIL,
    only: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """Scored customers, or only some, with the inputs of rules."""
    pool = scores.drop_duplicates("customer_id").reset_index(drop=True)
    bands = value_bands(pool["expected_value"], policy.values.high, policy.values.middle)
    pool = pool.assign(value=bands)
    if only is not None:
        pool = pool[pool["customer_id"].isin(list(only))].reset_index(drop=True)
    return pool.assign(
        features=[_reason_features(reasons) for reasons in pool["reasons"]],
        consent=consent_states(lake, session, pool["customer_id"], channel),
        phone=pool["customer_id"].isin(customers_with_phone(lake)),
    )


def next_rules(
    lake: "Lake",
    session: Transaction,
    policy: Policy,
    scores: "pd.DataFrame",
    customer_ids: Sequence[str],
    consent: str | None = None,
) -> dict[str, Rule | None]:
    """Return the rule of some customers, as a draft from these scores would choose it.

    `scores`: all scored customers: value bands are shares of them.
    Returns: rule by customer. None without an action.
    """
    rules = {rule.name: rule for rule in policy.rules}
    pool = _candidates(lake, session, policy, scores, only=customer_ids)
    names = map(rules.get, _rules(pool, policy, consent))
    return dict(zip(pool["customer_id"].astype(str), names, strict=True))


def exclusions_of(
    lake: "Lake", session: Transaction, policy: Policy, scores: "pd.DataFrame", selection: Selection
) -> list[str]:
    """Return the codes of all reasons for which a draft would leave a customer out now.

    `selection`: ``only`` has the customer.
    """
    pool = _candidates(lake, session, policy, scores, selection.channel, selection.only)
    pool = pool.assign(rule=_rules(pool, policy))
    campaign_of = pool["customer_id"].map(active_campaigns(lake, session))
    steps = _exclusions(lake, session, policy, pool, campaign_of, selection)
    bounced = bounced_customers(lake, session, policy, selection.now, selection.channel)
    codes = [code for code, is_affected in steps if any(is_affected())]
    return [*codes, *(["bounced"] if bounced.intersection(pool["customer_id"]) else [])]


def _exclusions(
    lake: "Lake",
    session: Transaction,
    policy: Policy,
    pool: "pd.DataFrame",
    campaign_of: "pd.Series",
    selection: Selection,
) -> Steps:
    """Return the reasons to exclude customers, the one that counts first in front."""
    ids, consent, now = pool["customer_id"], pool["consent"], selection.now
    since = now - timedelta(days=policy.campaign.frequency_cap_days)
    # As an audience counts: a lapsed customer and a prospect have no risk.
    has_risk = pool["tier"].isin(TIERS) | (selection.kind == WIN_BACK)
    scored = pool[has_risk]
    lacks_list_rule = not any("listed" in rule.tiers for rule in policy.rules)
    return (
        ("erased", lambda: ~ids.isin(directory_ids(session))),
        (HELD_OUT, lambda: ids.map(holdout_in_force(session, policy).includes).astype(bool)),
        *(
            (IN_EXCLUSION + name, partial(ids.isin, customers))
            for name, customers in excluded_by_audience(lake, session, scored, now).items()
        ),
        (
            "paused_by_person",
            lambda: ids.isin(lake.identities.resolved(pauses.paused_customers(session, now))),
        ),
        (
            "no_consent",
            lambda: (
                (consent == "refused")
                | (pool["rule"].isna() & (_rules(pool, policy, "given").notna()))
            ),
        ),
        *(
            (("no_phone", lambda: ~ids.isin(find_numbers(lake, policy, ids[consent == "given"]))),)
            if is_text(selection.channel)
            else ()
        ),
        ("no_list_rule", lambda: pool["rule"].isna() & _is_listed(pool) & lacks_list_rule),
        ("no_rule", lambda: pool["rule"].isna()),
        ("other_campaign", campaign_of.notna),
        ("frequency_cap", lambda: ids.isin(contacted_customers(lake, session, since, now))),
        *(
            (("returned", lambda: ids.isin(returned_customers(lake, ids, selection.as_of, now))),)
            if selection.kind in ENDS_WITH_AN_ORDER
            else ()
        ),
    )


def _eligible(
    ids: "pd.Series", campaign_of: "pd.Series", steps: Steps
) -> "tuple[pd.Series, dict[str, int], dict[str, int]]":
    """Eligible customers, exclusion counts by first reason, and those by other campaign.

    ``campaign_of`` is the other campaign of each customer, if any.
    """
    excluded: dict[str, int] = {}
    in_campaigns: dict[str, int] = {}
    is_eligible = ids.notna()
    for reason, is_affected in steps:
        is_excluded = is_affected() & is_eligible
        excluded[reason] = int(is_excluded.sum())
        if reason == "other_campaign":
            in_campaigns = {
                str(campaign): int(number)
                for campaign, number in campaign_of[is_excluded].value_counts().items()
            }
        is_eligible &= ~is_excluded
    return is_eligible, excluded, in_campaigns


def _repeated_numbers(
    lake: "Lake",
    session: Transaction,
    policy: Policy,
    scores: "pd.DataFrame",
    customers: "pd.DataFrame",
) -> set[str]:
    """Customers whose number belongs to someone in the programme hold-out or with more at stake."""
    in_holdout = holdout_in_force(session, policy).includes
    held_out = [one for one in scores["customer_id"] if in_holdout(one)]
    order = _at_stake(customers).sort_values(ascending=False, kind="stable").index
    ids = [*held_out, *customers.loc[order, "customer_id"]]
    return repeated_numbers(find_numbers(lake, policy, ids), ids)


def _keep_first(
    policy: Policy, rank: "Callable[[pd.DataFrame], pd.Series]", customers: "pd.DataFrame"
) -> Audience:
    """Keep the customers with the highest rank."""
    maximum = policy.campaign.max_audience
    order = rank(customers).sort_values(ascending=False, kind="stable").index
    excess = max(len(customers) - maximum, 0)
    return Audience(
        customers.loc[order].head(maximum).reset_index(drop=True), {"beyond_maximum": excess}
    )


def _at_stake(customers: "pd.DataFrame") -> "pd.Series":
    """Spend that an offer can keep or, of lapsed customers, bring back."""
    chance = customers["churn_probability"]
    return chance.where(customers["tier"] != "lapsed", 1 - chance) * customers["expected_value"]


def _expected_spend(customers: "pd.DataFrame") -> "pd.Series":
    """Spend that a customer is expected to make without the campaign."""
    return (1 - customers["churn_probability"]) * customers["expected_value"].fillna(0)


def value_bands(value: "pd.Series", high: float, middle: float) -> "pd.Series":
    """Label customers by value: high, middle or low.

    `high`: share of customers in the ``high`` band, largest values first.
    `middle`: share of customers in the next band.
    """
    rank = value.fillna(0).rank(ascending=False, method="first")
    edges = [0, high * len(value), (high + middle) * len(value), len(value)]
    labels = pd.Series("low", index=value.index)
    labels[rank <= edges[2]] = "middle"
    labels[rank <= edges[1]] = "high"
    return labels


def customers_with_phone(lake: "Lake") -> set[str]:
    """Return customers with a phone number."""
    customers = lake.table("customers")
    return set(customers.filter(customers.phone.notnull()).customer_id.execute())


def directory_ids(session: Transaction) -> set[str]:
    """Return the ids in the directory; erased customers are missing."""
    in_team = DirectoryEntry.team_id == session.settings.team_id
    return set(session.scalars(select(DirectoryEntry.customer_id).where(in_team)))


def _rules(
    pool: "pd.DataFrame", policy: Policy, consent: str | None = None, without: tuple[str, ...] = ()
) -> "pd.Series":
    """Rule name per customer; None without an action.

    ``consent`` overrides the customers' own consent. ``without`` lists actions to skip.
    """

    def name_of(row: Any) -> str | None:
        rule = policy.rule_for(
            row.tier,
            row.features,
            row.value,
            consent or row.consent,
            without if row.phone else (*without, "call"),
            is_listed=row.is_listed,
        )
        return rule.name if rule and rule.action != "nothing" else None

    columns = ["tier", "features", "value", "consent", "phone", "is_listed"]
    rows = pool.assign(is_listed=_is_listed(pool))[columns].itertuples(index=False)
    return pd.Series([name_of(row) for row in rows], index=pool.index, dtype=object)


def _is_listed(pool: "pd.DataFrame") -> "pd.Series":
    """Whether each customer is on the list of active customers that the scores are of."""
    rank = pool.get("list_rank", pd.Series(index=pool.index))
    return rank.notna() & (pool["tier"] != "lapsed")


def _limit_offers(customers: "pd.DataFrame", policy: Policy) -> "pd.DataFrame":
    """Limit calls and offers to the most valuable customers. The others get their next rule."""
    limits = [(_call_rules(policy), policy.campaign.max_calls, "call")]
    limits += [([rule.name], rule.most, rule.action) for rule in policy.rules if rule.most]
    customers, without = customers.copy(), tuple[str, ...]()
    for rules, most, action in limits:
        without = (*without, action)  # of those before, too: a call does not come back
        values = customers.loc[customers["rule"].isin(rules), "expected_value"].fillna(0)
        excess = values.sort_values(ascending=False, kind="stable").index[most:]
        customers.loc[excess, "rule"] = _rules(customers.loc[excess], policy, without=without)
    return customers


def _call_rules(policy: Policy) -> list[str]:
    return [rule.name for rule in policy.rules if rule.action == "call"]


def contacted_customers(
    lake: "Lake", session: Transaction, since: datetime, now: datetime
) -> set[str]:
    """Return customers contacted since a moment.

    Counts our own sends (SQL) and imported treatments (lake).
    """
    contacted = send_summary.customers_with_sends(session, session.settings.team_id, since)
    own_campaigns = set(
        session.scalars(select(Campaign.id).where(Campaign.team_id == session.settings.team_id))
    )
    sent = lake.table("treatments", before=now)
    sent = sent.filter(~sent.campaign_id.isin(sorted(own_campaigns))) if own_campaigns else sent
    imported = sent.filter(
        sent.arm == "treatment", sent.sent_at >= naive(since)
    ).customer_id.execute()
    return lake.identities.resolved({*contacted, *imported})


def excluded_by_audience(
    lake: "Lake", session: Transaction, scores: "pd.DataFrame", now: datetime
) -> dict[str, frozenset[str]]:
    """Return the customers of each exclusion audience by its name."""
    return {
        audience.name: members(lake, session, store.expression_of(audience), now, scores).customers
        for audience in store.exclusions(session)
    }


def bounced_customers(
    lake: "Lake", session: Transaction, policy: Policy, now: datetime, channel: str = EMAIL
) -> set[str]:
    """Return customers with a recent bounce.

    Another e-mail would bounce too, and mail servers count bounces.

    `channel`: one of `retention.outreach.adapter.MESSAGE_CHANNELS`.
    """
    since = now - timedelta(days=policy.campaign.bounced_days)
    return lake.identities.resolved(bounces.customers_with_bounced_address(session, since, channel))


def returned_customers(
    lake: "Lake", customers: Iterable[str], since: datetime, now: datetime
) -> set[str]:
    """Return the customers with an order in a period.

    An order under any merged id counts.

    `now`: end of the period, exclusive.
    """
    active, canonical = buyers(lake, since, now), lake.identities.canonical_ids()
    return {
        customer_id
        for customer_id in customers
        if canonical.get(customer_id, customer_id) in active
    }


def buyers(lake: "Lake", start: datetime, end: datetime) -> set[str]:
    """Return customers with an order in a period."""
    events = lake.table("events", before=end)
    orders = events.filter(events.event_type == "purchase", events.occurred_at >= naive(start))
    return set(orders.select("customer_id").distinct().execute()["customer_id"])


def silent_days(lake: "Lake", ids: Sequence[str], now: datetime) -> dict[str, int]:
    """Return the whole days since each customer's last order, if there is one."""
    chosen = ibis.memtable({"customer_id": [*ids]}, schema={"customer_id": "string"})
    events = lake.table("events", before=now)
    orders = events.filter(events.event_type == "purchase").semi_join(chosen, "customer_id")
    last = orders.group_by("customer_id").agg(at=orders.occurred_at.max()).execute()
    days = (naive(now) - last["at"]).dt.days
    return dict(zip(last["customer_id"], days.astype(int).tolist(), strict=True))


def _reason_features(reasons: object) -> list[str]:
    parsed = json.loads(reasons) if isinstance(reasons, str) else reasons
    return policy_features(parsed) if isinstance(parsed, list) else []


UNDECIDED = ("draft", "submitted")  # their customers may still be in other campaigns
MAX_UNDECIDED = 20  # the newest; older drafts are usually given up


def active_campaigns(lake: "Lake", session: Transaction) -> dict[str, str]:
    """Return the approved or running campaign of each customer.

    Both groups count, treatment and hold-out.
    """
    is_active = (Campaign.team_id == session.settings.team_id, Campaign.state.in_(ACTIVE))
    rows = session.execute(
        select(Assignment.customer_id, Assignment.campaign_id)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(*is_active, Assignment.arm.in_(("treatment", "control")))
    ).tuples()
    canonical = lake.identities.canonical_ids()
    return {canonical.get(customer_id, customer_id): campaign for customer_id, campaign in rows}


def find_overlaps(
    lake: "Lake", session: Transaction, audience: Collection[str], left_out: Mapping[str, int]
) -> tuple[Overlap, ...]:
    """Return the open campaigns that share customers with a draft.

    Returns: campaigns with customers left out first, then undecided ones. Within each kind, the
    largest overlap comes first.
    """
    shared = dict(left_out)
    of_team = Campaign.team_id == session.settings.team_id
    undecided = select(Campaign.id).where(of_team, Campaign.state.in_(UNDECIDED))
    newest = session.scalars(undecided.order_by(Campaign.created_at.desc()).limit(MAX_UNDECIDED))
    pairs = select(Assignment.campaign_id, Assignment.customer_id)
    rows = session.execute(pairs.where(Assignment.campaign_id.in_(newest.all()))).tuples()
    members, canonical = {*audience}, lake.identities.canonical_ids()
    for campaign_id, customer_id in rows:
        if canonical.get(customer_id, customer_id) in members:
            shared[campaign_id] = shared.get(campaign_id, 0) + 1
    campaigns = session.scalars(select(Campaign).where(of_team, Campaign.id.in_(shared)))
    overlaps = []
    for campaign in campaigns:
        named = {"campaign_id": campaign.id, "name": campaign.name, "state": campaign.state}
        number, is_left_out = shared[campaign.id], campaign.id in left_out
        overlaps.append(Overlap(**named, customers=number, left_out=is_left_out))
    return tuple(sorted(overlaps, key=lambda one: (not one.left_out, -one.customers, one.name)))
