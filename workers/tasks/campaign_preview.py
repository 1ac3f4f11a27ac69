"""Preview the first five messages of a campaign: e-mails and call scripts.

Names are masked in a channel. The requester gets them in full.
"""

from typing import Any

from workers.requests import CampaignPreview
from workers.tasks.interface import Context, Outcome, Post

COPIES = 5


def run(request: CampaignPreview, context: Context) -> Outcome:
    """Preview the messages without side effects.

    Unissued codes are not shown.

    Parameters
    ----------
    request : CampaignPreview
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The messages, masked for a channel.
    """
    from retention.campaigns.preview import (
        masked_messages,
        preview_messages,
        preview_rows,
        send_time,
    )
    from retention.campaigns.spec import Body
    from retention.campaigns.states import find_campaign
    from retention.lake import Lake
    from retention.outreach.contacts import find_contacts
    from retention.outreach.dispatch import configured_channel

    settings, user = context.settings, context.requested_by
    with context.database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
        first = preview_rows(session, campaign, COPIES)
    contact_of = find_contacts(Lake.open(settings), [row["customer_id"] for row in first])
    body = Body.model_validate(campaign.body)
    sent_at = send_time(campaign, context.business_at)
    common: dict[str, Any] = {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "by": configured_channel(settings),
        "assumed_send": None if campaign.sent_at else sent_at.isoformat(),
    }
    full = {
        **common,
        "copies": preview_messages(settings, body, first, contact_of, sent_at),
        "masked": False,
    }
    if context.channel is None or context.channel == user:
        return Outcome(full, (Post("campaign/preview", full),))
    hidden = {**common, "copies": masked_messages(settings, body, first, sent_at), "masked": True}
    to_person = Post("campaign/preview", full, key=f"preview:{context.job_id}", channel=user)
    return Outcome(hidden, (Post("campaign/preview", hidden), to_person))
