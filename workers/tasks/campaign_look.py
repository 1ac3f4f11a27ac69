"""Show interim results of a live campaign."""

from retention.text import gettext
from workers.requests import CampaignLook
from workers.tasks.interface import Context, Outcome, Post


def run(request: CampaignLook, context: Context) -> Outcome:
    """Compute always-valid figures; decide and store nothing.

    Parameters
    ----------
    request : CampaignLook
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The figures as a message.

    Raises
    ------
    Conflict
        The campaign is not live yet.
    """
    from retention.campaigns.interim import interim
    from retention.campaigns.spec import Body
    from retention.campaigns.states import find_campaign
    from retention.campaigns.view import campaign_data
    from retention.errors import Conflict
    from retention.lake import Lake

    settings, now, lake = context.settings, context.business_at, Lake.open(context.settings)
    with context.database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
        if campaign.sent_at is None or campaign.window_ends_at is None:
            raise Conflict(
                gettext("Campaign {name!r} is {state}; there are figures once it is live.").format(
                    name=campaign.name, state=campaign.state
                )
            )
        context.progress(0, 1, gettext("comparing both groups so far"))
        result, late = interim(lake, session, campaign, now)
    body, figures = Body.model_validate(campaign.body), result.as_dict()
    shown = {
        "campaign": campaign_data(campaign, settings),
        "simulated": settings.demo,
        "newest": late,
    }
    names = {"campaign_id": campaign.id, "name": campaign.name, "state": campaign.state}
    return Outcome(
        {**names, "currency": body.currency, "simulated": settings.demo, **figures},
        (Post("campaign/look", {**shown, "look": figures}),),
    )
