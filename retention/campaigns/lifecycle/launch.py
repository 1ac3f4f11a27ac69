"""Make an approved campaign live.

E-mails are queued here and sent by `retention.outreach.dispatch`.

Codes are reserved in batches, the lake's rows are written, then codes and state change in one
transaction. Each step can be repeated. Until `go_live` commits, no customer has a code, and the
shop has none either (`shop_codes`).
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from sqlalchemy import exists, func, or_, select, update

from retention.campaigns.codes import coupons, shop_code_queue
from retention.campaigns.lifecycle import states
from retention.campaigns.lifecycle.copy_test import with_variant
from retention.campaigns.lifecycle.decisions import schedule
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import StaleCampaign, Step, find_campaign, move_campaign
from retention.campaigns.planning import assignment, audience, programme_holdout
from retention.db import Database, Transaction
from retention.db.tables import Assignment, Campaign, Coupon, Send
from retention.errors import Conflict
from retention.outreach import sends
from retention.outreach.dispatch import sending_channel
from retention.risk.policy import Policy
from retention.risk.strategy import CODED
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake


@dataclass(frozen=True, slots=True)
class SendingResult:
    """A live campaign with its group sizes and codes."""

    campaign: Campaign
    treated: int
    control: int
    codes: int


class StartedSending(NamedTuple):
    """A campaign in state ``sending`` and the customers excluded just now."""

    campaign: Campaign
    left_out: int


def returned_since_draft(
    database: Database, lake: "Lake", campaign_id: str, now: datetime
) -> set[str]:
    """Return assigned customers with an order since the draft. Applies to both groups.

    None of them for a kind of campaign that is for customers who order, too.
    """
    with database.reading() as session:
        body = Body.of(find_campaign(session, campaign_id))
        customers = assignment.assigned_customers(session, campaign_id)
    if body.kind not in audience.ENDS_WITH_AN_ORDER:
        return set()
    return audience.returned_customers(lake, customers, body.as_of, now)


def merged_duplicates(database: Database, lake: "Lake", campaign_id: str) -> set[str]:
    """Return assigned ids that duplicate another id of the same customer.

    One id per customer stays, in either group.
    """
    canonical = lake.identities.canonical_ids()
    with database.reading() as session:
        customers = assignment.assigned_customers(session, campaign_id) if canonical else []
    kept_ids: dict[str, str] = {}
    for customer_id in sorted(
        customers, key=lambda one: (one in canonical, one)
    ):  # canonical first
        kept_ids.setdefault(canonical.get(customer_id, customer_id), customer_id)
    return set(customers) - set(kept_ids.values())


def gone_since_draft(
    database: Database, lake: "Lake", policy: Policy, campaign_id: str, now: datetime
) -> dict[str, set[str]]:
    """Return the assigned customers who must not be written to any more.

    Returns: customers by reason: ``returned``, ``doubles`` and ``programme``. The first one counts.
    """
    returned = returned_since_draft(database, lake, campaign_id, now)
    doubles = merged_duplicates(database, lake, campaign_id) - returned
    held_out = programme_holdout.held_out_since_draft(database, policy, campaign_id)
    return {"returned": returned, "doubles": doubles, "programme": held_out - returned - doubles}


def begin_sending(
    session: Transaction, step: Step, excluded: Collection[str] = ()
) -> StartedSending:
    """Start sending after the clearance time; resume a killed run.

    `excluded`: customers to exclude from both groups. A resumed run excludes none, because their
    codes are reserved.
    """
    campaign, now = find_campaign(session, step.campaign_id), step.at
    if campaign.state == "sending" and campaign.version == step.version:
        return StartedSending(_restart_window(session, campaign, now), 0)
    if (
        campaign.state in states.IN_CLEARANCE
        and campaign.send_at is not None
        and campaign.send_at > now
    ):
        problem = gettext(
            "Campaign {name!r} is in its clearance time until {send_at:%d %b %Y, %H:%M} "
            "UTC; until then it can be stopped, not sent."
        )
        raise Conflict(problem.format(name=campaign.name, send_at=campaign.send_at))
    if campaign.state == "approved" and campaign.version == step.version:  # not scheduled by a tick
        schedule(session, campaign.id, now)
    in_time = or_(Campaign.expires_at.is_(None), Campaign.expires_at > now)
    campaign = move_campaign(
        session,
        step,
        states.SEND,
        Campaign.send_at <= now,
        in_time,
        sent_at=now,
        details={"left_out": len(excluded)} if excluded else None,
    )
    if excluded:
        assignment.require_recipients(
            campaign, assignment.exclude_customers(session, campaign, excluded), has_returned=True
        )
    return StartedSending(campaign, len(excluded))


def _restart_window(session: Transaction, campaign: Campaign, now: datetime) -> Campaign:
    """Restart window and codes of a resumed run.

    Days may have passed, and no customer received anything.
    """
    is_sending = (Campaign.state == "sending", Campaign.version == campaign.version)
    unchanged = update(Campaign).where(Campaign.id == campaign.id, *is_sending)
    if session.change(unchanged.values(sent_at=now)):
        coupons.extend_codes(session, campaign.id, _valid_until(session, campaign, now))
    session.refresh(campaign)
    return campaign


def _valid_until(session: Transaction, campaign: Campaign, sent_at: datetime) -> datetime:
    return coupons.valid_until(sent_at, Body.of(campaign).expires_days, session.settings.zone)


def reserve_all_codes(database: Database, step: Step) -> Iterator[tuple[int, int]]:
    """Reserve a code per treated customer, one batch per transaction.

    Yields: reserved and needed codes after each batch.
    """
    while True:
        with database.transaction() as session:
            campaign = find_campaign(session, step.campaign_id)
            if campaign.state != "sending" or campaign.version != step.version:
                raise StaleCampaign(campaign, step.version)
            assert campaign.sent_at is not None
            expires_at = _valid_until(session, campaign, campaign.sent_at)
            missing = coupons.reserve_codes(session, campaign.id, expires_at)
            own = select(func.count()).where(Coupon.campaign_id == campaign.id)
            reserved = session.scalar(own) or 0
        yield reserved, reserved + missing
        if not missing:
            return


def treatment_rows(session: Transaction, campaign: Campaign) -> "pd.DataFrame":
    """Return the campaign's rows for the lake's ``treatments``."""
    rows = session.execute(
        select(Assignment.customer_id, Assignment.arm, Assignment.offer)
        .where(Assignment.campaign_id == campaign.id, Assignment.arm.in_(("treatment", "control")))
        .order_by(Assignment.customer_id)
    )
    values = [
        (
            campaign.id,
            customer,
            arm,
            campaign.sent_at,
            json.dumps(offer if arm == "treatment" else {}),
        )
        for customer, arm, offer in rows
    ]
    return pd.DataFrame(values, columns=["campaign_id", "customer_id", "arm", "sent_at", "offer"])


def unreceived_treatments(lake: "Lake", session: Transaction) -> "pd.DataFrame":
    """Return keys of ``treatments`` that customers never received.

    These belong to campaigns stopped before the message went out. Campaigns from before sends were
    stored are skipped. Other treatments keep counting as assigned, in both groups.
    """
    treatments = lake.table("treatments", identity="stored")
    treatments = treatments.filter(treatments.arm == "treatment")
    campaign_ids = list(treatments.select("campaign_id").distinct().execute()["campaign_id"])
    in_campaign = Send.campaign_id == Campaign.id
    was_contacted = exists().where(
        in_campaign,
        Send.customer_id == Assignment.customer_id,
        Send.state.in_(sends.CONTACT_STATES),
    )
    rows = session.execute(
        select(Assignment.campaign_id, Assignment.customer_id)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(
            Campaign.team_id == session.settings.team_id,
            Campaign.state == "cancelled",
            Campaign.id.in_(campaign_ids),
            Assignment.arm == "treatment",
            or_(Campaign.window_ends_at.is_(None), exists().where(in_campaign)),
            ~was_contacted,
        )
    )
    keys = pd.DataFrame(list(rows.tuples()), columns=["campaign_id", "customer_id"])
    treatments = treatments.filter(treatments.campaign_id.isin(sorted(set(keys["campaign_id"]))))
    return treatments.select(*keys.columns).execute().merge(keys)


def go_live(session: Transaction, step: Step) -> SendingResult:
    """Change from sending to live and issue all codes. The measurement window begins."""
    campaign_id, now = step.campaign_id, step.at
    campaign = find_campaign(session, campaign_id)
    body = Body.of(campaign)
    ends_at = (campaign.sent_at or now) + timedelta(days=body.window_days)
    test = body.test if body.test and body.test.share < 1 else None
    test_ends_at = (campaign.sent_at or now) + timedelta(days=test.days) if test else None
    campaign = move_campaign(
        session, step, states.GO_LIVE, window_ends_at=ends_at, test_ends_at=test_ends_at
    )
    codes = coupons.issue_codes(session, campaign_id, now)
    shop_code_queue.queue_codes(session, campaign, now)
    channel = sending_channel(session.settings, body.message_channel)
    sends.queue_sends(session, campaign, channel, now)
    groups = assignment.find_groups(session, campaign_id, body.holdout)
    treated = (Assignment.campaign_id == campaign_id, Assignment.arm == "treatment")
    has_code = Assignment.offer["action"].as_string().in_(CODED)
    needed = session.scalar(select(func.count()).where(*treated, has_code))
    if codes != needed:
        problem = gettext(
            "{owed} customers are to get a code and {codes} have one; please send it again."
        )
        raise Conflict(problem.format(owed=needed, codes=codes))
    return SendingResult(campaign, groups.treatment, groups.control, codes)


def recipient_rows(
    session: Transaction, campaign: Campaign, customer_id: str | None = None
) -> list[dict[str, Any]]:
    """Return offer and code of each treated customer.

    Customers in the hold-out group are never included.
    """
    only = () if customer_id is None else (Assignment.customer_id == customer_id,)
    offered = (Assignment.tier, Assignment.expected_value, Assignment.offer, Assignment.variant)
    coded = (Coupon.code, Coupon.expires_at, Coupon.state)
    rows = session.execute(
        select(Assignment.customer_id, *offered, *coded)
        .outerjoin(Coupon, coupons.OF_CUSTOMER)
        .where(Assignment.campaign_id == campaign.id, Assignment.arm == "treatment", *only)
        .order_by(Assignment.customer_id)
    )
    return [with_variant(row._asdict()) for row in rows]
