"""Who is in treatment and who is held out: a keyed hash orders the customers of each tier, a share of each is held out.

The hash needs no state and nobody can steer it without the key; ranking it inside the tier makes every tier's share
exact to one customer, where a bare ``hash mod 10,000`` would leave it to chance.
"""

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import Session, aliased

from retention.campaigns.states import HOLDING
from retention.db.insert import among
from retention.db.tables import Assignment, Campaign, DirectoryEntry

BUCKETS = 10_000
ARMS = ("treatment", "control", "excluded")
CHUNK = 2_000
_QUIETLY = {"synchronize_session": False}


def buckets(salt: str, campaign_id: str, customers: Iterable[tuple[str, str]]) -> dict[str, int]:
    """A bucket, 0 … 9,999, for each customer.

    Parameters
    ----------
    salt : str
        The campaign's own secret.
    campaign_id : str
    customers : iterable of (customer id, tier)
        In any order: the buckets do not depend on it.

    Returns
    -------
    dict
        Customer id → bucket; the buckets of a tier are spread evenly.
    """
    tiers: dict[str, list[tuple[bytes, str]]] = defaultdict(list)
    for customer_id, tier in customers:
        drawn = hmac.digest(salt.encode(), f"{campaign_id}|{customer_id}".encode(), hashlib.sha256)
        tiers[tier].append((drawn, customer_id))
    return {
        customer_id: (2 * rank + 1) * BUCKETS // (2 * len(drawn))
        for drawn in tiers.values()
        for rank, (_, customer_id) in enumerate(sorted(drawn))
    }


def cut(holdout: float) -> int:
    """Buckets below this are held out."""
    return round(holdout * BUCKETS)


def control_size(customers: int, holdout: float) -> int:
    """How many of a tier of ``customers`` are held out: the share, rounded to the nearest customer."""
    return (cut(holdout) * customers + BUCKETS // 2 - 1) // BUCKETS


def assign(session: Session, campaign: Campaign, holdout: float) -> dict[str, int]:
    """Set every arm of a campaign, in the transaction that approves it.

    Who has got into another approved or running campaign since the draft, under whichever id, is left out. The propensity
    that is logged is the share of the customer's tier that is really treated.

    Returns
    -------
    dict
        ``treatment``, ``control`` and ``excluded`` → customers.
    """
    ours = Assignment.campaign_id == campaign.id
    other = aliased(Assignment)
    elsewhere = (
        select(_person(campaign.team_id, other.customer_id))
        .join(Campaign, Campaign.id == other.campaign_id)
        .where(
            Campaign.team_id == campaign.team_id,
            Campaign.id != campaign.id,
            Campaign.state.in_(HOLDING),
            other.arm.in_(("treatment", "control")),
        )
    )
    arm = case(
        (_person(campaign.team_id, Assignment.customer_id).in_(elsewhere), "excluded"),
        (Assignment.bucket < cut(holdout), "control"),
        else_="treatment",
    )
    session.execute(update(Assignment).where(ours).values(arm=arm), execution_options=_QUIETLY)
    return _weighed(session, campaign.id)


def _person(team_id: str, customer_id: Any) -> ColumnElement[str]:
    """Whom an id stands for by now: ids that were merged are one customer."""
    merged = select(DirectoryEntry.canonical_id).where(
        DirectoryEntry.team_id == team_id, DirectoryEntry.customer_id == customer_id
    )
    return func.coalesce(merged.scalar_subquery(), customer_id)


def leave_out(session: Session, campaign: Campaign, customers: Collection[str]) -> dict[str, int]:
    """Leave these customers out of a campaign whose arms are decided, of both arms alike, in the transaction that begins to send it.

    Returns
    -------
    dict
        As `assign` does: ``excluded`` are all who are left out, whenever that was.
    """
    ours = Assignment.campaign_id == campaign.id
    names = sorted(customers)
    for start in range(0, len(names), CHUNK):
        some = among(session, Assignment.customer_id, names[start : start + CHUNK])
        them = update(Assignment).where(ours, some)
        session.execute(them.values(arm="excluded", propensity=None), execution_options=_QUIETLY)
    return _weighed(session, campaign.id)


def _weighed(session: Session, campaign_id: str) -> dict[str, int]:
    """Log the propensity that the arms have come to; how many are in each."""
    ours = Assignment.campaign_id == campaign_id
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(ARMS, 0))
    counted = (
        select(Assignment.tier, Assignment.arm, func.count())
        .where(ours)
        .group_by(Assignment.tier, Assignment.arm)
    )
    for tier, name, number in session.execute(counted):
        sizes[tier][name] = number
    for tier, size in sizes.items():
        inside = size["treatment"] + size["control"]
        session.execute(
            update(Assignment)
            .where(ours, Assignment.tier == tier, Assignment.arm != "excluded")
            .values(propensity=size["treatment"] / inside if inside else None),
            execution_options=_QUIETLY,
        )
    return {name: sum(size[name] for size in sizes.values()) for name in ARMS}


def arms(session: Session, campaign_id: str) -> dict[str, int]:
    """How many customers of a decided campaign are in each of `ARMS`."""
    counted = (
        select(Assignment.arm, func.count())
        .where(Assignment.campaign_id == campaign_id)
        .group_by(Assignment.arm)
    )
    return {**dict.fromkeys(ARMS, 0), **dict(session.execute(counted).tuples().all())}


def unassign(session: Session, campaign_id: str) -> None:
    """Back to a mere audience: an edit has reset the approval."""
    session.execute(
        update(Assignment)
        .where(Assignment.campaign_id == campaign_id)
        .values(arm="audience", propensity=None),
        execution_options={"synchronize_session": False},
    )
