"""Convert campaigns to plain data for templates and JSON.

The data never contains customers or codes.
"""

from typing import Any

from retention.campaigns.closing import was_never_measured
from retention.campaigns.offers import merge_equal_lines
from retention.campaigns.remedies import remedy, warning
from retention.campaigns.spec import Body
from retention.campaigns.states import EDITABLE, IN_CLEARANCE, STOPPABLE
from retention.db.tables import Campaign

_MOMENTS = (
    "submitted_at",
    "decided_at",
    "expires_at",
    "clears_at",
    "send_at",
    "sent_at",
    "window_ends_at",
    "created_at",
)


def campaign_data(campaign: Campaign) -> dict[str, Any]:
    """Return a campaign at its present version as plain data.

    Times are ISO 8601. Money is in ``currency``.
    """
    moments = {name: getattr(campaign, name) for name in _MOMENTS}
    return {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "cohort_id": campaign.cohort_id,
        "channel": campaign.channel,
        "state": campaign.state,
        "version": campaign.version,
        "drafted_by": campaign.drafted_by,
        "submitted_by": campaign.submitted_by,
        "decided_by": campaign.decided_by,
        "reason": campaign.reason,
        "approved_by": list(campaign.approved_by or ()),
        **{name: at.isoformat() if at else None for name, at in moments.items()},
        **version_data(Body.model_validate(campaign.body)),
        "editable": campaign.state in EDITABLE,
        "stoppable": campaign.state in STOPPABLE,
        "clearing": campaign.state in IN_CLEARANCE,
        "result": campaign.result,
        "never_measured": was_never_measured(campaign.result),
    }


def version_data(body: Body) -> dict[str, Any]:
    """Return a version and its derived figures as plain data."""
    return {
        **body.model_dump(mode="json", exclude={"prior", "offers"}),
        "offers": [line.model_dump(mode="json") for line in merge_equal_lines(body.offers)],
        "discount": body.discount,
        "copy_action": body.copy_action,
        "coded": any(line.coded for line in body.offers),
        "approvals_needed": body.approvals_needed,
        "second_because": body.second_because,
        "prior": {**body.prior.model_dump(), "low": body.prior.low, "high": body.prior.high},
        "plan": body.plan().model_dump(),
        "warning": warning(body),
        "remedy": remedy(body),
    }
