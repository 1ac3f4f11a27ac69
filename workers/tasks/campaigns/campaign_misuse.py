"""List misused codes of a campaign by direct message."""

from retention.campaigns.codes.redemptions import list_misuses
from retention.campaigns.lifecycle.states import find_campaign
from workers.campaigns.requests import CampaignMisuse
from workers.tasks.interface import Context, Outcome, Post

MAX_SHOWN = 30  # uses in a message


def run(request: CampaignMisuse, context: Context) -> Outcome:
    """List misused codes, the newest first."""
    with context.database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
        uses = list_misuses(session, campaign.id)
    data = {"campaign_id": campaign.id, "name": campaign.name, "uses": uses}
    shown = {**data, "uses": uses[:MAX_SHOWN], "more": max(len(uses) - MAX_SHOWN, 0)}
    return Outcome(data, (Post("campaign/misuse", shown),))
