"""List misused codes of a campaign by direct message."""

from workers.requests import CampaignMisuse
from workers.tasks.interface import Context, Outcome, Post

MAX_SHOWN = 30  # uses in a message


def run(request: CampaignMisuse, context: Context) -> Outcome:
    """List misused codes, the newest first.

    Parameters
    ----------
    request : CampaignMisuse
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Customers and codes.
    """
    from retention.campaigns.redemptions import list_misuses
    from retention.campaigns.states import find_campaign

    with context.database.reading() as session:
        campaign = find_campaign(session, context.settings, request.campaign_id)
        uses = list_misuses(session, campaign.id)
    data = {"campaign_id": campaign.id, "name": campaign.name, "uses": uses}
    shown = {**data, "uses": uses[:MAX_SHOWN], "more": max(len(uses) - MAX_SHOWN, 0)}
    return Outcome(data, (Post("campaign/misuse", shown),))
