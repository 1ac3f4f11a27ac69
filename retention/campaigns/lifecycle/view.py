"""Convert campaigns to plain data for templates and JSON.

The data never contains customers or codes.
"""

from collections.abc import Sequence
from typing import Any

from retention.campaigns.lifecycle.closing import was_never_measured
from retention.campaigns.lifecycle.due import last_attempt_failed
from retention.campaigns.lifecycle.spec import Body, OfferLine, Plan
from retention.campaigns.lifecycle.states import EDITABLE, IN_CLEARANCE, STOPPABLE
from retention.campaigns.measurement.verdict import verdict
from retention.campaigns.message import brand
from retention.campaigns.message.merged_message import shown_parts, written_parts
from retention.campaigns.planning.assignment import GROUPS, Groups, find_groups
from retention.campaigns.planning.offer_terms import merge_equal_lines
from retention.campaigns.planning.remedies import campaign_warnings, remedy
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.outreach import send_summary
from retention.outreach.adapter import is_text
from retention.outreach.dispatch import configured_channel, sending_channel
from retention.settings import Settings

_PEOPLE = ("drafted_by", "submitted_by", "decided_by", "reason")
_AS_STORED = ("name", "cohort_id", "channel", "state", "version", *_PEOPLE)
_DECIDED = ("submitted_at", "decided_at", "expires_at", "clears_at")
_MOMENTS = (*_DECIDED, "send_at", "sent_at", "window_ends_at", "created_at")


def campaign_data(
    campaign: Campaign, settings: Settings | None = None, session: Transaction | None = None
) -> dict[str, Any]:
    """Return a campaign at its present version as plain data.

    Times are ISO 8601. Money is in ``currency``.

    `settings`: of the installation. With it, warnings about e-mails are included, and ``by_file``
    says that nothing is e-mailed: a person downloads a file.
    `session`: the caller's transaction. With it, groups and sends are counted in the database.
    Without it, the groups are those of the plan.
    """
    moments = {name: getattr(campaign, name) for name in _MOMENTS}
    body, state = Body.of(campaign), campaign.state
    return {
        "campaign_id": campaign.id,
        **{name: getattr(campaign, name) for name in _AS_STORED},
        "approved_by": list(campaign.approved_by or ()),
        "call_owner": campaign.call_owner,
        "by_file": settings is not None
        and sending_channel(settings, body.message_channel) == "csv",
        **{name: at.isoformat() if at else None for name, at in moments.items()},
        **version_data(
            body,
            lacks_address=_lacks_address(campaign, settings),
            groups=find_groups(session, campaign.id, body.holdout) if session else None,
        ),
        "sends": send_summary.counts_by_channel(session, campaign.id) if session else {},
        "has_failed": session is not None and last_attempt_failed(session, campaign),
        "editable": state in EDITABLE,
        "stoppable": state in STOPPABLE,
        "clearing": state in IN_CLEARANCE,
        "result": campaign.result,
        "test_result": campaign.test_result,
        "never_measured": was_never_measured(campaign.result),
        "verdict": verdict(campaign.result, body, body.plan()) if campaign.result else None,
    }


def _lacks_address(campaign: Campaign, settings: Settings | None) -> bool:
    """Return whether e-mails of a campaign that is not sent yet would have no postal address."""
    return (
        settings is not None
        and campaign.sent_at is None
        and not is_text(Body.of(campaign).message_channel)
        and configured_channel(settings) != "csv"
        and brand.lacks_address(settings)
    )


def planned_groups(body: Body, plan: Plan) -> Groups:
    """Return the groups that a version plans, rounded per rule."""
    share = plan.treated / body.audience if body.audience else 0.0
    by_rule = {line.rule: round(share * line.customers) for line in body.offers}
    return Groups(plan.treated, plan.control, 0, by_rule)


def version_data(
    body: Body, *, lacks_address: bool = False, groups: Groups | None = None
) -> dict[str, Any]:
    """Return a version and its derived figures as plain data."""
    plan, lines = body.plan(), merge_equal_lines(body.offers)
    groups = groups or planned_groups(body, plan)
    return {
        **body.model_dump(mode="json", exclude={"prior", "offers", "readers"}),
        "written": written_parts(body),
        "variants": {
            variant.name: shown_parts(variant.message)
            for variant in (body.test.variants if body.test else ())
        },
        "offers": [
            {**line.model_dump(mode="json"), "recipients": groups.by_rule.get(line.rule, 0)}
            for line in lines
        ]
        if len(lines) == len(body.offers)
        else [{**lines[0].model_dump(mode="json"), "recipients": groups.treatment}],
        "groups": {name: getattr(groups, name) for name in GROUPS},
        "headline": headline_offer(lines),
        "warnings": list(campaign_warnings(body, plan, lacks_address=lacks_address)),
        "discount": body.discount,
        "copy_action": body.copy_action,
        "reminder_action": body.reminder_action,
        "coded": any(line.coded for line in body.offers),
        "approvals_needed": body.approvals_needed,
        "second_because": body.second_because,
        "prior": {**body.prior.model_dump(), "low": body.prior.low, "high": body.prior.high},
        "plan": plan.model_dump(),
        "suggestion": remedy(body),
    }


def headline_offer(lines: Sequence[OfferLine]) -> dict[str, Any]:
    """Summarise the offers of a version for the first line of its message.

    `lines`: of `merge_equal_lines`.
    Returns: ``kind`` is ``share``, ``amount``, another action or ``mixed``. ``kinds`` has all of
    them, that of most customers first. ``low`` and ``high`` are the smallest and the largest
    discount.
    """
    # As a dict, because its order is that of the lines with most customers.
    kinds = dict.fromkeys(
        ("amount" if line.face else "share") if line.action == "coupon" else line.action
        for line in sorted(lines, key=lambda line: -line.customers)
    )
    values = [line.face or line.discount for line in lines]
    return {
        "kind": next(iter(kinds)) if len(kinds) == 1 else "mixed",
        "kinds": list(kinds),
        "low": min(values, default=0.0),
        "high": max(values, default=0.0),
    }
