"""Show interim results of a live campaign."""

from datetime import timedelta

from retention.text import gettext
from workers.requests import CampaignLook
from workers.tasks.interface import Context, Outcome, Post

UP_TO_DATE = timedelta(hours=1)  # newer orders count as complete


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
    from retention.campaigns import sequential
    from retention.campaigns.outcomes import collect_outcomes
    from retention.campaigns.spec import Body
    from retention.campaigns.states import find_campaign
    from retention.campaigns.view import campaign_data
    from retention.errors import Conflict
    from retention.lake import Lake
    from retention.lake.coverage import newest_order

    settings, now, lake = context.settings, context.business_at, Lake.open(context.settings)
    with context.database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
        if campaign.sent_at is None or campaign.window_ends_at is None:
            raise Conflict(
                gettext("Campaign {name!r} is {state}; there are figures once it is live.").format(
                    name=campaign.name, state=campaign.state
                )
            )
        context.progress(0, 2, gettext("counting what both arms did so far"))
        counted = collect_outcomes(lake, session, campaign, until=now)
    body, day = Body.model_validate(campaign.body), timedelta(days=1)
    context.progress(1, 2, gettext("comparing them"))
    # A day without imported orders does not count. As a day without buyers it would lower the pace.
    newest = max(newest_order(lake, now) or campaign.sent_at, campaign.sent_at)
    is_behind = now - newest > UP_TO_DATE and newest < campaign.window_ends_at
    until = newest if is_behind else min(now, campaign.window_ends_at)
    interim = sequential.interim_result(
        counted,
        day=(until - campaign.sent_at) // day,
        days=(campaign.window_ends_at - campaign.sent_at) // day,
        planned_share=1 - body.holdout,
        scales=sequential.effect_scales(body),
    )
    figures = interim.as_dict()
    late = newest if is_behind and (now - newest) // day else None
    shown = {"campaign": campaign_data(campaign), "simulated": settings.demo, "newest": late}
    names = {"campaign_id": campaign.id, "name": campaign.name, "state": campaign.state}
    return Outcome(
        {**names, "currency": body.currency, "simulated": settings.demo, **figures},
        (Post("campaign/look", {**shown, "look": figures}),),
    )
