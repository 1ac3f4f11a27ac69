"""Write a campaign's next version, and compare versions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import EDIT, SUBMIT, Step, move_campaign
from retention.campaigns.message.brand import utm_campaign
from retention.campaigns.message.merged_message import written_parts
from retention.campaigns.message.parts import MessageParts
from retention.campaigns.planning.offer_terms import merge_equal_lines
from retention.db import Transaction
from retention.db.insert import insert_once
from retention.db.tables import Audit, Campaign, CampaignEditor, CampaignVersion

_NUMBERS = ("audience", "holdout", "budget", "expires_days")
_TEXTS = ("copy_text", "reminder_text")
FIELDS = ("message_channel", *_NUMBERS, "send_on", "approver", *_TEXTS, "test")
TERMS = ("rule", "action", "discount", "face", "min_order", "categories", "customers")
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


def version_changes(
    old: Body, new: Body, names: tuple[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the differences of two versions.

    `names`: the campaign's name before and after.
    Returns: ``field``, ``before`` and ``after`` as plain data: the fields that a person edits, and
    last the expected ``cost`` and ``profit`` if they differ by at least one unit of money.
    """
    changes = []
    if names is not None and names[0] != names[1]:
        changes.append(_change("name", *names))
    before, after = _differing_terms(old, new)
    if before != after:
        changes.append(_change("offers", before, after))
    earlier, later = old.model_dump(mode="json"), new.model_dump(mode="json")
    changes += [
        _change(field, earlier[field], later[field])
        for field in FIELDS
        if earlier[field] != later[field]
    ]
    changes += _message_changes(old, new)
    plans = old.plan(), new.plan()
    for field in ("cost", "profit"):
        amounts = [getattr(plan, field) for plan in plans]
        if round(amounts[0]) != round(amounts[1]):
            changes.append(_change(field, *amounts))
    return changes


def changes_since_submission(session: Transaction, campaign: Campaign) -> dict[str, Any] | None:
    """Return what changed since an earlier version was submitted.

    Returns: ``since`` (the version submitted before) and ``changes`` of `version_changes`. None
    unless the campaign waits for approval and an earlier version was submitted, too.
    """
    if campaign.state != "submitted" or campaign.version < 2:
        return None
    is_own = (Audit.team_id == campaign.team_id, Audit.subject == campaign.id)
    submissions = session.scalars(
        select(Audit.details).where(*is_own, Audit.action == SUBMIT.action)
    )
    versions = [details.get("version", 0) for details in submissions]
    earlier = max((version for version in versions if version < campaign.version), default=0)
    old = session.get(CampaignVersion, (campaign.id, earlier)) if earlier else None
    if old is None:
        return None
    bodies = Body.model_validate(old.body), Body.of(campaign)
    return {"since": earlier, "changes": version_changes(*bodies)}


def _change(field: str, before: Any, after: Any) -> dict[str, Any]:
    return {"field": field, "before": before, "after": after}


def _message_changes(old: Body, new: Body) -> list[dict[str, Any]]:
    """Return the differing parts of the messages; ``group`` is the rule of one offer group."""
    before, after = written_parts(old), written_parts(new)
    return [
        _change(name, earlier, later) | ({"group": group} if group else {})
        for group in sorted({*before, *after})
        for name in MessageParts.model_fields
        if (earlier := before.get(group, {}).get(name, ""))
        != (later := after.get(group, {}).get(name, ""))
    ]


def _differing_terms(old: Body, new: Body) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the offers of both versions, without the rules that kept theirs."""
    before, after = (
        [line.model_dump(mode="json", include={*TERMS}) for line in merge_equal_lines(body.offers)]
        for body in (old, new)
    )
    if [line["rule"] for line in before] != [line["rule"] for line in after]:
        return before, after
    pairs = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
