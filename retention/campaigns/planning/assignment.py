"""Assign customers to treatment and hold-out.

A keyed hash orders the customers of each tier, and the first share is held out. The hash needs no
state and cannot be steered without the key. Ranking inside a tier makes the share of each tier
exact to one customer; a plain ``hash mod 10,000`` would not.
"""

import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import aliased

from retention.campaigns.lifecycle.states import ACTIVE
from retention.db import Transaction
from retention.db.insert import among
from retention.db.tables import Assignment, Campaign, DirectoryEntry
from retention.errors import Conflict
from retention.text import gettext

BUCKETS = 10_000
GROUPS = ("treatment", "control", "excluded")
BATCH_CUSTOMERS = 2_000


def buckets(salt: str, campaign_id: str, customers: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return a bucket from 0 to 9,999 per customer.

    `customers`: any order; buckets do not depend on it.
    """
    tiers: dict[str, list[tuple[bytes, str]]] = defaultdict(list)
    for customer_id, tier in customers:
        digest = hmac.digest(salt.encode(), f"{campaign_id}|{customer_id}".encode(), hashlib.sha256)
        tiers[tier].append((digest, customer_id))
    return {
        customer_id: (2 * rank + 1) * BUCKETS // (2 * len(digests))
        for digests in tiers.values()
        for rank, (_, customer_id) in enumerate(sorted(digests))
    }


def holdout_threshold(holdout: float) -> int:
    """Return the bucket below which customers are held out."""
    return round(holdout * BUCKETS)


def control_size(customers: int, holdout: float) -> int:
    """Return the hold-out size of one tier.

    `holdout`: share to hold out, 0 to 1.
    Returns: the share, rounded to the nearest customer.
    """
    return (holdout_threshold(holdout) * customers + BUCKETS // 2 - 1) // BUCKETS


def assign(session: Transaction, campaign: Campaign, holdout: float) -> dict[str, int]:
    """Assign every customer of a campaign to a group.

    Runs in the transaction that approves the campaign. A customer who entered another approved or
    running campaign since the draft, under any merged id, is excluded. The logged propensity is the
    share of the tier that is really treated.

    `holdout`: share to hold out, 0 to 1.
    Returns: customers in ``treatment``, ``control`` and ``excluded``.
    """
    in_campaign = Assignment.campaign_id == campaign.id
    other_assignment = aliased(Assignment)
    assigned_elsewhere = (
        select(_canonical_id(campaign.team_id, other_assignment.customer_id))
        .join(Campaign, Campaign.id == other_assignment.campaign_id)
        .where(
            Campaign.team_id == campaign.team_id,
            Campaign.id != campaign.id,
            Campaign.state.in_(ACTIVE),
            other_assignment.arm.in_(("treatment", "control")),
        )
    )
    canonical_id = _canonical_id(campaign.team_id, Assignment.customer_id)
    arm = case(
        (canonical_id.in_(assigned_elsewhere), "excluded"),
        (Assignment.bucket < holdout_threshold(holdout), "control"),
        else_="treatment",
    )
    session.change(update(Assignment).where(in_campaign).values(arm=arm))
    return _update_propensities(session, campaign.id)


def _canonical_id(team_id: str, customer_id: Any) -> ColumnElement[str]:
    merged = select(DirectoryEntry.canonical_id).where(
        DirectoryEntry.team_id == team_id, DirectoryEntry.customer_id == customer_id
    )
    return func.coalesce(merged.scalar_subquery(), customer_id)


def exclude_customers(
    session: Transaction, campaign: Campaign, customers: Collection[str]
) -> dict[str, int]:
    """Exclude customers from both groups of an assigned campaign.

    Runs in the transaction that starts sending.

    Returns: group sizes as in `assign`; ``excluded`` counts all exclusions so far.
    """
    change_customers(session, campaign.id, customers, arm="excluded", propensity=None)
    return _update_propensities(session, campaign.id)


def change_customers(
    session: Transaction, campaign_id: str, customers: Iterable[str], **values: Any
) -> None:
    """Change the assignments of some customers, in batches."""
    in_campaign, ordered = Assignment.campaign_id == campaign_id, sorted(customers)
    for start in range(0, len(ordered), BATCH_CUSTOMERS):
        batch = among(session, Assignment.customer_id, ordered[start : start + BATCH_CUSTOMERS])
        session.change(update(Assignment).where(in_campaign, batch).values(**values))


def _update_propensities(session: Transaction, campaign_id: str) -> dict[str, int]:
    """Store the realised propensities and return group sizes."""
    in_campaign = Assignment.campaign_id == campaign_id
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(GROUPS, 0))
    group_counts = (
        select(Assignment.tier, Assignment.arm, func.count())
        .where(in_campaign)
        .group_by(Assignment.tier, Assignment.arm)
    )
    for tier, name, number in session.execute(group_counts):
        sizes[tier][name] = number
    for tier, size in sizes.items():
        assigned = size["treatment"] + size["control"]
        drawn = (in_campaign, Assignment.tier == tier, Assignment.arm != "excluded")
        share = size["treatment"] / assigned if assigned else None
        session.change(update(Assignment).where(*drawn).values(propensity=share))
    return {name: sum(size[name] for size in sizes.values()) for name in GROUPS}


@dataclass(frozen=True, slots=True)
class Groups:
    """Sizes of a campaign's groups, and the recipients of each rule's offer."""

    treatment: int
    control: int
    excluded: int
    by_rule: Mapping[str, int]


def find_groups(session: Transaction, campaign_id: str, holdout: float) -> Groups:
    """Count the groups as they are, or before the approval as it would draw them."""
    group = case(
        (Assignment.arm != "audience", Assignment.arm),
        (Assignment.bucket < holdout_threshold(holdout), "control"),
        else_="treatment",
    )
    rule = Assignment.offer["rule"].as_string()
    counts = (
        select(group, rule, func.count())
        .where(Assignment.campaign_id == campaign_id)
        .group_by(group, rule)
    )
    return _sum_groups((name, rule, n) for name, rule, n in session.execute(counts))


def drawn_groups(rows: Iterable[Mapping[str, Any]], holdout: float) -> Groups:
    """Count the groups of a draft that is not stored yet."""
    threshold = holdout_threshold(holdout)
    return _sum_groups(
        ("control" if row["bucket"] < threshold else "treatment", row["offer"]["rule"], 1)
        for row in rows
    )


def _sum_groups(counts: Iterable[tuple[str, str, int]]) -> Groups:
    sizes, by_rule = dict.fromkeys(GROUPS, 0), Counter[str]()
    for name, rule, number in counts:
        sizes[name] += number
        if name == "treatment":
            by_rule[rule] += number
    return Groups(**sizes, by_rule=by_rule)


def assigned_customers(session: Transaction, campaign_id: str) -> list[str]:
    """Return the customers of both groups."""
    both = (Assignment.campaign_id == campaign_id, Assignment.arm.in_(("treatment", "control")))
    return list(session.scalars(select(Assignment.customer_id).where(*both)))


def reset_groups(session: Transaction, campaign_id: str) -> None:
    """Turn the groups back into a plain audience. Called when an edit resets the approval."""
    in_campaign = update(Assignment).where(Assignment.campaign_id == campaign_id)
    undrawn = {"variant": None, "variant_propensity": None}
    session.change(in_campaign.values(arm="audience", propensity=None, **undrawn))


def require_recipients(
    campaign: Campaign, sizes: dict[str, int], *, has_returned: bool = False
) -> None:
    """Reject a campaign without recipients.

    `has_returned`: whether customers are excluded because they ordered again.
    Raises `Conflict`: the treatment group is empty.
    """
    if sizes["treatment"]:
        return
    if has_returned:
        absence = gettext("in other campaigns, or have ordered again since the list was made,")
        requirement = gettext("have not ordered again since the list was made")
        remedy = gettext("draft from a new list")
    else:
        absence = gettext("in other approved or running campaigns")
        requirement = gettext("are in no other approved or running campaign")
        remedy = gettext("approve it once those are over")
    problem = gettext(
        "Campaign {name!r} would go to nobody: its customers are all {absence} by now. "
        "Stop it, or {remedy}."
    )
    if sizes["control"]:
        problem = gettext(
            "Campaign {name!r} would go to nobody: those of its customers who "
            "{requirement} ({control:,}) would all be held out. Lower its hold-out, or "
            "{remedy}."
        )
    words = {"absence": absence, "requirement": requirement, "remedy": remedy}
    raise Conflict(problem.format(name=campaign.name, control=sizes["control"], **words))
