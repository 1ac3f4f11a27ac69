"""Propose a change of the policy from a result, and let a second person decide."""

from datetime import datetime
from typing import Any

from sqlalchemy import update

from retention.db import Transaction
from retention.db.audit import record
from retention.db.insert import insert_once
from retention.db.tables import Campaign, CampaignEditor, PolicyProposal
from retention.errors import BadInput, Conflict, NotAllowed
from retention.logs import mask
from retention.risk.policy import DEFAULT, read_policy
from retention.risk.policy_changes import Value, newest_version
from retention.risk.policy_edits import change_policy, value_at
from retention.text import gettext


def propose(
    session: Transaction, campaign: Campaign, result: dict[str, Any], now: datetime
) -> PolicyProposal | None:
    """Store what a campaign's result proposes, once; None if it proposes nothing."""
    offers = result.get("offers") or {}
    changes: dict[str, dict[str, Value]] = offers.get("changes") or {}
    if not changes:
        return None
    after = {place: one["after"] for place, one in changes.items()}
    values = {
        "team_id": session.settings.team_id,
        "campaign_id": campaign.id,
        "before": {place: one["before"] for place, one in changes.items()},
        "after": after,
        "evidence": offers,
        "channel": campaign.channel,
        "state": "open",
        "created_at": now,
    }
    if insert_once(session, PolicyProposal, **values):
        subject, details = campaign.id, {"after": after}
        record(session, "clock", "policy.propose", subject, now, details)
    return session.scalars(session.own(PolicyProposal, campaign_id=campaign.id)).one()


def find_proposal(session: Transaction, number: int) -> PolicyProposal:
    """Return a proposal of the team."""
    found = session.scalars(session.own(PolicyProposal, id=number)).one_or_none()
    if found is None:
        text = gettext("There is no proposal {number}.")
        raise BadInput(text.format(number=number), field="proposal", hint="proposals")
    return found


def approve(session: Transaction, number: int, user: str, now: datetime) -> PolicyProposal:
    """Change the policy as a proposal says.

    Raises `NotAllowed`: the user wrote the campaign that it learned from. `Conflict`: somebody
    decided before, or the policy has other values by now.
    """
    proposal = _decide(session, number, "approved", user, now)
    if session.get(CampaignEditor, (proposal.campaign_id, user)):
        text = gettext(
            "You wrote the campaign that proposal {number} comes from; somebody else has to "
            "approve it."
        )
        raise NotAllowed(text.format(number=number))
    in_force = newest_version(session, session.settings.team_id)
    policy = read_policy(session.settings.policy or DEFAULT, in_force.changes)
    for place, value in proposal.before.items():
        if (present := value_at(policy, place)) != value:
            text = gettext(
                "Proposal {number} is out of date: {place} was {before} and is {now} by now. "
                "Reject it; the next result proposes anew."
            )
            values = {"number": number, "place": place, "before": value, "now": present}
            raise Conflict(text.format(**values))
    changed = change_policy(session, proposal.after, user, in_force.version)
    proposal.version = changed.version
    details = {"campaign": proposal.campaign_id, "version": changed.version}
    record(session, user, "policy.approve", str(number), now, details)
    return proposal


def reject(
    session: Transaction, number: int, user: str, now: datetime, reason: str
) -> PolicyProposal:
    """Leave the policy as it is."""
    if not reason.strip():
        raise BadInput(gettext("Say why you reject it."), field="reason")
    proposal = _decide(session, number, "rejected", user, now)
    proposal.reason = reason.strip()[:500]
    details = {"campaign": proposal.campaign_id, "reason": mask(proposal.reason)}
    record(session, user, "policy.reject", str(number), now, details)
    return proposal


def _decide(
    session: Transaction, number: int, state: str, user: str, now: datetime
) -> PolicyProposal:
    """Take the decision; of two people who decide at once, one succeeds."""
    proposal = find_proposal(session, number)
    is_open = (PolicyProposal.id == proposal.id, PolicyProposal.state == "open")
    values = {"state": state, "decided_by": user, "decided_at": now}
    if not session.change(update(PolicyProposal).where(*is_open).values(**values)):
        session.refresh(proposal)
        text = gettext("Proposal {number} is {state} already, by {user}.")
        values = {"number": number, "state": proposal.state, "user": proposal.decided_by}
        raise Conflict(text.format(**values))
    session.refresh(proposal)
    return proposal


def proposal_data(proposal: PolicyProposal, campaign: Campaign, currency: str) -> dict[str, Any]:
    """Return a proposal as plain data for templates and ``--json``."""
    same = ("id", "campaign_id", "state", "decided_by", "reason", "version")
    return {
        **{name: getattr(proposal, name) for name in same},
        "name": campaign.name,
        "currency": currency,
        "created_at": proposal.created_at.isoformat(),
        "evidence": proposal.evidence,
        "changes": [
            {"place": place, "before": proposal.before.get(place), "after": value}
            for place, value in proposal.after.items()
        ],
    }
