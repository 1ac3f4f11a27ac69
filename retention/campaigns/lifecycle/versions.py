"""Write a campaign's next version."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import EDIT, Step, move_campaign
from retention.campaigns.lifecycle.version_diff import version_changes
from retention.campaigns.message.brand import utm_campaign
from retention.db import Transaction
from retention.db.insert import insert_once
from retention.db.tables import Campaign, CampaignEditor, CampaignVersion

NO_DECISION: dict[str, Any] = {
    "decided_by": None,
    "decided_at": None,
    "reason": None,
    "approved_by": [],
    "call_owner": None,
    "clears_at": None,
    "send_at": None,
}


@dataclass(frozen=True, slots=True)
class NextVersion:
    """A campaign after an edit, and how it differs from the version before."""

    campaign: Campaign
    changes: list[dict[str, Any]]


def with_name(body: Body, name: str, campaign_id: str) -> Body:
    """Return a version whose links have the campaign's name."""
    return body.model_copy(update={"utm_campaign": utm_campaign(name, campaign_id)})


def write_version(
    session: Transaction,
    step: Step,
    before: Campaign,
    name: str,
    body: Body,
    details: dict[str, Any],
) -> NextVersion:
    """Store the next version as a draft, without any approval.

    `details`: for the audit log, beside the changes.
    """
    body = with_name(body, name, before.id)
    changes = version_changes(Body.of(before), body, (before.name, name))
    campaign = move_campaign(
        session,
        step,
        EDIT,
        name=name,
        body=body.model_dump(mode="json"),
        submitted_by=None,
        submitted_at=None,
        expires_at=None,
        remind_at=None,
        version=Campaign.version + 1,
        details={**details, "changes": changes},
        **NO_DECISION,
    )
    store_version(session, campaign, step.actor, step.at)
    return NextVersion(campaign, changes)


def store_version(session: Transaction, campaign: Campaign, editor: str, at: datetime) -> None:
    """Keep a campaign's present version, and who wrote it."""
    shared = {"team_id": session.settings.team_id, "campaign_id": campaign.id}
    written = {"version": campaign.version, "body": campaign.body}
    session.add(CampaignVersion(**shared, **written, edited_by=editor, edited_at=at))
    insert_once(session, CampaignEditor, **shared, user_id=editor)
