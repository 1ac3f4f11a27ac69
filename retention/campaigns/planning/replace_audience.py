"""Store a new audience as a campaign's next version."""

from typing import Any

from sqlalchemy import delete, insert

from retention.campaigns.lifecycle.spec import Body, OfferLine
from retention.campaigns.lifecycle.states import Step, find_campaign
from retention.campaigns.lifecycle.versions import NextVersion, write_version
from retention.campaigns.message.text_message import sampled_terms, with_parts
from retention.campaigns.planning.assignment import buckets
from retention.campaigns.planning.draft import Draft
from retention.campaigns.planning.offer_terms import changed_offer, set_offer
from retention.campaigns.planning.requested_terms import is_default_name
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign

# Values of an edit that hold for any audience.
KEPT = ("expires_days", "budget", "send_on", "approver")
TERMS = ("action", "discount", "face", "min_order", "categories", "contact", "what", "redeemed")


def replace_audience(session: Transaction, step: Step, drafted: Draft) -> NextVersion:
    """Store a draft's audience as the next version and reset all approvals.

    Edited terms stay, as far as the new audience has the same rules.
    """
    before = find_campaign(session, step.campaign_id)
    old = Body.of(before)
    body, changed = _merge(old, drafted.body)
    lines = {line.rule: line for line in body.offers}
    terms = [changed_offer(terms, lines[terms["rule"]]) for terms in sampled_terms(drafted.rows)]
    body = with_parts(session.settings, body, terms)
    body.check_offers()
    was_default = is_default_name(
        before.name, old, before.created_at.astimezone(session.settings.zone)
    )
    name = drafted.name if was_default else before.name
    counted = {"audience": body.audience, "channel": body.message_channel}
    details = {"changed": ["audience"], **counted}
    written = write_version(session, step, before, name, body, details)
    shared = {"team_id": session.settings.team_id, "campaign_id": before.id}
    session.change(delete(Assignment).where(Assignment.campaign_id == before.id))
    session.execute(
        insert(Assignment), [{**row, **shared} for row in _rows(written.campaign, drafted)]
    )
    for line in changed:
        set_offer(session, before.id, line)
    return written


def _merge(old: Body, new: Body) -> tuple[Body, list[OfferLine]]:
    """Return the new version, and the offers that keep the terms of the present one."""
    present = {line.rule: line for line in old.offers}
    lines, changed = [], []
    has_new_channel = new.message_channel != old.message_channel
    for line in new.offers:
        edited = present.get(line.rule)
        if edited and not (has_new_channel and "call" in (edited.action, line.action)):
            kept = line.model_copy(update={name: getattr(edited, name) for name in TERMS})
            if kept != line:
                changed.append(kept)
            line = kept
        lines.append(line)
    update: dict[str, Any] = {name: getattr(old, name) for name in KEPT}
    body = new.model_copy(update={**update, "offers": tuple(lines)})
    if body.copy_action == old.copy_action and not has_new_channel:
        texts = {
            name: getattr(old, name) for name in ("copy_text", "reminder_text", "message", "test")
        }
        groups = {
            line.rule: old.group_messages[line.rule]
            for line in lines
            if line.rule in old.group_messages and line.action == present[line.rule].action
        }
        body = body.model_copy(update={**texts, "group_messages": groups})
    return body, changed


def _rows(campaign: Campaign, drafted: Draft) -> list[dict[str, Any]]:
    """The draft's rows, drawn with the campaign's own salt."""
    bucket_of = buckets(
        campaign.salt, campaign.id, [(row["customer_id"], row["tier"]) for row in drafted.rows]
    )
    return [{**row, "bucket": bucket_of[row["customer_id"]]} for row in drafted.rows]
