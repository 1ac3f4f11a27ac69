"""Show proposed changes of the policy, and let people decide about them."""

from typing import Any

from retention import clock
from retention.campaigns.learning import proposals
from retention.campaigns.lifecycle.states import find_campaign
from retention.db import Transaction
from retention.db.tables import PolicyProposal
from workers.delivery import outbox
from workers.tasks.interface import Post

MAX_SHOWN = 3


def proposal_post(session: Transaction, proposal: PolicyProposal) -> Post:
    """Return the message of a proposal; a decision replaces its buttons."""
    values = {"proposal": shown(session, proposal)}
    return Post("bot/policy_proposal", values, f"proposal:{proposal.id}", proposal.channel)


def shown(session: Transaction, proposal: PolicyProposal) -> dict[str, Any]:
    """Return a proposal as plain data."""
    campaign = find_campaign(session, proposal.campaign_id)
    return proposals.proposal_data(proposal, campaign, campaign.body["currency"])


def listed(session: Transaction) -> list[dict[str, Any]]:
    """Return the newest proposals, the open ones first."""
    rows = session.scalars(session.own(PolicyProposal).order_by(PolicyProposal.id.desc())).all()
    ordered = sorted(rows, key=lambda one: one.state != "open")
    return [shown(session, one) for one in ordered[:MAX_SHOWN]]


def decide(session: Transaction, number: int, user: str, reason: str | None = None) -> None:
    """Approve a proposal, or reject it with a reason, and update its message."""
    now = clock.now()
    if reason is None:
        proposal = proposals.approve(session, number, user, now)
    else:
        proposal = proposals.reject(session, number, user, now, reason)
    session.flush()
    outbox.put(session, proposal_post(session, proposal), default_channel=user)
