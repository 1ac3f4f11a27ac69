"""Find customers that a draft shares with other open campaigns."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.campaigns.spec import Overlap
from retention.campaigns.states import ACTIVE
from retention.db.tables import Assignment, Campaign
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake

UNDECIDED = ("draft", "submitted")  # their customers may still be in other campaigns
MAX_UNDECIDED = 20  # the newest; older drafts are usually given up


def active_campaigns(lake: "Lake", session: Session, settings: Settings) -> dict[str, str]:
    """Return the approved or running campaign of each customer.

    Both groups count, treatment and hold-out.

    Parameters
    ----------
    lake : Lake
        The shop's lake, for merged customer ids.
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.

    Returns
    -------
    dict of str to str
        Campaign id by canonical customer id.
    """
    rows = session.execute(
        select(Assignment.customer_id, Assignment.campaign_id)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(
            Campaign.team_id == settings.team_id,
            Campaign.state.in_(ACTIVE),
            Assignment.arm.in_(("treatment", "control")),
        )
    ).tuples()
    canonical = lake.identities.canonical_ids()
    return {canonical.get(customer_id, customer_id): campaign for customer_id, campaign in rows}


def find_overlaps(
    lake: "Lake",
    session: Session,
    settings: Settings,
    audience: Collection[str],
    left_out: Mapping[str, int],
) -> tuple[Overlap, ...]:
    """Return the open campaigns that share customers with a draft.

    Parameters
    ----------
    lake : Lake
        The shop's lake, for merged customer ids.
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    audience : collection of str
        Customers of the draft.
    left_out : mapping
        Customers left out of the draft by the id of their approved or running campaign.

    Returns
    -------
    tuple[Overlap, ...]
        Campaigns with customers left out first, then undecided ones. Within each kind, the largest
        overlap comes first.
    """
    shared = dict(left_out)
    of_team = Campaign.team_id == settings.team_id
    newest = (
        select(Campaign.id)
        .where(of_team, Campaign.state.in_(UNDECIDED))
        .order_by(Campaign.created_at.desc())
        .limit(MAX_UNDECIDED)
    )
    rows = session.execute(
        select(Assignment.campaign_id, Assignment.customer_id).where(
            Assignment.campaign_id.in_(session.scalars(newest).all())
        )
    ).tuples()
    members, canonical = {*audience}, lake.identities.canonical_ids()
    for campaign_id, customer_id in rows:
        if canonical.get(customer_id, customer_id) in members:
            shared[campaign_id] = shared.get(campaign_id, 0) + 1
    campaigns = session.scalars(select(Campaign).where(of_team, Campaign.id.in_(shared)))
    overlaps = [
        Overlap(
            campaign_id=campaign.id,
            name=campaign.name,
            state=campaign.state,
            customers=shared[campaign.id],
            left_out=campaign.id in left_out,
        )
        for campaign in campaigns
    ]
    return tuple(sorted(overlaps, key=lambda one: (not one.left_out, -one.customers, one.name)))
