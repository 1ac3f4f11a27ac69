"""Say what was decided about a customer, by which rule and model, and why."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import select

from retention.campaigns.planning.audience import (
    Selection,
    exclusion_reason,
    exclusions_of,
    next_rules,
)
from retention.db import Transaction
from retention.db.tables import Approval, Assignment, Campaign, Cohort, Coupon, MessageEvent, Send
from retention.outreach.adapter import MESSAGE_CHANNELS
from retention.outreach.consent import consent_states
from retention.privacy import pseudonym
from retention.reports.customer_history import newest_lists
from retention.risk.policy import Policy

if TYPE_CHECKING:
    from retention.lake import Lake

LISTS = 3  # newest lists whose scores are told
_MOST_LISTS = 12  # newest lists that are searched
_MOST_REASONS = 5


def decisions_about(
    lake: "Lake", session: Transaction, policy: Policy, ids: Sequence[str], now: datetime
) -> dict[str, Any]:
    """Return what was decided about a customer.

    `ids`: all ids of the customer, the one that is in use first.
    Returns: ``customer_id``, ``pseudonym``, ``as_of``, ``consent`` by channel, ``rule`` (today's;
    None if the policy does nothing) and ``exclusions`` (codes and sentences) if a list has the
    customer, ``scores`` and ``campaigns``, newest first.
    """
    customer_id = ids[0]
    lists = list(newest_lists(session, limit=_MOST_LISTS))
    scores = _scores(lake, lists, customer_id)
    consent = {
        channel: str(consent_states(lake, session, pd.Series([customer_id]), channel).iloc[0])
        for channel in MESSAGE_CHANNELS
    }
    told: dict[str, Any] = {
        "customer_id": customer_id,
        "pseudonym": pseudonym(session.settings.key, customer_id),
        "as_of": now.isoformat(),
        "consent": consent,
        "rule": None,
        "exclusions": [],
        "scores": [score for _, score in scores[:LISTS]],
        "campaigns": _campaigns(session, ids),
    }
    if scores:
        newest = lake.all_scores(scores[0][0].run_id).execute()
        rule = next_rules(lake, session, policy, newest, [customer_id]).get(customer_id)
        selection = Selection(scores[0][0].as_of, now, only=[customer_id])
        codes = exclusions_of(lake, session, policy, newest, selection)
        told["rule"] = rule.name if rule and rule.action != "nothing" else None
        told["exclusions"] = [{"code": code, "text": exclusion_reason(code)} for code in codes]
    return told


def _scores(
    lake: "Lake", lists: Sequence[Cohort], customer_id: str
) -> list[tuple[Cohort, dict[str, Any]]]:
    """Return the newest scores of a customer, each with its list."""
    found = []
    for cohort in lists:
        scores = lake.all_scores(cohort.run_id)
        for row in scores.filter(scores.customer_id == customer_id).execute().itertuples():
            reasons = json.loads(row.reasons) if row.reasons else []
            score = {
                "as_of": cohort.as_of.isoformat(),
                "model_version": cohort.model_version,
                "churn_probability": float(row.churn_probability),
                "tier": row.tier,
                "reasons": [reason["text"] for reason in reasons[:_MOST_REASONS]],
            }
            found.append((cohort, score))
        if len(found) >= LISTS:
            break
    return found


def _campaigns(session: Transaction, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the campaigns that had the customer in their audience, newest first."""
    rows = session.execute(
        select(Assignment, Campaign)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(Campaign.team_id == session.settings.team_id, Assignment.customer_id.in_(ids))
        .order_by(Campaign.created_at.desc())
    ).tuples()
    return [_told(session, campaign, assignment) for assignment, campaign in rows]


def _told(session: Transaction, campaign: Campaign, assignment: Assignment) -> dict[str, Any]:
    own = {"campaign_id": campaign.id, "customer_id": assignment.customer_id}
    send = session.scalar(select(Send).filter_by(**own))
    coupon = session.scalar(select(Coupon).filter_by(**own))
    events = session.scalars(select(MessageEvent).filter_by(**own, is_machine=False)).all()
    approvals = select(Approval).filter_by(campaign_id=campaign.id, version=campaign.version)
    offer = assignment.offer
    return {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "state": campaign.state,
        "model_version": campaign.body.get("model_version"),
        "churn_probability": assignment.churn_probability,
        "tier": assignment.tier,
        "rule": offer.get("rule"),
        "action": offer.get("action"),
        "group": assignment.arm,
        "probability": assignment.propensity,  # of the offer, in the customer's tier
        "variant": assignment.variant,
        "variant_probability": assignment.variant_propensity,
        "drafted_by": campaign.drafted_by,
        "decisions": [
            {"by": each.user_id, "decision": each.decision, "at": each.at.isoformat()}
            for each in session.scalars(approvals.order_by(Approval.at))
        ],
        "sent": send
        and {
            "channel": send.channel,
            "state": send.state,
            "at": _isoformat(send.sent_at),
            "error_code": send.error_code,
        },
        "coupon": coupon and {"state": coupon.state, "redeemed_at": _isoformat(coupon.redeemed_at)},
        "reactions": [{"kind": each.kind, "at": each.at.isoformat()} for each in events],
    }


def _isoformat(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
