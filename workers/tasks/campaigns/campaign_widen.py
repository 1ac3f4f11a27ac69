"""Draft a campaign's audience anew: wider, or for another channel.

The campaign's message shows the next version.
"""

from dataclasses import replace

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import EDITABLE, StaleCampaign, Step, find_campaign
from retention.db import Transaction
from workers.campaigns import decisions
from workers.campaigns.requests import CampaignDraft, CampaignWiden
from workers.tasks.campaigns.campaign_draft import make_draft
from workers.tasks.interface import Context, Outcome


def run(request: CampaignWiden, context: Context) -> Outcome:
    """Draft the audience and store it as the campaign's next version."""
    with context.database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
    if campaign.version != request.version or campaign.state not in EDITABLE:
        raise StaleCampaign(campaign, request.version)
    wider = CampaignDraft(
        cohort_id=campaign.cohort_id,
        tier=request.tier,
        listed=request.listed,
        audience=request.audience,
        where=request.where,
        customer_id=request.customer_id,
        message_channel=request.message_channel or Body.of(campaign).message_channel,
    )
    drafted = make_draft(wider, context)
    # The campaign is a draft itself, with some of the same customers.
    overlaps = tuple(one for one in drafted.body.overlaps if one.campaign_id != campaign.id)
    drafted = replace(drafted, body=drafted.body.model_copy(update={"overlaps": overlaps}))

    def apply(session: Transaction) -> None:
        step = Step(campaign.id, context.requested_by, request.version)
        decisions.widen(session, step, drafted)

    return Outcome({"campaign_id": campaign.id, "audience": drafted.body.audience}, apply=apply)
