"""Compare versions of a campaign."""

from typing import Any

from sqlalchemy import select

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import SUBMIT
from retention.campaigns.planning.offers import merge_equal_lines
from retention.db import Transaction
from retention.db.tables import Audit, Campaign, CampaignVersion

_NUMBERS = ("audience", "holdout", "budget", "expires_days")
_TEXTS = ("copy_text", "reminder_text")
FIELDS = ("message_channel", *_NUMBERS, "send_on", "approver", *_TEXTS)
TERMS = ("rule", "action", "discount", "face", "min_order", "categories", "customers")


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
