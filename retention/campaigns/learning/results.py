"""Say after a result what each offer would have earned, and which change of the policy follows."""

from collections.abc import Collection
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from retention.campaigns.learning.offer_log import LoggedTest, finished_tests, load_test, pooled_log
from retention.campaigns.learning.offer_rule import OWN, LearnedRule, learn_rule
from retention.campaigns.lifecycle.spec import Body
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.risk.policy import Policy
from retention.risk.policy_changes import KIND_PLACES, RULES
from retention.risk.policy_edits import value_at
from retention.risk.strategy import WIN_BACK, KindName

if TYPE_CHECKING:
    from retention.campaigns.measurement.outcomes import Outcomes
    from retention.lake import Lake


def learn_from_result(
    lake: "Lake",
    session: Transaction,
    campaign: Campaign,
    outcomes: "Outcomes",
    policy: Policy,
    excluded: Collection[str],
) -> dict[str, Any] | None:
    """Return what a campaign's test says of the policy; None without a test.

    `policy`: in force.
    `excluded`: campaigns without a usable result, this one excepted.
    Returns: ``groups`` for later tests, ``enough``, and with enough buyers ``arms``, ``learned``,
    ``gain`` and ``choices``. ``changes`` has ``before`` and ``after`` of each place of the policy
    that the learned rule changes; empty if its gain may be chance.
    """
    newest = load_test(lake, session, campaign, outcomes)
    ends_at = campaign.window_ends_at
    if newest is None or ends_at is None or not len(newest.log.taken):
        return None
    earlier = [
        one
        for one in finished_tests(session, ends_at, excluded)
        if one.id != campaign.id and Body.of(one).kind == Body.of(campaign).kind
    ]
    loaded = [load_test(lake, session, one) for one in earlier]
    log = pooled_log(newest, [one for one in loaded if one])
    learned = learn_rule(log, len(earlier))
    return {"enough": False} if learned is None else _as_data(newest, learned, policy, len(earlier))


def _as_data(
    newest: LoggedTest, learned: LearnedRule, policy: Policy, before: int
) -> dict[str, Any]:
    body = Body.of(newest.campaign)
    assert body.test is not None  # it has a log
    names = body.test.names
    usual = {line.rule: line.discount for line in body.offers}
    discounts = {rule: body.test.discounts(usual[rule]) for rule in newest.kinds}
    places = {rule: place_of(body.kind, rule) for rule in newest.kinds}
    # The gain is over A. Where the policy has another value than A, it says nothing of the policy.
    changes = {
        places[rule]: {"before": usual[rule], "after": discounts[rule][arm - OWN]}
        for rule, arm in learned.chosen.items()
        if learned.is_better
        and discounts[rule][arm - OWN] != usual[rule] == value_at(policy, places[rule])
    }
    return {
        "enough": True,
        "earlier": before,
        "arms": [
            {"name": name, **asdict(value)} for name, value in zip(names, learned.arms, strict=True)
        ],
        "learned": asdict(learned.learned),
        "gain": asdict(learned.gain),
        "choices": [
            {"rule": rule, "name": names[arm - OWN], "discount": discounts[rule][arm - OWN]}
            for rule, arm in learned.chosen.items()
        ],
        "groups": [
            {"group": one.group, "discount": discounts[one.group][one.arm - OWN]}
            | {"customers": one.customers, "value": one.value, "error": one.error}
            for one in learned.groups
            if isfinite(one.error)
        ],
        "changes": changes,
    }


def place_of(kind: KindName, rule: str) -> str:
    """Return the place of a rule's discount in the policy."""
    return f"{RULES}.{rule}.discount" if kind == WIN_BACK else f"{KIND_PLACES}.{kind}.discount"
