"""Codes that were not used as they were meant: who and which, to the direct message of who asked."""

from workers.requests import CampaignMisuse
from workers.tasks.contract import Context, Outcome, Post

SHOWN = 30  # uses a message holds


def run(request: CampaignMisuse, context: Context) -> Outcome:
    """List them, the newest first."""
    from retention.campaigns.redemptions import list_misuses
    from retention.campaigns.states import find_campaign

    with context.database.reading() as session:
        campaign = find_campaign(session, context.settings, request.campaign_id)
        uses = list_misuses(session, campaign.id)
    data = {"campaign_id": campaign.id, "name": campaign.name, "uses": uses}
    shown = {**data, "uses": uses[:SHOWN], "more": max(len(uses) - SHOWN, 0)}
    return Outcome(data, (Post("campaign/misuse", shown),))
