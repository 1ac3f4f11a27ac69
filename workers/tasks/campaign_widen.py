"""Draft a campaign's audience anew: wider, or for another channel.

The campaign's message shows the next version.
"""

from dataclasses import replace

from sqlalchemy.orm import Session

from workers import campaigns
from workers.requests import CampaignDraft, CampaignWiden
from workers.tasks.campaign_draft import make_draft
from workers.tasks.interface import Context, Outcome


def run(request: CampaignWiden, context: Context) -> Outcome:
    """Draft the audience and store it as the campaign's next version.

    Parameters
    ----------
    request : CampaignWiden
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Updates the campaign's message.
    """
    from retention.campaigns.states import EDITABLE, StaleCampaign, find_campaign

    settings = context.settings
    with context.database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
    if campaign.version != request.version or campaign.state not in EDITABLE:
        raise StaleCampaign(campaign, request.version)
    wider = CampaignDraft(
        cohort_id=campaign.cohort_id,
        tier=request.tier,
        listed=request.listed,
        audience=request.audience,
        where=request.where,
        customer_id=request.customer_id,
        message_channel=request.message_channel or campaign.body.get("message_channel", "email"),
    )
    drafted = make_draft(wider, context)
    # The campaign is a draft itself, with some of the same customers.
    overlaps = tuple(one for one in drafted.body.overlaps if one.campaign_id != campaign.id)
    drafted = replace(drafted, body=drafted.body.model_copy(update={"overlaps": overlaps}))

    def apply(session: Session) -> None:
        campaigns.widen(
            session,
            settings,
            request.campaign_id,
            request.version,
            context.requested_by,
            drafted,
        )

    return Outcome({"campaign_id": campaign.id, "audience": drafted.body.audience}, apply=apply)
