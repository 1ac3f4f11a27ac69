"""Show interim results of a live campaign."""

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement.interim import interim
from retention.errors import Conflict
from retention.lake import Lake
from retention.text import gettext
from workers.campaigns.requests import CampaignLook
from workers.tasks.interface import Context, Outcome, Post


def run(request: CampaignLook, context: Context) -> Outcome:
    """Compute always-valid figures; decide and store nothing."""
    settings, now, lake = context.settings, context.business_at, Lake.open(context.settings)
    with context.database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
        if campaign.sent_at is None or campaign.window_ends_at is None:
            text = gettext("Campaign {name!r} is {state}; there are figures once it is live.")
            raise Conflict(text.format(name=campaign.name, state=campaign.state))
        context.progress(0, 1, gettext("comparing both groups so far"))
        result, late = interim(lake, session, campaign, now)
    body, figures = Body.of(campaign), result.as_dict()
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
