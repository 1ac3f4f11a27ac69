"""Measure a campaign with its hold-out group.

The result goes into the campaign's thread.
"""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention.text import gettext
from workers import campaign_messages
from workers.follow_ups import find_follow_up
from workers.requests import CampaignMeasure
from workers.tasks.interface import Attachment, Context, Outcome, Post

if TYPE_CHECKING:
    from retention.lake import Lake


def run(request: CampaignMeasure, context: Context) -> Outcome:
    """Measure a campaign after its window.

    If they never arrive, the campaign is closed without a result.

    Parameters
    ----------
    request : CampaignMeasure
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The result, its chart and the updated card.
    """
    from retention.campaigns import closing
    from retention.campaigns.chart import draw_chart
    from retention.campaigns.measurement import measure
    from retention.campaigns.outcomes import METRICS, SEGMENTS, collect_outcomes
    from retention.campaigns.spec import Body
    from retention.campaigns.states import find_campaign
    from retention.lake import Lake
    from retention.lake.coverage import newest_order

    settings, database, user, now = (
        context.settings,
        context.database,
        context.requested_by,
        context.business_at,
    )
    with database.transaction() as session:
        old_state = find_campaign(session, settings, request.campaign_id).state
        measuring = closing.begin_measurement(session, settings, request.campaign_id, user, now)
        if measuring.state != old_state:
            campaign_messages.refresh_counts(session, settings, measuring)
    lake = Lake.open(settings)
    with database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
    newest = newest_order(lake, now)
    if closing.is_waiting_for_orders(campaign, newest, now):
        return _without_orders(campaign, newest, context)
    context.progress(1, 4, gettext("Counting what both arms did"))
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
        limits = _limits(lake, session, context.settings, campaign, counted)
    context.progress(2, 4, gettext("Comparing them"))
    measured = measure(
        counted, planned_share=1 - campaign.body["holdout"], metrics=METRICS, segmented=SEGMENTS
    )
    result = {
        **measured.as_dict(),
        "expected_cost": Body.model_validate(campaign.body).plan().cost,
        "simulated": _stated_effect(settings.demo),
        **limits,
    }
    result["follow"] = find_follow_up(campaign, result, context)
    context.progress(3, 4, gettext("Drawing the chart"))
    chart = draw_chart(counted, measured, simulated=settings.demo)
    return _result_outcome(campaign, result, chart, context)


def _limits(
    lake: "Lake", session: Session, settings: Any, campaign: Any, counted: Any
) -> dict[str, Any]:
    """Return the limits of a result.

    They are days without orders, customers without an e-mail, erased customers, and hold-out
    customers who got an e-mail anyway. The outcomes of the calls say how many were reached.
    """
    from retention.campaigns.late_orders import count_orders, missing_days
    from retention.campaigns.leaks import leak_check
    from retention.erasure import ERASED_PREFIX
    from retention.outreach import send_summary

    left_out, untaken = (
        send_summary.uncontacted_reasons(session, campaign.id),
        send_summary.waiting_in_files(session, campaign.id),
    )
    missing = missing_days(lake, campaign.sent_at, campaign.window_ends_at)
    people = counted.customers
    erased = people.loc[people["customer_id"].str.startswith(ERASED_PREFIX), "arm"].value_counts()
    return {
        "missing_days": [day.isoformat() for day in missing],
        "left_out": sum(left_out.values()),
        "why_left_out": left_out,
        "untaken": untaken["csv"],
        "uncalled": untaken["call"],
        "calls": _calls(session, settings, campaign, people),
        "erased": {arm: int(number) for arm, number in erased.items()},
        "orders_here": count_orders(counted),
        "leaks": leak_check(lake, session, campaign),
    }


def _calls(session: Session, settings: Any, campaign: Any, people: Any) -> dict[str, Any]:
    """Count the calls by outcome, and the reached customers who bought within the window."""
    from retention.outreach import calls

    counts = calls.count_outcomes(session, settings, campaign.id)
    entries = calls.entries(session, settings, campaign.id)
    reached = [entry.customer_id for entry in entries if entry.outcome in calls.REACHED]
    bought = people.loc[people["customer_id"].isin(reached), "buyers"]
    return {**counts, "bought": int(bought.sum())}


def _result_outcome(
    campaign: Any, result: dict[str, Any], chart: bytes, context: Context
) -> Outcome:
    """Close the campaign with its result."""
    from retention.campaigns import closing

    settings, user, now = context.settings, context.requested_by, context.business_at
    values = {
        "measured": result,
        "with_chart": True,
        "treated": result["sample_ratio"]["treated"],
        "control": result["sample_ratio"]["control"],
    }
    alt_text = gettext("Extra orders of the treated, and extra buyers by segment")
    images = {"chart": Attachment(f"{campaign.id}.png", "image/png", chart, alt_text)}

    def apply(session: Session) -> tuple[Post, ...]:
        closed = closing.close_campaign(session, settings, campaign.id, result, user, now)
        post = campaign_messages.thread_post(settings, closed, "result", user, **values)
        return (
            campaign_messages.card_post(settings, closed, session),
            Post("campaign/result", post.values, post.key, post.channel, post.thread_key, images),
            *campaign_messages.measured_posts(settings, closed, result),
        )

    return Outcome({"campaign_id": campaign.id, "name": campaign.name, **result}, apply=apply)


def _without_orders(campaign: Any, newest: datetime | None, context: Context) -> Outcome:
    """Report missing orders, and finally close without a result.

    The report starts a day after the window's end.
    """
    from retention.campaigns import closing

    settings, user, now = context.settings, context.requested_by, context.business_at
    names = {"campaign_id": campaign.id, "name": campaign.name}
    if not closing.has_waited_enough(campaign, now):
        is_late = now >= campaign.window_ends_at + closing.IMPORT_DELAY
        waits = (
            (campaign_messages.thread_post(settings, campaign, "waits", user, newest=newest),)
            if is_late
            else ()
        )

        def show(session: Session) -> tuple[Post, ...]:
            return campaign_messages.card_post(settings, campaign, session), *waits

        return Outcome({**names, "waits": True}, apply=show)
    result = closing.result_without_orders(newest)

    def apply(session: Session) -> tuple[Post, ...]:
        closed = closing.close_campaign(session, settings, campaign.id, result, user, now)
        return (
            campaign_messages.card_post(settings, closed, session),
            campaign_messages.thread_post(settings, closed, "unmeasured", user),
        )

    return Outcome({**names, **result}, apply=apply)


def _stated_effect(demo: bool) -> dict[str, Any] | None:
    """Return the demo's simulated effect, if any."""
    if not demo:
        return None
    from retention.demo.effect import EFFECT

    return asdict(EFFECT)
