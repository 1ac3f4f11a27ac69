"""A dry run: the first five copies of a campaign, masked where others read along, in full to who asked."""

from typing import Any

from workers.requests import CampaignPreview
from workers.tasks.contract import Context, Outcome, Post

FIRST = 5


def run(request: CampaignPreview, context: Context) -> Outcome:
    """Make the copies as the sending would, with codes only where they are issued. Nothing is sent or stored."""
    from retention.campaigns.preview import masked_messages, preview_messages, preview_rows
    from retention.campaigns.spec import Body
    from retention.campaigns.states import find_campaign
    from retention.lake import Lake
    from retention.outreach.contacts import find_contacts
    from retention.outreach.dispatch import configured_channel

    settings, who = context.settings, context.requested_by
    with context.database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
        first = preview_rows(session, campaign, FIRST)
    known = find_contacts(Lake.open(settings), [row["customer_id"] for row in first])
    body = Body.model_validate(campaign.body)
    told: dict[str, Any] = {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "by": configured_channel(settings),
    }
    full = {**told, "copies": preview_messages(settings, body, first, known), "masked": False}
    if context.channel is None or context.channel == who:
        return Outcome(full, (Post("campaign/preview", full),))
    hidden = {**told, "copies": masked_messages(settings, body, first), "masked": True}
    to_person = Post("campaign/preview", full, key=f"preview:{context.job_id}", channel=who)
    return Outcome(hidden, (Post("campaign/preview", hidden), to_person))
