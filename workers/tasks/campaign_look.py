"""How a live campaign does so far: always-valid figures, to whoever asked."""

from datetime import timedelta

from retention.text import gettext
from workers.requests import CampaignLook
from workers.tasks.contract import Context, Outcome, Post

FRESH = timedelta(hours=1)  # orders that end no longer ago are all there are


def run(request: CampaignLook, context: Context) -> Outcome:
    """Look at a campaign whose window is open; nothing is decided and nothing stored by it."""
    from retention.campaigns import sequential
    from retention.campaigns.outcomes import collect_outcomes
    from retention.campaigns.spec import Body
    from retention.campaigns.states import find_campaign
    from retention.campaigns.view import campaign_data
    from retention.errors import Conflict
    from retention.lake import Lake
    from retention.lake.watermark import newest_order

    settings, now, lake = context.settings, context.business_at, Lake.open(context.settings)
    with context.database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
        if campaign.sent_at is None or campaign.window_ends_at is None:
            raise Conflict(
                gettext("Campaign {name!r} is {state}; there are figures once it is live.").format(
                    name=campaign.name, state=campaign.state
                )
            )
        context.progress(0, 2, "counting what both arms did so far")
        counted = collect_outcomes(lake, session, campaign, until=now)
    body, day = Body.model_validate(campaign.body), timedelta(days=1)
    context.progress(1, 2, "comparing them")
    # A day whose orders have yet to be imported is none: counted as one on which nobody bought, it would slow the pace.
    newest = max(newest_order(lake, now) or campaign.sent_at, campaign.sent_at)
    behind = now - newest > FRESH and newest < campaign.window_ends_at
    upto = newest if behind else min(now, campaign.window_ends_at)
    found = sequential.interim_result(
        counted,
        day=(upto - campaign.sent_at) // day,
        days=(campaign.window_ends_at - campaign.sent_at) // day,
        planned_share=1 - body.holdout,
        scales=sequential.effect_scales(body),
    )
    figures = found.as_dict()
    late = newest if behind and (now - newest) // day else None
    shown = {"campaign": campaign_data(campaign), "simulated": settings.demo, "newest": late}
    named = {"campaign_id": campaign.id, "name": campaign.name, "state": campaign.state}
    return Outcome(
        {**named, "currency": body.currency, "simulated": settings.demo, **figures},
        (Post("campaign/look", {**shown, "look": figures}),),
    )
