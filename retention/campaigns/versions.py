"""Write a campaign's next version."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from retention.campaigns.changes import version_changes
from retention.campaigns.email_links import utm_campaign
from retention.campaigns.spec import Body
from retention.campaigns.states import EDITABLE, move_campaign
from retention.db.insert import insert_once
from retention.db.tables import Campaign, CampaignEditor, CampaignVersion
from retention.settings import Settings

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
    """A campaign after an edit, and how it differs from the version before.

    Parameters
    ----------
    campaign : Campaign
        The campaign.
    changes : list of dict
        See `version_changes`.
    """

    campaign: Campaign
    changes: list[dict[str, Any]]


def with_name(body: Body, name: str, campaign_id: str) -> Body:
    """Return a version whose links have the campaign's name."""
    return body.model_copy(update={"utm_campaign": utm_campaign(name, campaign_id)})


def write_version(
    session: Session,
    settings: Settings,
    before: Campaign,
    version: int,
    user: str,
    now: datetime,
    *,
    name: str,
    body: Body,
    details: dict[str, Any],
) -> NextVersion:
    """Store the next version as a draft, without any approval.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    before : Campaign
        The campaign before the edit.
    version : int
        Version that the person saw.
    user : str
        Slack user id, who becomes an editor.
    now : datetime
        Business time.
    name : str
        Name of the campaign from now on.
    body : Body
        Content of the version.
    details : dict
        For the audit log, beside the changes.

    Returns
    -------
    NextVersion

    Raises
    ------
    StaleCampaign
        The version changed, or the campaign is already sent.
    """
    campaign_id = before.id
    body = with_name(body, name, campaign_id)
    stored = body.model_dump(mode="json")
    changes = version_changes(Body.model_validate(before.body), body, (before.name, name))
    campaign = move_campaign(
        session,
        settings,
        campaign_id,
        from_states=EDITABLE,
        to_state="draft",
        seen_version=version,
        actor=user,
        action="campaign.edit",
        at=now,
        name=name,
        body=stored,
        submitted_by=None,
        submitted_at=None,
        expires_at=None,
        remind_at=None,
        version=Campaign.version + 1,
        details={**details, "changes": changes},
        **NO_DECISION,
    )
    shared = {"team_id": settings.team_id, "campaign_id": campaign_id}
    session.add(
        CampaignVersion(
            **shared, version=campaign.version, body=stored, edited_by=user, edited_at=now
        )
    )
    insert_once(session, CampaignEditor, **shared, user_id=user)
    return NextVersion(campaign, changes)
